import { isJsonObject } from "../../core/json-object.ts";
import { S3_METADATA_BYTES_MAX, S3_TASK_BYTES_MAX } from "../../core/service-limits.ts";
import { keyFault } from "./s3-key.ts";

/** S3ExportTaskDefinition (PROTOCOL 3.7), checked. */
export interface S3Task {
  /** Of a local file. */
  readonly inputUrl: string;
  readonly bucket: string;
  /** May have placeholders: s3-key.ts. */
  readonly key: string;
  readonly userMetadata?: Readonly<Record<string, string>>;
}

export type ParsedTask = { readonly task: S3Task } | { readonly error: string };

const RESERVED_METADATA = "$aws-gg-";
/** What a header's name, and its value, may consist of. */
const METADATA_KEY = /^[A-Za-z0-9!#$&'*+.^_`|~-]+$/;
const METADATA_VALUE = /^[\x20-\x7e\t]*$/;
const BUCKET_LABEL = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
const BUCKET_CHARACTERS_MIN = 3;
const BUCKET_CHARACTERS_MAX = 63;

/** Reads a message of a stream with an S3 exporter. Never throws: what is wrong is told to whoever waits for the task. */
export function parseS3Task(data: Uint8Array): ParsedTask {
  if (data.length > S3_TASK_BYTES_MAX) {
    return { error: `the task has ${data.length} bytes, the maximum is ${S3_TASK_BYTES_MAX}` };
  }
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data));
  } catch {
    return { error: "the message is no JSON in UTF-8" };
  }
  if (!isJsonObject(value)) return { error: "the message is no JSON object" };
  const { inputUrl, bucket, key } = value;
  const userMetadata = value["userMetadata"] ?? undefined;
  if (typeof inputUrl !== "string") return { error: "inputUrl is missing or no text" };
  if (typeof bucket !== "string") return { error: "bucket is missing or no text" };
  if (typeof key !== "string") return { error: "key is missing or no text" };
  if (userMetadata !== undefined && !isTextRecord(userMetadata)) {
    return { error: "userMetadata is no object of texts" };
  }
  const error = bucketFault(bucket) ?? keyFault(key) ?? metadataFault(userMetadata ?? {});
  if (error !== undefined) return { error };
  return { task: { inputUrl, bucket, key, ...(userMetadata === undefined ? {} : { userMetadata }) } };
}

function bucketFault(bucket: string): string | undefined {
  const { length } = bucket;
  if (length < BUCKET_CHARACTERS_MIN || length > BUCKET_CHARACTERS_MAX) {
    return `the bucket's name has ${length} characters, not ${BUCKET_CHARACTERS_MIN} to ${BUCKET_CHARACTERS_MAX}`;
  }
  if (/^(\d+\.)+\d+$/.test(bucket)) return `the bucket's name "${bucket}" has the form of an address`;
  return bucket.split(".").every((label) => BUCKET_LABEL.test(label))
    ? undefined
    : `the bucket's name ${JSON.stringify(bucket)} is not lower-case letters, digits and hyphens between dots`;
}

function metadataFault(metadata: Readonly<Record<string, string>>): string | undefined {
  let sizeBytes = 0;
  for (const [key, value] of Object.entries(metadata)) {
    if (key.startsWith(RESERVED_METADATA)) {
      return `the metadata key ${JSON.stringify(key)} begins with ${RESERVED_METADATA}, which is reserved`;
    }
    if (!METADATA_KEY.test(key)) return `the metadata key ${JSON.stringify(key)} cannot be a header's name`;
    if (!METADATA_VALUE.test(value)) {
      return `the metadata value of ${JSON.stringify(key)} has characters that no header may have`;
    }
    sizeBytes += key.length + value.length;
  }
  return sizeBytes <= S3_METADATA_BYTES_MAX
    ? undefined
    : `the metadata has ${sizeBytes} bytes, the maximum is ${S3_METADATA_BYTES_MAX}`;
}

function isTextRecord(value: unknown): value is Record<string, string> {
  return isJsonObject(value) && Object.values(value).every((text) => typeof text === "string");
}
