import { MillraceError } from "../core/errors.ts";

/*
 * Integers of the operations from 64 on. Plain byte arithmetic: frames lie at any alignment, and a DataView for each frame is
 * an allocation for each frame. Callers have checked that the bytes are there: an index outside reads as 0 and is a bug.
 */

const TWO_32 = 2 ** 32;

export function readU16(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8);
}

export function readU32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

/** Reads 64 bits that must fit a number exactly. @throws {MillraceError} MALFORMED_FRAME above 2^53 - 1 */
export function readU64(bytes: Uint8Array, at: number): number {
  const value = readU32(bytes, at + 4) * TWO_32 + readU32(bytes, at);
  if (value > Number.MAX_SAFE_INTEGER) {
    throw new MillraceError(
      "MALFORMED_FRAME",
      `Cannot decode frame: the 64-bit field at byte ${at} is above ${Number.MAX_SAFE_INTEGER}`,
    );
  }
  return value;
}

export function writeU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
}

export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}

/** `value` is an integer from 0 to 2^53 - 1. */
export function writeU64(bytes: Uint8Array, at: number, value: number): void {
  writeU32(bytes, at, value % TWO_32);
  writeU32(bytes, at + 4, Math.floor(value / TWO_32));
}
