import { assert } from "../../core/assert.ts";
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
  const head = `{"StreamName":${asciiJson(kinesisStreamName)},"Records":[`;
  // ASCII only, one byte a character: the size is known beforehand, and no text of the whole is ever made.
  let sizeBytes = head.length + TAIL.length - 1;
  const ends = records.map(({ data }, index) => {
    const end = `","PartitionKey":${asciiJson(keys[index]!)}}`;
    sizeBytes += DATA_BEGIN.length + base64Length(data.length) + end.length + 1;
    return end;
  });
  const body = Buffer.allocUnsafeSlow(sizeBytes);
  let at = body.write(head, 0, "latin1");
  for (let index = 0; index < records.length; index += 1) {
    const { data } = records[index]!;
    const base64 = Buffer.from(data.buffer, data.byteOffset, data.length).toString("base64");
    const comma = index === 0 ? "" : ",";
    at += body.write(comma + DATA_BEGIN + base64 + ends[index]!, at, "latin1");
  }
  at += body.write(TAIL, at, "latin1");
  assert(at === sizeBytes, `a body of ${at} bytes where ${sizeBytes} were due`);
  return body;
}

const DATA_BEGIN = '{"Data":"';
const TAIL = "]}";

function base64Length(byteCount: number): number {
  return 4 * Math.ceil(byteCount / 3);
}

/** Neither control characters nor `"`, `\`, DEL or what is not ASCII: JSON writes it as it is. */
const PLAIN = /^[ !#-[\]-~]*$/;
const NOT_ASCII = /[^\0-\x7f]/g;

function asciiJson(text: string): string {
  if (PLAIN.test(text)) return `"${text}"`;
  return JSON.stringify(text).replace(
    NOT_ASCII,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** One record's part of a PutRecords answer; a field that is null, as some servers give it, or no text is not there. */
export interface PutRecordsResult {
  readonly ErrorCode: string | undefined;
  readonly ErrorMessage: string | undefined;
  readonly SequenceNumber: string | undefined;
}

/** The `Records` of the answer to a PutRecords request that was not an error. @throws {Error} when it is something else */
export function putRecordsResults(body: Buffer): readonly PutRecordsResult[] {
  const answer: unknown = JSON.parse(body.toString());
  const records = typeof answer === "object" && answer !== null && "Records" in answer ? answer.Records : [];
  return Array.isArray(records) ? records.map(resultOf) : [];
}

function resultOf(record: unknown): PutRecordsResult {
  const fields = (record ?? {}) as Readonly<Record<string, unknown>>;
  return {
    ErrorCode: textOrNone(fields["ErrorCode"]),
    ErrorMessage: textOrNone(fields["ErrorMessage"]),
    SequenceNumber: textOrNone(fields["SequenceNumber"]),
  };
}

function textOrNone(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}
