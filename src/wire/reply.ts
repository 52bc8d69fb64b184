import { MillraceError } from "../core/errors.ts";
import { REQUEST_ID_BYTES_MAX } from "../core/limits.ts";
import { StatusCode } from "../core/status-code.ts";
import { CborReader } from "./cbor-reader.ts";
import { CborWriter } from "./cbor-writer.ts";
import { invalid, NAME_PATTERN } from "./field-rules.ts";
import type { Operation } from "./operation.ts";

/** The three keys that every reply has (PROTOCOL 2.2). `errorMessage` is empty on success. */
export interface Reply {
  readonly requestId: string;
  readonly status: StatusCode;
  readonly errorMessage: string;
}

const ERROR_MESSAGE_BYTES_MAX = 64 * 1024;

export function success(requestId: string): Reply {
  return { requestId, status: StatusCode.Success, errorMessage: "" };
}

/** Begins a reply: `moreKeys` keys are to follow the three. */
export function beginReply(
  operation: Operation,
  reply: Reply,
  moreKeys = 0,
  bytesExpected?: number,
): CborWriter {
  return new CborWriter(operation, bytesExpected)
    .map(3 + moreKeys)
    .text("requestId")
    .text(reply.requestId)
    .text("status")
    .integer(reply.status)
    .text("errorMessage")
    .text(reply.errorMessage);
}

/**
 * Goes through the map of a frame. `readField` returns false for a key that it does not know; null values count as absent.
 * @throws {MillraceError} MALFORMED_CBOR, and what `readField` throws
 */
export function readFields(frame: Uint8Array, readField: (reader: CborReader, key: string) => boolean): void {
  const reader = new CborReader(frame, 1);
  reader.openMap("the body");
  while (reader.nextKey()) {
    if (!reader.takeNull() && !readField(reader, reader.key)) reader.skip();
  }
  reader.finish();
}

/** Reads a reply; `readField` takes the keys beside the three. */
export function readReply(
  frame: Uint8Array,
  readField: (reader: CborReader, key: string) => boolean = () => false,
): Reply {
  let requestId: string | undefined;
  let status: number | undefined;
  let errorMessage = "";
  readFields(frame, (reader, key) => {
    if (key === "requestId") requestId = reader.readText(key, REQUEST_ID_BYTES_MAX);
    else if (key === "status") status = Number(reader.readNumber(key));
    else if (key === "errorMessage") errorMessage = reader.readText(key, ERROR_MESSAGE_BYTES_MAX);
    else return readField(reader, key);
    return true;
  });
  if (status === undefined || !Number.isInteger(status)) throw invalid("status is missing");
  return { requestId: requestId ?? "", status: status as StatusCode, errorMessage };
}

/** Checks the id of a request (PROTOCOL 1.6). */
export function checkRequestId(requestId: string | undefined): string {
  if (requestId === undefined) throw invalid("requestId is missing");
  if (requestId === "" || !NAME_PATTERN.test(requestId)) {
    throw invalid(`requestId is ${JSON.stringify(requestId)}, which does not match ${NAME_PATTERN.source}`);
  }
  return requestId;
}

/** A text that a request must have, of at least one character and any that a name may have. */
export function checkName(name: string | undefined, key: string): string {
  if (name === undefined) throw invalid(`${key} is missing`);
  if (name === "" || !NAME_PATTERN.test(name) || name.length > 255) {
    throw invalid(
      `${key} is ${JSON.stringify(name.slice(0, 80))}, must be 1 to 255 characters matching ${NAME_PATTERN.source}`,
    );
  }
  return name;
}

/** Bytes that 255 code points can take: a name over this is refused before it is decoded, one below it with its length. */
export const NAME_BYTES_MAX = 255 * 4;

/** A request that names one stream and nothing else: delete and describe. */
export interface NamedRequest {
  readonly requestId: string;
  readonly name: string;
}

export function encodeNamedRequest(operation: Operation, request: NamedRequest): Uint8Array {
  const writer = new CborWriter(operation).map(2).text("requestId").text(request.requestId);
  return writer.text("name").text(request.name).finish();
}

export function decodeNamedRequest(frame: Uint8Array): NamedRequest {
  let requestId: string | undefined;
  let name: string | undefined;
  readFields(frame, (reader, key) => {
    if (key === "requestId") requestId = reader.readText(key, REQUEST_ID_BYTES_MAX);
    else if (key === "name") name = reader.readText(key, NAME_BYTES_MAX);
    else return false;
    return true;
  });
  return { requestId: checkRequestId(requestId), name: checkName(name, "name") };
}

/**
 * The request id of a frame that could not be decoded, was cut off, or is of an unknown operation: whatever stands under
 * `requestId` if it can be read at all. All official clients send it first.
 */
export function findRequestId(frame: Uint8Array): string | undefined {
  try {
    const reader = new CborReader(frame, 1);
    reader.openMap("the body");
    while (reader.nextKey()) {
      if (reader.key === "requestId") return reader.readText("requestId", REQUEST_ID_BYTES_MAX);
      reader.skip();
    }
  } catch (thrown) {
    // Only bad bytes end the search quietly.
    if (!(thrown instanceof MillraceError)) throw thrown;
  }
  return undefined;
}
