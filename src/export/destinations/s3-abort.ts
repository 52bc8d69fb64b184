import type { S3Api, S3Target } from "./s3-api.ts";
import { classifyS3Error, type S3Fault } from "./s3-errors.ts";
import type { S3Task } from "./s3-task.ts";
import type { S3Upload } from "./s3-upload.ts";

export function targetOf({ key, region }: S3Upload, { bucket }: S3Task): S3Target {
  return { bucket, key, region };
}

/** Removes the parts of an upload by one try. @returns why they stay; undefined where there are none any more */
export async function tryAbort(api: S3Api, upload: S3Upload): Promise<S3Fault | undefined> {
  const { task, uploadId } = upload;
  if (task === undefined || uploadId === undefined) return undefined;
  try {
    await api.abort(targetOf(upload, task), uploadId);
    return undefined;
  } catch (error) {
    const fault = classifyS3Error(error);
    return fault.kind === "gone" ? undefined : fault;
  }
}
