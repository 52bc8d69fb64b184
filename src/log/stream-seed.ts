import path from "node:path";
import { crc32 } from "node:zlib";

/**
 * The checksums of a stream's small files begin with its id, which is the name of its directory: a file that was copied here
 * from another stream is a damaged one.
 */
export function streamSeed(directory: string): number {
  return crc32(path.basename(directory));
}
