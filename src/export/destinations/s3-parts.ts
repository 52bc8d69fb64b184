import { createHash } from "node:crypto";
import { S3_PART_BYTES_STEP, S3_PARTS_MAX } from "../../core/service-limits.ts";

/** As small as allowed, and so large that the file has no more parts than S3 takes. */
export function partBytesFor(sizeBytes: number, partBytesMin: number): number {
  const needed = Math.ceil(sizeBytes / S3_PARTS_MAX);
  return needed <= partBytesMin ? partBytesMin : Math.ceil(needed / S3_PART_BYTES_STEP) * S3_PART_BYTES_STEP;
}

/** What S3 calls an object of these parts, where the ETag of each is its MD5. */
export function multipartEtag(etags: readonly string[]): string {
  const hash = createHash("md5");
  for (const etag of etags) hash.update(Buffer.from(unquoted(etag), "hex"));
  return `${hash.digest("hex")}-${etags.length}`;
}

export function unquoted(etag: string): string {
  return etag.replaceAll('"', "");
}
