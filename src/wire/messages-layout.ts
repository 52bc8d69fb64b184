import { assert } from "../core/assert.ts";
import { MillraceError } from "../core/errors.ts";
import { checkFraming, FramingFault, MESSAGE_LENGTH_BYTES } from "../core/message-framing.ts";
import { readU16, readU32, readU64, writeU16, writeU32, writeU64 } from "./little-endian.ts";
import { Operation } from "./operation.ts";

/*
 * Messages (70): a stretch of one stream, pushed to a subscriber. Little-endian.
 *
 *   0   1   2          4                8               16                   24             28
 *   +---+---+----------+----------------+---------------+--------------------+--------------+------ ... ----------
 *   |op | 0 | runCount | subscriptionId | firstSequence | durableEndSequence | messageCount | runs   | messages
 *   +---+---+----------+----------------+---------------+--------------------+--------------+------ ... ----------
 *
 *   run of messages   u32 count, u32 0,      u64 ingest time in Unix milliseconds, shared by the count messages
 *   gap               u32 0,     u32 reason, u64 number of messages that are missing here
 *   messages          u32 length, bytes; messageCount of them, in order, as in AppendBatch
 *
 * Sequence numbers begin at firstSequence and go up by count or by the missing number with each run. messageCount is the sum of
 * the counts. durableEndSequence: every message below it is on the medium.
 */
export const MESSAGES_RUNS_AT = 28;
export const MESSAGES_RUN_BYTES = 16;
export const MESSAGES_RUNS_MAX = 0xffff;

/** Why messages are missing. Numbers are never reused. */
export const GapReason = { None: 0, Overwritten: 1, Expired: 2, Corrupt: 3, Lost: 4 } as const;
export type GapReason = (typeof GapReason)[keyof typeof GapReason];

/** Either `messageCount` messages taken at `ingestTimeMs`, or a gap of `missingCount` with its reason. */
export type MessageRun =
  | { readonly messageCount: number; readonly ingestTimeMs: number }
  | { readonly gapReason: number; readonly missingCount: number };

export interface MessagesFrame {
  readonly subscriptionId: number;
  readonly firstSequence: number;
  readonly durableEndSequence: number;
  readonly runs: readonly MessageRun[];
  /** `u32 length, bytes` of every message: as a block of the log or a batch holds them. */
  readonly messageBytes: Uint8Array;
}

export function encodeMessages(frame: MessagesFrame): Uint8Array {
  const { runs, messageBytes } = frame;
  assert(runs.length <= MESSAGES_RUNS_MAX, "a frame counts its runs in 16 bits");
  const messagesAt = MESSAGES_RUNS_AT + runs.length * MESSAGES_RUN_BYTES;
  const bytes = new Uint8Array(messagesAt + messageBytes.length);
  bytes[0] = Operation.Messages;
  writeU16(bytes, 2, runs.length);
  writeU32(bytes, 4, frame.subscriptionId);
  writeU64(bytes, 8, frame.firstSequence);
  writeU64(bytes, 16, frame.durableEndSequence);
  let messageCount = 0;
  let at = MESSAGES_RUNS_AT;
  for (const run of runs) {
    if ("gapReason" in run) {
      writeU32(bytes, at + 4, run.gapReason);
      writeU64(bytes, at + 8, run.missingCount);
    } else {
      messageCount += run.messageCount;
      writeU32(bytes, at, run.messageCount);
      writeU64(bytes, at + 8, run.ingestTimeMs);
    }
    at += MESSAGES_RUN_BYTES;
  }
  writeU32(bytes, 24, messageCount);
  bytes.set(messageBytes, messagesAt);
  return bytes;
}

export interface MessagesListener {
  /** `payload` is a view of the frame. */
  onMessage(sequence: number, ingestTimeMs: number, payload: Uint8Array): void;
  onGap(firstSequence: number, missingCount: number, reason: number): void;
}

export interface MessagesHeader {
  readonly subscriptionId: number;
  readonly firstSequence: number;
  /** The sequence after the last one that this frame tells of. */
  readonly endSequence: number;
  readonly durableEndSequence: number;
  readonly messageCount: number;
}

/** Checks the whole frame without looking at payloads. @throws {MillraceError} MALFORMED_FRAME */
export function decodeMessagesHeader(frame: Uint8Array): MessagesHeader {
  const runCount = frame.length >= MESSAGES_RUNS_AT ? readU16(frame, 2) : 0;
  const messagesAt = MESSAGES_RUNS_AT + runCount * MESSAGES_RUN_BYTES;
  if (frame.length < messagesAt) throw malformed(frame, `${runCount} runs`);
  const messageCount = readU32(frame, 24);
  const firstSequence = readU64(frame, 8);
  let endSequence = firstSequence;
  let runMessages = 0;
  for (let at = MESSAGES_RUNS_AT; at < messagesAt; at += MESSAGES_RUN_BYTES) {
    const count = readU32(frame, at);
    const value = readU64(frame, at + 8);
    const isGap = readU32(frame, at + 4) !== 0;
    if (isGap === count > 0) throw malformed(frame, `a run of ${count} messages`);
    runMessages += count;
    endSequence += isGap ? value : count;
  }
  if (
    runMessages !== messageCount ||
    !Number.isSafeInteger(endSequence) ||
    checkFraming(frame, messagesAt, frame.length, messageCount) !== FramingFault.None
  ) {
    throw malformed(frame, `${messageCount} messages`);
  }
  return {
    subscriptionId: readU32(frame, 4),
    firstSequence,
    endSequence,
    durableEndSequence: readU64(frame, 16),
    messageCount,
  };
}

/** Goes through a frame that `decodeMessagesHeader` has accepted. */
export function forEachMessage(frame: Uint8Array, listener: MessagesListener): void {
  const messagesAt = MESSAGES_RUNS_AT + readU16(frame, 2) * MESSAGES_RUN_BYTES;
  let sequence = readU64(frame, 8);
  let payloadAt = messagesAt;
  for (let at = MESSAGES_RUNS_AT; at < messagesAt; at += MESSAGES_RUN_BYTES) {
    const reason = readU32(frame, at + 4);
    const value = readU64(frame, at + 8);
    if (reason !== 0) {
      listener.onGap(sequence, value, reason);
      sequence += value;
      continue;
    }
    const end = sequence + readU32(frame, at);
    for (; sequence < end; sequence++) {
      const length = readU32(frame, payloadAt);
      payloadAt += MESSAGE_LENGTH_BYTES;
      listener.onMessage(sequence, value, frame.subarray(payloadAt, payloadAt + length));
      payloadAt += length;
    }
  }
}

function malformed(frame: Uint8Array, what: string): MillraceError {
  return new MillraceError(
    "MALFORMED_FRAME",
    `Cannot decode Messages: ${frame.length} bytes do not fit ${what}`,
  );
}
