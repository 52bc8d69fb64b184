/**
 * What a cursor slot holds, little-endian; the slot file around it adds the counter and the CRC.
 *
 *   0  u16 version      2  u16 range count    4  u32 zero
 *   8  u64 start sequence        16  u64 position
 *  24  u64 exported messages     32  u64 exported bytes
 *  40  u64 set aside messages    48  u64 set aside bytes
 *  56  u64 overwritten messages  64  u64 corrupt messages
 *  72  u64 time of the last accepted batch, Unix ms
 *  80  LOSS_RANGES_MAX times: u64 from, u64 to (exclusive), u64 Unix ms, u32 reason, u32 zero
 *
 * Invariant: position = start + exported + set aside + overwritten + corrupt, so every message below the cursor has
 * exactly one account.
 */
import { assert } from "../core/assert.ts";

/** Why messages below a cursor did not reach the destination. The numbers are on disk and never reused. */
export const LossReason = { SetAside: 1, Overwritten: 2, Corrupt: 3 } as const;
export type LossReason = (typeof LossReason)[keyof typeof LossReason];

/** Messages `from` to `to` (exclusive) that were passed over. */
export interface LossRange {
  readonly from: number;
  readonly to: number;
  readonly reason: LossReason;
  readonly timeMs: number;
}

/** The durable state of one exporter. Everything below `position` was accepted or has a reason. */
export interface CursorRecord {
  readonly startSequence: number;
  readonly position: number;
  readonly exportedMessages: number;
  readonly exportedBytes: number;
  readonly setAsideMessages: number;
  readonly setAsideBytes: number;
  readonly overwrittenMessages: number;
  readonly corruptMessages: number;
  readonly lastAcceptedTimeMs: number;
  /** The newest ones, oldest first; the counters know all. */
  readonly ranges: readonly LossRange[];
}

const CURSOR_VERSION = 1;
const RANGES_OFFSET = 80;
const RANGE_SIZE_BYTES = 32;
export const LOSS_RANGES_MAX = 16;
export const CURSOR_SIZE_BYTES = RANGES_OFFSET + LOSS_RANGES_MAX * RANGE_SIZE_BYTES;

/** A cursor that has not moved yet. */
export function newCursor(startSequence: number): CursorRecord {
  return {
    startSequence,
    position: startSequence,
    exportedMessages: 0,
    exportedBytes: 0,
    setAsideMessages: 0,
    setAsideBytes: 0,
    overwrittenMessages: 0,
    corruptMessages: 0,
    lastAcceptedTimeMs: 0,
    ranges: [],
  };
}

/** Messages that the counters of a cursor account for; with the start this is its position. */
function accountedMessages(cursor: CursorRecord): number {
  const { exportedMessages, setAsideMessages, overwrittenMessages, corruptMessages } = cursor;
  return exportedMessages + setAsideMessages + overwrittenMessages + corruptMessages;
}

/** Whether every message below the cursor has exactly one account. */
export function isBalanced(cursor: CursorRecord): boolean {
  return cursor.position === cursor.startSequence + accountedMessages(cursor);
}

export function encodeCursor(cursor: CursorRecord): Buffer {
  assert(
    isBalanced(cursor),
    `cursor at ${cursor.position} accounts for ${accountedMessages(cursor)} messages`,
  );
  assert(cursor.ranges.length <= LOSS_RANGES_MAX, `a cursor holds at most ${LOSS_RANGES_MAX} ranges`);
  const output = Buffer.alloc(CURSOR_SIZE_BYTES);
  output.writeUInt16LE(CURSOR_VERSION, 0);
  output.writeUInt16LE(cursor.ranges.length, 2);
  counters(cursor).forEach((value, index) => writeU64(output, value, 8 + 8 * index));
  cursor.ranges.forEach((range, index) => {
    const at = RANGES_OFFSET + index * RANGE_SIZE_BYTES;
    writeU64(output, range.from, at);
    writeU64(output, range.to, at + 8);
    writeU64(output, range.timeMs, at + 16);
    output.writeUInt32LE(range.reason, at + 24);
  });
  return output;
}

/** @returns undefined for bytes that are no cursor of this version: the caller falls back to an older copy. */
export function decodeCursor(input: Uint8Array): CursorRecord | undefined {
  if (input.length < CURSOR_SIZE_BYTES) return undefined;
  const bytes = Buffer.from(input.buffer, input.byteOffset, input.length);
  const rangeCount = bytes.readUInt16LE(2);
  if (bytes.readUInt16LE(0) !== CURSOR_VERSION || rangeCount > LOSS_RANGES_MAX) return undefined;
  const u64 = (index: number): number => readU64(bytes, 8 + 8 * index);
  const ranges: LossRange[] = [];
  for (let index = 0; index < rangeCount; index += 1) {
    const at = RANGES_OFFSET + index * RANGE_SIZE_BYTES;
    const reason = lossReason(bytes.readUInt32LE(at + 24));
    if (reason === undefined) return undefined;
    ranges.push({
      from: readU64(bytes, at),
      to: readU64(bytes, at + 8),
      timeMs: readU64(bytes, at + 16),
      reason,
    });
  }
  const cursor: CursorRecord = {
    startSequence: u64(0),
    position: u64(1),
    exportedMessages: u64(2),
    exportedBytes: u64(3),
    setAsideMessages: u64(4),
    setAsideBytes: u64(5),
    overwrittenMessages: u64(6),
    corruptMessages: u64(7),
    lastAcceptedTimeMs: u64(8),
    ranges,
  };
  const numbers = [...counters(cursor), ...ranges.flatMap((range) => [range.from, range.to, range.timeMs])];
  return numbers.every((value) => Number.isSafeInteger(value)) && isBalanced(cursor) ? cursor : undefined;
}

/** The fixed numbers in the order of the drawing. */
function counters(cursor: CursorRecord): number[] {
  return [
    cursor.startSequence,
    cursor.position,
    cursor.exportedMessages,
    cursor.exportedBytes,
    cursor.setAsideMessages,
    cursor.setAsideBytes,
    cursor.overwrittenMessages,
    cursor.corruptMessages,
    cursor.lastAcceptedTimeMs,
  ];
}

function lossReason(value: number): LossReason | undefined {
  return Object.values(LossReason).find((reason) => reason === value);
}

function writeU64(output: Buffer, value: number, at: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, `a cursor cannot hold ${value}`);
  output.writeBigUInt64LE(BigInt(value), at);
}

function readU64(input: Buffer, at: number): number {
  return Number(input.readBigUInt64LE(at));
}
