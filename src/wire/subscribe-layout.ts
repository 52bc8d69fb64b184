import { MillraceError } from "../core/errors.ts";
import { ERROR_TEXT_BYTES_MAX } from "../core/limits.ts";
import { readU16, readU32, readU64, writeU16, writeU32, writeU64 } from "./little-endian.ts";
import { Operation } from "./operation.ts";
import { decodeText, encodeTextCut } from "./text.ts";

/*
 * Pushing messages to a reader. Little-endian.
 *
 *   Subscribe (68)                                          SubscribeResult (69)
 *   0   1   2   4        8                12             20       0   1        2           4                8               16
 *   +---+---+---+--------+----------------+--------------+------  +---+--------+-----------+----------------+---------------+-----
 *   |op | 0 | 0 | handle | subscriptionId | fromSequence |credit  |op | status | text bytes| subscriptionId | firstSequence | text
 *   +---+---+---+--------+----------------+--------------+------  +---+--------+-----------+----------------+---------------+-----
 *
 *   Credit (71)                              Unsubscribe (72)
 *   0   1   2   4                8       12  0   1   2   4                8
 *   +---+---+---+----------------+-------+   +---+---+---+----------------+
 *   |op | 0 | 0 | subscriptionId | bytes |   |op | 0 | 0 | subscriptionId |
 *   +---+---+---+----------------+-------+   +---+---+---+----------------+
 *
 * The reader chooses subscriptionId, unique among its open subscriptions of the connection. credit is in bytes of whole
 * Messages frames: the engine sends a frame while the credit is above 0, and the last one may overdraw it, so that a message
 * larger than the credit still moves. SubscribeResult comes once before the first Messages, where firstSequence is
 * fromSequence or the oldest message still there; with a status other than 0, then or at any later time, it ends the
 * subscription. After Unsubscribe, Messages on their way may still arrive.
 */
export const SUBSCRIBE_BYTES = 24;
export const CREDIT_BYTES = 12;
export const UNSUBSCRIBE_BYTES = 8;
const RESULT_TEXT_AT = 16;

export interface Subscribe {
  readonly handle: number;
  readonly subscriptionId: number;
  readonly fromSequence: number;
  readonly creditBytes: number;
}

export interface SubscribeResult {
  readonly subscriptionId: number;
  readonly status: number;
  readonly firstSequence: number;
  readonly errorMessage: string;
}

export interface Credit {
  readonly subscriptionId: number;
  readonly creditBytes: number;
}

export function encodeSubscribe(request: Subscribe): Uint8Array {
  const frame = new Uint8Array(SUBSCRIBE_BYTES);
  frame[0] = Operation.Subscribe;
  writeU32(frame, 4, request.handle);
  writeU32(frame, 8, request.subscriptionId);
  writeU64(frame, 12, request.fromSequence);
  writeU32(frame, 20, request.creditBytes);
  return frame;
}

/** @throws {MillraceError} MALFORMED_FRAME */
export function decodeSubscribe(frame: Uint8Array): Subscribe {
  checkLength(frame, SUBSCRIBE_BYTES, "Subscribe");
  return {
    handle: readU32(frame, 4),
    subscriptionId: readU32(frame, 8),
    fromSequence: readU64(frame, 12),
    creditBytes: readU32(frame, 20),
  };
}

export function encodeSubscribeResult(result: SubscribeResult): Uint8Array {
  const text = encodeTextCut(result.errorMessage, ERROR_TEXT_BYTES_MAX);
  const frame = new Uint8Array(RESULT_TEXT_AT + text.length);
  frame[0] = Operation.SubscribeResult;
  frame[1] = result.status;
  writeU16(frame, 2, text.length);
  writeU32(frame, 4, result.subscriptionId);
  writeU64(frame, 8, result.firstSequence);
  frame.set(text, RESULT_TEXT_AT);
  return frame;
}

/** @throws {MillraceError} MALFORMED_FRAME */
export function decodeSubscribeResult(frame: Uint8Array): SubscribeResult {
  const textBytes = frame.length >= RESULT_TEXT_AT ? readU16(frame, 2) : 0;
  checkLength(frame, RESULT_TEXT_AT + textBytes, "SubscribeResult");
  return {
    status: frame[1]!,
    subscriptionId: readU32(frame, 4),
    firstSequence: readU64(frame, 8),
    errorMessage: decodeText(frame, RESULT_TEXT_AT, frame.length),
  };
}

export function encodeCredit(credit: Credit): Uint8Array {
  const frame = new Uint8Array(CREDIT_BYTES);
  frame[0] = Operation.Credit;
  writeU32(frame, 4, credit.subscriptionId);
  writeU32(frame, 8, credit.creditBytes);
  return frame;
}

/** @throws {MillraceError} MALFORMED_FRAME */
export function decodeCredit(frame: Uint8Array): Credit {
  checkLength(frame, CREDIT_BYTES, "Credit");
  return { subscriptionId: readU32(frame, 4), creditBytes: readU32(frame, 8) };
}

export function encodeUnsubscribe(subscriptionId: number): Uint8Array {
  const frame = new Uint8Array(UNSUBSCRIBE_BYTES);
  frame[0] = Operation.Unsubscribe;
  writeU32(frame, 4, subscriptionId);
  return frame;
}

/** @returns the subscription id. @throws {MillraceError} MALFORMED_FRAME */
export function decodeUnsubscribe(frame: Uint8Array): number {
  checkLength(frame, UNSUBSCRIBE_BYTES, "Unsubscribe");
  return readU32(frame, 4);
}

function checkLength(frame: Uint8Array, length: number, what: string): void {
  if (frame.length === length) return;
  throw new MillraceError(
    "MALFORMED_FRAME",
    `Cannot decode ${what}: ${frame.length} bytes, must be ${length}`,
  );
}
