import { crc32 } from "node:zlib";

import { assert } from "../core/assert.ts";

/**
 * The head of a segment file: SEGMENT_HEADER_BYTES, holding the same header twice so that one damaged sector does not cost
 * the segment (every block's checksum is seeded with the segment id that only this header states). Little-endian. Each copy
 * is the content of a skippable LZ4 frame, so that `lz4 -dc` passes over it; the rest of each half is zero.
 *
 *    0 u32 0x184D2A5A                     4 u32 content length (SEGMENT_HEADER_BYTES / 2 - 8)
 *    8 u32 magic "MRSG"                  12 u32 CRC of the half without this field
 *   16 u16 version   18 u16 flags        20 u32 epoch
 *   24 stream id, 16 bytes               40 segment id, 16 bytes, random
 *   56 u64 base sequence                 64 u64 created, Unix ms
 *   72 u64 predecessor's base sequence   80 predecessor's segment id, 16 bytes, zero: none
 *   96 u64 predecessor's end sequence   104 u64 predecessor's end, bytes
 *  112 u32 generation                   116 u32 clock era
 *  120 zeros
 *
 * Bytes of the predecessor beyond its stated end were never acknowledged, or stand in this segment again: they are ignored.
 * Flags: bit 0: checksums are CRC-32 (zlib's).
 */
export const SEGMENT_HEADER_BYTES = 4096;
const COPY_BYTES = SEGMENT_HEADER_BYTES / 2;
const SKIPPABLE_MAGIC = 0x184d2a5a;
const SEGMENT_MAGIC = 0x4753524d;
const SEGMENT_VERSION = 1;
const FLAG_CRC32 = 1;
export const ID_BYTES = 16;

const offsets = {
  frameMagic: 0,
  frameLength: 4,
  magic: 8,
  crc: 12,
  version: 16,
  flags: 18,
  epoch: 20,
  streamId: 24,
  segmentId: 40,
  baseSequence: 56,
  createdMs: 64,
  predecessorBase: 72,
  predecessorId: 80,
  predecessorEnd: 96,
  predecessorEndBytes: 104,
  generation: 112,
  clockEra: 116,
} as const;

export interface SegmentPredecessor {
  readonly segmentId: Buffer;
  readonly baseSequence: number;
  readonly endSequence: number;
  readonly endBytes: number;
}

export interface SegmentHeader {
  readonly streamId: Buffer;
  readonly segmentId: Buffer;
  readonly baseSequence: number;
  readonly generation: number;
  readonly epoch: number;
  readonly createdMs: number;
  readonly clockEra: number;
  readonly predecessor: SegmentPredecessor | undefined;
}

const NO_ID = Buffer.alloc(ID_BYTES);

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  assert(header.streamId.length === ID_BYTES && header.segmentId.length === ID_BYTES, "ids of 16 bytes");
  const area = Buffer.alloc(SEGMENT_HEADER_BYTES);
  const copy = area.subarray(0, COPY_BYTES);
  copy.writeUInt32LE(SKIPPABLE_MAGIC, offsets.frameMagic);
  copy.writeUInt32LE(COPY_BYTES - 8, offsets.frameLength);
  copy.writeUInt32LE(SEGMENT_MAGIC, offsets.magic);
  copy.writeUInt16LE(SEGMENT_VERSION, offsets.version);
  copy.writeUInt16LE(FLAG_CRC32, offsets.flags);
  copy.writeUInt32LE(header.epoch, offsets.epoch);
  header.streamId.copy(copy, offsets.streamId);
  header.segmentId.copy(copy, offsets.segmentId);
  writeSafeU64(copy, header.baseSequence, offsets.baseSequence);
  writeSafeU64(copy, header.createdMs, offsets.createdMs);
  if (header.predecessor !== undefined) {
    header.predecessor.segmentId.copy(copy, offsets.predecessorId);
    writeSafeU64(copy, header.predecessor.baseSequence, offsets.predecessorBase);
    writeSafeU64(copy, header.predecessor.endSequence, offsets.predecessorEnd);
    writeSafeU64(copy, header.predecessor.endBytes, offsets.predecessorEndBytes);
  }
  copy.writeUInt32LE(header.generation, offsets.generation);
  copy.writeUInt32LE(header.clockEra, offsets.clockEra);
  copy.writeUInt32LE(headerCrc(copy), offsets.crc);
  copy.copy(area, COPY_BYTES);
  return area;
}

