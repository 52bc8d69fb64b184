import { MillraceError } from "../core/errors.ts";
import { ERROR_TEXT_BYTES_MAX } from "../core/limits.ts";
import { readU16, readU32, readU64, writeU16, writeU32, writeU64 } from "./little-endian.ts";
import { Operation } from "./operation.ts";
import { decodeText, encodeText, encodeTextCut } from "./text.ts";

/*
 * A name becomes a number for this connection. Little-endian.
 *
 *   OpenStream (64)                                  OpenStreamResult (65)
 *   0   1   2       4           8            10      0   1       2           4           8        12             20
 *   +---+---+-------+-----------+------------+----   +---+-------+-----------+-----------+--------+--------------+-----
 *   |op | 0 | 0     | requestId | name bytes | name  |op | status| text bytes| requestId | handle | nextSequence | text
 *   +---+---+-------+-----------+------------+----   +---+-------+-----------+-----------+--------+--------------+-----
 *
 * A handle is valid until the connection ends or the stream is deleted. With a status other than 0, handle and nextSequence
 * are 0 and the text says why. nextSequence is the number that the next message will get.
 */
const NAME_BYTES_AT = 8;
const NAME_AT = 10;
const TEXT_AT = 20;
/** 255 UTF-16 units at 3 bytes each. */
const NAME_BYTES_MAX = 765;

export interface OpenStream {
  readonly requestId: number;
  readonly name: string;
}

export interface OpenStreamResult {
  readonly requestId: number;
  readonly status: number;
  readonly handle: number;
  readonly nextSequence: number;
  readonly errorMessage: string;
}

export function encodeOpenStream(request: OpenStream): Uint8Array {
  const name = encodeText(request.name);
  if (name.length > NAME_BYTES_MAX) {
    throw new MillraceError(
      "INVALID_REQUEST",
      `Cannot open stream: the name is ${name.length} bytes, the maximum is ${NAME_BYTES_MAX}`,
    );
  }
  const frame = new Uint8Array(NAME_AT + name.length);
  frame[0] = Operation.OpenStream;
  writeU32(frame, 4, request.requestId);
  writeU16(frame, NAME_BYTES_AT, name.length);
  frame.set(name, NAME_AT);
  return frame;
}

/** @throws {MillraceError} MALFORMED_FRAME */
export function decodeOpenStream(frame: Uint8Array): OpenStream {
  const nameBytes = frame.length >= NAME_AT ? readU16(frame, NAME_BYTES_AT) : 0;
  if (frame.length < NAME_AT || frame.length !== NAME_AT + nameBytes || nameBytes > NAME_BYTES_MAX) {
    throw new MillraceError(
      "MALFORMED_FRAME",
      `Cannot decode OpenStream: ${frame.length} bytes for a name of ${nameBytes}`,
    );
  }
  return { requestId: readU32(frame, 4), name: decodeText(frame, NAME_AT, frame.length) };
}

export function encodeOpenStreamResult(result: OpenStreamResult): Uint8Array {
  const text = encodeTextCut(result.errorMessage, ERROR_TEXT_BYTES_MAX);
  const frame = new Uint8Array(TEXT_AT + text.length);
  frame[0] = Operation.OpenStreamResult;
  frame[1] = result.status;
  writeU16(frame, 2, text.length);
  writeU32(frame, 4, result.requestId);
  writeU32(frame, 8, result.handle);
  writeU64(frame, 12, result.nextSequence);
  frame.set(text, TEXT_AT);
  return frame;
}

/** @throws {MillraceError} MALFORMED_FRAME */
export function decodeOpenStreamResult(frame: Uint8Array): OpenStreamResult {
  if (frame.length < TEXT_AT || frame.length !== TEXT_AT + readU16(frame, 2)) {
    throw new MillraceError("MALFORMED_FRAME", `Cannot decode OpenStreamResult of ${frame.length} bytes`);
  }
  return {
    status: frame[1]!,
    requestId: readU32(frame, 4),
    handle: readU32(frame, 8),
    nextSequence: readU64(frame, 12),
    errorMessage: decodeText(frame, TEXT_AT, frame.length),
  };
}
