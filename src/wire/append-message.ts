import { MillraceError } from "../core/errors.ts";
import { REQUEST_ID_BYTES_MAX } from "../core/limits.ts";
import { CborWriter } from "./cbor-writer.ts";
import { invalid } from "./field-rules.ts";
import { Operation } from "./operation.ts";
import type { Reply } from "./reply.ts";
import { beginReply, checkName, checkRequestId, NAME_BYTES_MAX, readFields, readReply } from "./reply.ts";
import { decodeText } from "./text.ts";

/* AppendMessage (4): requestId, name, payload (at least 1 byte). Its reply (9) adds sequenceNumber, left out when the status is not 0. */
export interface AppendMessage {
  readonly requestId: string;
  readonly name: string;
  /** When decoded, a view of the frame. */
  readonly payload: Uint8Array;
}

export interface AppendMessageResponse extends Reply {
  readonly sequenceNumber?: number;
}

const REQUEST_BYTES_BESIDE_PAYLOAD = 512;

export function encodeAppendMessage(request: AppendMessage): Uint8Array {
  return new CborWriter(Operation.AppendMessage, request.payload.length + REQUEST_BYTES_BESIDE_PAYLOAD)
    .map(3)
    .text("requestId")
    .text(request.requestId)
    .text("name")
    .text(request.name)
    .text("payload")
    .bytes(request.payload)
    .finish();
}

/** @throws {MillraceError} MALFORMED_CBOR, INVALID_REQUEST */
export function decodeAppendMessage(frame: Uint8Array): AppendMessage {
  const request = decodeUsualShape(frame) ?? decodeAnyShape(frame);
  checkRequestId(request.requestId);
  checkName(request.name, "name");
  if (request.payload.length === 0) throw invalid("payload has 0 bytes, the minimum is 1");
  return request;
}

function decodeAnyShape(frame: Uint8Array): AppendMessage {
  let requestId: string | undefined;
  let name: string | undefined;
  let payload: Uint8Array | undefined;
  readFields(frame, (reader, key) => {
    if (key === "requestId") requestId = reader.readText(key, REQUEST_ID_BYTES_MAX);
    else if (key === "name") name = reader.readText(key, NAME_BYTES_MAX);
    else if (key === "payload") payload = reader.readBytes(key);
    else return false;
    return true;
  });
  if (!payload) throw invalid("payload is missing");
  return { requestId: checkRequestId(requestId), name: checkName(name, "name"), payload };
}

const MAP_OF_3 = 0xa3;
const MAP_INDEFINITE = 0xbf;
const BREAK = 0xff;
/** Each key with its CBOR head, as every official client writes it. */
const requestIdKey = keyBytes("requestId");
const nameKey = keyBytes("name");
const payloadKey = keyBytes("payload");

function keyBytes(key: string): Uint8Array {
  return new CborWriter(0).text(key).finish().slice(1);
}

/**
 * The shape that every official client sends: the three keys in order, definite strings. @returns undefined for any other
 * shape, which the strict reader then judges.
 */
function decodeUsualShape(frame: Uint8Array): AppendMessage | undefined {
  const isIndefinite = frame[1] === MAP_INDEFINITE;
  if (!isIndefinite && frame[1] !== MAP_OF_3) return undefined;
  const end = isIndefinite ? frame.length - 1 : frame.length;
  if (isIndefinite && frame[end] !== BREAK) return undefined;

  const requestId = findString(frame, 2, end, requestIdKey, 0x60);
  if (!requestId || requestId.end - requestId.start > REQUEST_ID_BYTES_MAX) return undefined;
  const name = findString(frame, requestId.end, end, nameKey, 0x60);
  if (!name || name.end - name.start > NAME_BYTES_MAX) return undefined;
  const payload = findString(frame, name.end, end, payloadKey, 0x40);
  if (payload?.end !== end) return undefined;
  return {
    requestId: textAt(frame, requestId),
    name: textAt(frame, name),
    payload: frame.subarray(payload.start, payload.end),
  };
}

interface Span {
  readonly start: number;
  readonly end: number;
}

/** A definite string of major type `top` behind `key` at `at`, wholly before `end`. */
function findString(
  frame: Uint8Array,
  at: number,
  end: number,
  key: Uint8Array,
  top: number,
): Span | undefined {
  for (let index = 0; index < key.length; index++) if (frame[at + index] !== key[index]) return undefined;
  const headAt = at + key.length;
  if (headAt >= end) return undefined;
  const info = frame[headAt]! - top;
  let start = headAt + 1;
  let length = info;
  if (info < 0 || info > 26) return undefined;
  if (info >= 24) {
    const widthBytes = 1 << (info - 24);
    if (headAt + widthBytes >= end) return undefined;
    length = 0;
    for (let index = 0; index < widthBytes; index++) length = length * 256 + frame[start++]!;
  }
  return length <= end - start ? { start, end: start + length } : undefined;
}

function textAt(frame: Uint8Array, span: Span): string {
  try {
    return decodeText(frame, span.start, span.end);
  } catch (cause) {
    throw new MillraceError("MALFORMED_CBOR", "Cannot decode CBOR: text is not UTF-8", { cause });
  }
}

export function encodeAppendMessageResponse(reply: AppendMessageResponse): Uint8Array {
  const { sequenceNumber } = reply;
  const writer = beginReply(Operation.AppendMessageResponse, reply, sequenceNumber === undefined ? 0 : 1);
  if (sequenceNumber !== undefined) writer.text("sequenceNumber").integer(sequenceNumber);
  return writer.finish();
}

/** @throws {MillraceError} MALFORMED_CBOR */
export function decodeAppendMessageResponse(frame: Uint8Array): AppendMessageResponse {
  let sequenceNumber: number | undefined;
  const reply = readReply(frame, (reader, key) => {
    if (key !== "sequenceNumber") return false;
    sequenceNumber = Number(reader.readNumber(key));
    return true;
  });
  return sequenceNumber === undefined ? reply : { ...reply, sequenceNumber };
}
