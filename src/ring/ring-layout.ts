import { assert } from "../core/assert.ts";

/**
 * One ring in a SharedArrayBuffer: one writer thread, one reader thread. Native byte order (a ring never leaves its machine).
 *
 *   byte 0    128   256            384          512                512 + capacity
 *   +------+------+--------------+------------+---------------------------------+
 *   | tail | head | space wanted | counters   | records                         |
 *   +------+------+--------------+------------+---------------------------------+
 *
 * Tail (bytes ever written) and head (bytes ever read) are free-running 32-bit positions, two cache lines apart because
 * each is written by another core. A record starts at an 8-byte boundary and never wraps; the rest of the data area is
 * skipped with a padding record instead:
 *
 *   +----------------+----------------+---------------------+---------+
 *   | length i32     | type i32       | body, length bytes  | 0 to 7  |
 *   +----------------+----------------+---------------------+---------+
 *
 * The tail is stored last, after the whole record: a reader that sees the tail sees the record. With a single writer that
 * one store replaces a commit flag in each record, and nothing needs to be zeroed after reading.
 */
export const TAIL_INDEX = 0;
export const HEAD_INDEX = 128 / 4;
/** Set by a writer that found no room; the reader that makes room clears it and rings the writer's doorbell. */
export const SPACE_WANTED_INDEX = 256 / 4;
export const COUNTERS_INDEX = 384 / 4;
export const DATA_OFFSET_BYTES = 512;

export const RECORD_HEADER_BYTES = 8;
const RECORD_ALIGN_BYTES = 8;

/** Types are 1 to 255; the bits above say which part of a fragmented record this is. */
export const RECORD_TYPE_PADDING = 0;
export const RECORD_TYPE_MASK = 0xff;
export const FRAGMENT_BEGIN = 1 << 8;
export const FRAGMENT_MORE = 1 << 9;
export const FRAGMENT_END = 1 << 10;
/** A first fragment starts with the size of the whole record, so that the reader allocates once. */
export const FRAGMENT_TOTAL_BYTES = 8;

/** Counters, written by one side only; wrap at 2^32. */
export const RingCounter = { Records: 0, Stalls: 1, Fragments: 2 } as const;
export type RingCounter = (typeof RingCounter)[keyof typeof RingCounter];

const CAPACITY_BYTES_MIN = 4096;
const CAPACITY_BYTES_MAX = 2 ** 29;

/** Memory for a ring of `capacityBytes`, a power of two from 4 KiB to 512 MiB. */
export function allocateRing(capacityBytes: number): SharedArrayBuffer {
  assertCapacity(capacityBytes);
  return new SharedArrayBuffer(DATA_OFFSET_BYTES + capacityBytes);
}

export function ringCapacity(memory: SharedArrayBuffer): number {
  const capacityBytes = memory.byteLength - DATA_OFFSET_BYTES;
  assertCapacity(capacityBytes);
  return capacityBytes;
}

/** The largest body that one record may have; larger ones go in fragments. */
export function recordBytesMax(capacityBytes: number): number {
  return capacityBytes / 4 - RECORD_HEADER_BYTES;
}

export function alignRecord(bytes: number): number {
  return (bytes + RECORD_HEADER_BYTES + RECORD_ALIGN_BYTES - 1) & ~(RECORD_ALIGN_BYTES - 1);
}

function assertCapacity(capacityBytes: number): void {
  const isPowerOfTwo = capacityBytes > 0 && (capacityBytes & (capacityBytes - 1)) === 0;
  assert(
    isPowerOfTwo && capacityBytes >= CAPACITY_BYTES_MIN && capacityBytes <= CAPACITY_BYTES_MAX,
    `ring capacity ${capacityBytes} is a power of two from ${CAPACITY_BYTES_MIN} to ${CAPACITY_BYTES_MAX}`,
  );
}
