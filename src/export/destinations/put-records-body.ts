import type { ExportRecord } from "./destination.ts";

/**
 * The body of a PutRecords request, as the SDK's serializer would make it from the same input (a test compares them). The
 * SDK walks its schema for every field of every record, which took half of what a request costs.
 */
export function putRecordsBody(
  kinesisStreamName: string,
  records: readonly ExportRecord[],
  keys: readonly string[],
): Buffer {
  const pieces = [`{"StreamName":${asciiJson(kinesisStreamName)},"Records":[`];
  for (let index = 0; index < records.length; index += 1) {
    const { data } = records[index]!;
    const base64 = Buffer.from(data.buffer, data.byteOffset, data.length).toString("base64");
    const begin = index === 0 ? '{"Data":"' : ',{"Data":"';
    pieces.push(begin, base64, '","PartitionKey":', asciiJson(keys[index]!), "}");
  }
  pieces.push("]}");
  // ASCII only: one byte a character.
  return Buffer.from(pieces.join(""), "latin1");
}

const NOT_ASCII = /[^\0-\x7f]/g;

function asciiJson(text: string): string {
  const json = JSON.stringify(text);
  return json.replace(NOT_ASCII, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** One record's part of a PutRecords answer. */
export interface PutRecordsResult {
  readonly ErrorCode?: string;
  readonly ErrorMessage?: string;
  readonly SequenceNumber?: string;
}

/** The `Records` of the answer to a PutRecords request that was not an error. @throws {Error} when it is something else */
export function putRecordsResults(body: Buffer): readonly PutRecordsResult[] {
  const answer: unknown = JSON.parse(body.toString());
  const records = typeof answer === "object" && answer !== null && "Records" in answer ? answer.Records : [];
  return Array.isArray(records) ? records.map(resultOf) : [];
}

/** A field that is null, as some servers give it, or no text is not there. */
function resultOf(record: unknown): PutRecordsResult {
  if (typeof record !== "object" || record === null) return {};
  const { ErrorCode, ErrorMessage, SequenceNumber } = record as Readonly<Record<string, unknown>>;
  return {
    ...(typeof ErrorCode === "string" && { ErrorCode }),
    ...(typeof ErrorMessage === "string" && { ErrorMessage }),
    ...(typeof SequenceNumber === "string" && { SequenceNumber }),
  };
}