/** @returns undefined when neither copy in `area` is whole, or when a later version wrote it. */
export function decodeSegmentHeader(area: Buffer): SegmentHeader | undefined {
  return (
    decodeCopy(area.subarray(0, COPY_BYTES)) ?? decodeCopy(area.subarray(COPY_BYTES, SEGMENT_HEADER_BYTES))
  );
}

function decodeCopy(copy: Buffer): SegmentHeader | undefined {
  if (copy.length !== COPY_BYTES) return undefined;
  if (copy.readUInt32LE(offsets.frameMagic) !== SKIPPABLE_MAGIC) return undefined;
  if (copy.readUInt32LE(offsets.magic) !== SEGMENT_MAGIC) return undefined;
  if (copy.readUInt32LE(offsets.crc) !== headerCrc(copy)) return undefined;
  if (copy.readUInt16LE(offsets.version) !== SEGMENT_VERSION) return undefined;
  if (copy.readUInt16LE(offsets.flags) !== FLAG_CRC32) return undefined;
  const predecessorId = Buffer.from(copy.subarray(offsets.predecessorId, offsets.predecessorId + ID_BYTES));
  return {
    streamId: Buffer.from(copy.subarray(offsets.streamId, offsets.streamId + ID_BYTES)),
    segmentId: Buffer.from(copy.subarray(offsets.segmentId, offsets.segmentId + ID_BYTES)),
    baseSequence: readSafeU64(copy, offsets.baseSequence),
    generation: copy.readUInt32LE(offsets.generation),
    epoch: copy.readUInt32LE(offsets.epoch),
    createdMs: readSafeU64(copy, offsets.createdMs),
    clockEra: copy.readUInt32LE(offsets.clockEra),
    predecessor: predecessorId.equals(NO_ID)
      ? undefined
      : {
          segmentId: predecessorId,
          baseSequence: readSafeU64(copy, offsets.predecessorBase),
          endSequence: readSafeU64(copy, offsets.predecessorEnd),
          endBytes: readSafeU64(copy, offsets.predecessorEndBytes),
        },
  };
}

function headerCrc(copy: Buffer): number {
  return crc32(copy.subarray(offsets.version), crc32(copy.subarray(0, offsets.crc)));
}

const U32 = 2 ** 32;

/** A u64 that our code only ever fills with safe integers. */
export function writeSafeU64(target: Buffer, value: number, at: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, `not a sequence, size or time: ${value}`);
  target.writeUInt32LE(value % U32, at);
  target.writeUInt32LE(Math.floor(value / U32), at + 4);
}

/** Callers check the CRC first, so a value above 2^53 is a bug of the writer. */
export function readSafeU64(source: Buffer, at: number): number {
  const value = source.readUInt32LE(at + 4) * U32 + source.readUInt32LE(at);
  assert(Number.isSafeInteger(value), `not a safe integer: ${value}`);
  return value;
}

/** The seed of a block header's CRC: bytes that were copied, recycled or written elsewhere never verify. */
export function blockSeed(segmentId: Buffer, position: number): number {
  seedOffset.writeUInt32LE(position % U32, 0);
  seedOffset.writeUInt32LE(Math.floor(position / U32), 4);
  return crc32(seedOffset, crc32(segmentId));
}
const seedOffset = Buffer.alloc(8);

const NAME = /^(\d{20})-(\d{4})\.lz4$/;
export const GENERATION_MAX = 9999;

export interface SegmentName {
  readonly baseSequence: number;
  readonly generation: number;
}

export function formatSegmentName(name: SegmentName): string {
  assert(name.generation <= GENERATION_MAX, `generation ${name.generation}`);
  return `${String(name.baseSequence).padStart(20, "0")}-${String(name.generation).padStart(4, "0")}.lz4`;
}

/** @returns undefined for a file that is not a segment by its name. */
export function parseSegmentName(name: string): SegmentName | undefined {
  const match = NAME.exec(name);
  if (match === null) return undefined;
  const baseSequence = Number(match[1]);
  return Number.isSafeInteger(baseSequence) ? { baseSequence, generation: Number(match[2]) } : undefined;
}
