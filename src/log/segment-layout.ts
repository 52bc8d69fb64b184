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
 *   56 u64 base sequence                 64 u64 created, Unix ms as an ingest time
 *   72 u64 predecessor's base sequence   80 predecessor's segment id, 16 bytes, zero: none
 *   96 u64 predecessor's end sequence   104 u64 predecessor's end, bytes
 *  112 u32 generation                   116 u32 clock era
 *  120 u64 payload offset of the base   128 u64 predecessor's end, payload offset
 *  136 u64 end sequence                144 u64 end, payload offset: of a rewritten segment, else zero
 *  152 u64 age (stream-clock.ts)       160 u64 run time: the counts at its start
 *  168 u64 clock reference: ingest time of a proven clock; 0: none   176 u64 the age at that time
 *  184 zeros
 *
 * The payload offset of a sequence number is the payload bytes of all messages of the stream before it, whatever became of
 * them; so the bytes of any range that is gone are known from what stands around it.
 *
 * Bytes of the predecessor beyond its stated end were never acknowledged, or stand in this segment again: they are ignored.
 * Flags: bit 0: checksums are CRC-32 (zlib's); bit 1: rewritten. A rewritten segment was made from others that were complete,
 * and got its name when it was whole and durable: all of it is evidence, and nothing is ever written behind its seal.
 */
export const SEGMENT_HEADER_BYTES = 4096;
const COPY_BYTES = SEGMENT_HEADER_BYTES / 2;
const SKIPPABLE_MAGIC = 0x184d2a5a;
const SEGMENT_MAGIC = 0x4753524d;
const SEGMENT_VERSION = 1;
const FLAG_CRC32 = 1;
const FLAG_REWRITTEN = 2;
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
  basePayload: 120,
  predecessorEndPayload: 128,
  rewrittenEnd: 136,
  rewrittenEndPayload: 144,
  age: 152,
  runTime: 160,
  referenceStamp: 168,
  referenceAge: 176,
} as const;

const u64Offsets = [
  offsets.baseSequence,
  offsets.createdMs,
  offsets.predecessorBase,
  offsets.predecessorEnd,
  offsets.predecessorEndBytes,
  offsets.basePayload,
  offsets.predecessorEndPayload,
  offsets.rewrittenEnd,
  offsets.rewrittenEndPayload,
  offsets.age,
  offsets.runTime,
  offsets.referenceStamp,
  offsets.referenceAge,
];

/** The bytes of a stream id, which is written in lower-case hexadecimal. */
export function parseStreamId(streamId: string): Buffer {
  const id = Buffer.from(streamId, "hex");
  assert(id.length === ID_BYTES && id.toString("hex") === streamId, `stream id "${streamId}"`);
  return id;
}

export interface SegmentPredecessor {
  readonly segmentId: Buffer;
  readonly baseSequence: number;
  readonly endSequence: number;
  readonly endBytes: number;
  readonly endPayloadOffset: number;
}

/** A moment at which the wall clock had proven itself. */
export interface ClockReference {
  readonly stampMs: number;
  readonly ageMs: number;
}

export interface SegmentHeader {
  readonly streamId: Buffer;
  readonly segmentId: Buffer;
  readonly baseSequence: number;
  readonly basePayloadOffset: number;
  readonly generation: number;
  readonly epoch: number;
  readonly createdMs: number;
  /** Ingest times are comparable within an era. */
  readonly clockEra: number;
  readonly ageMs: number;
  readonly runMs: number;
  readonly reference: ClockReference | undefined;
  readonly predecessor: SegmentPredecessor | undefined;
  /** Where a rewritten segment ends; undefined for any other. */
  readonly rewritten: RewrittenEnd | undefined;
}

export interface RewrittenEnd {
  /** Exclusive. */
  readonly endSequence: number;
  readonly endPayloadOffset: number;
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
  const flags = header.rewritten === undefined ? FLAG_CRC32 : FLAG_CRC32 | FLAG_REWRITTEN;
  copy.writeUInt16LE(flags, offsets.flags);
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
    writeSafeU64(copy, header.predecessor.endPayloadOffset, offsets.predecessorEndPayload);
  }
  writeSafeU64(copy, header.basePayloadOffset, offsets.basePayload);
  if (header.rewritten !== undefined) {
    writeSafeU64(copy, header.rewritten.endSequence, offsets.rewrittenEnd);
    writeSafeU64(copy, header.rewritten.endPayloadOffset, offsets.rewrittenEndPayload);
  }
  copy.writeUInt32LE(header.generation, offsets.generation);
  copy.writeUInt32LE(header.clockEra, offsets.clockEra);
  writeSafeU64(copy, header.ageMs, offsets.age);
  writeSafeU64(copy, header.runMs, offsets.runTime);
  writeSafeU64(copy, header.reference?.stampMs ?? 0, offsets.referenceStamp);
  writeSafeU64(copy, header.reference?.ageMs ?? 0, offsets.referenceAge);
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

/** One of the two copies of a header, for those who look at files that may be damaged. */
export interface HeaderCopy {
  readonly offset: number;
  readonly state: "whole" | "damaged" | "cut off" | "other version";
  /** All of it that is there is zero: it was never written. */
  readonly isUnwritten: boolean;
  /** Of a whole copy only. */
  readonly header: SegmentHeader | undefined;
  /** What a damaged copy says is the segment's id. A block whose checksum it seeds proves it. */
  readonly claimedId: Buffer | undefined;
}

/** Both copies at the start of a file, each on its own. */
export function inspectHeaderCopies(area: Buffer): HeaderCopy[] {
  return [0, COPY_BYTES].map((offset): HeaderCopy => {
    const copy = area.subarray(offset, offset + COPY_BYTES);
    const header = decodeCopy(copy);
    const claimedId =
      copy.length < offsets.segmentId + ID_BYTES
        ? undefined
        : Buffer.from(copy.subarray(offsets.segmentId, offsets.segmentId + ID_BYTES));
    const state = header === undefined ? copyState(copy) : "whole";
    return { offset, header, claimedId, state, isUnwritten: copy.every((byte) => byte === 0) };
  });
}

function copyState(copy: Buffer): HeaderCopy["state"] {
  if (copy.length < COPY_BYTES) return "cut off";
  const isOurs = copy.readUInt32LE(offsets.magic) === SEGMENT_MAGIC;
  return isOurs && copy.readUInt32LE(offsets.crc) === headerCrc(copy) ? "other version" : "damaged";
}

function decodeCopy(copy: Buffer): SegmentHeader | undefined {
  if (copy.length !== COPY_BYTES) return undefined;
  if (copy.readUInt32LE(offsets.frameMagic) !== SKIPPABLE_MAGIC) return undefined;
  if (copy.readUInt32LE(offsets.magic) !== SEGMENT_MAGIC) return undefined;
  if (copy.readUInt32LE(offsets.crc) !== headerCrc(copy)) return undefined;
  if (copy.readUInt16LE(offsets.version) !== SEGMENT_VERSION) return undefined;
  const flags = copy.readUInt16LE(offsets.flags);
  if ((flags | FLAG_REWRITTEN) !== (FLAG_CRC32 | FLAG_REWRITTEN)) return undefined;
  if (!u64Offsets.every((at) => isSafeU64(copy, at))) return undefined;
  if (copy.readUInt32LE(offsets.generation) > GENERATION_MAX) return undefined;
  const predecessorId = Buffer.from(copy.subarray(offsets.predecessorId, offsets.predecessorId + ID_BYTES));
  return {
    streamId: Buffer.from(copy.subarray(offsets.streamId, offsets.streamId + ID_BYTES)),
    segmentId: Buffer.from(copy.subarray(offsets.segmentId, offsets.segmentId + ID_BYTES)),
    baseSequence: readSafeU64(copy, offsets.baseSequence),
    basePayloadOffset: readSafeU64(copy, offsets.basePayload),
    generation: copy.readUInt32LE(offsets.generation),
    epoch: copy.readUInt32LE(offsets.epoch),
    createdMs: readSafeU64(copy, offsets.createdMs),
    clockEra: copy.readUInt32LE(offsets.clockEra),
    ageMs: readSafeU64(copy, offsets.age),
    runMs: readSafeU64(copy, offsets.runTime),
    reference: readReference(copy),
    predecessor: predecessorId.equals(NO_ID)
      ? undefined
      : {
          segmentId: predecessorId,
          baseSequence: readSafeU64(copy, offsets.predecessorBase),
          endSequence: readSafeU64(copy, offsets.predecessorEnd),
          endBytes: readSafeU64(copy, offsets.predecessorEndBytes),
          endPayloadOffset: readSafeU64(copy, offsets.predecessorEndPayload),
        },
    rewritten:
      (flags & FLAG_REWRITTEN) === 0
        ? undefined
        : {
            endSequence: readSafeU64(copy, offsets.rewrittenEnd),
            endPayloadOffset: readSafeU64(copy, offsets.rewrittenEndPayload),
          },
  };
}

function readReference(copy: Buffer): ClockReference | undefined {
  const stampMs = readSafeU64(copy, offsets.referenceStamp);
  return stampMs === 0 ? undefined : { stampMs, ageMs: readSafeU64(copy, offsets.referenceAge) };
}

function headerCrc(copy: Buffer): number {
  return crc32(copy.subarray(offsets.version), crc32(copy.subarray(0, offsets.crc)));
}

const U32 = 2 ** 32;
/** Exclusive: with any low word the value stays below 2^53. */
const U64_HIGH_WORD_MAX = 2 ** 21;

/** A u64 that our code only ever fills with safe integers. */
export function writeSafeU64(target: Buffer, value: number, at: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, `not a sequence, size or time: ${value}`);
  target.writeUInt32LE(value % U32, at);
  target.writeUInt32LE(Math.floor(value / U32), at + 4);
}

/** Whether `readSafeU64` can read it: the CRC around may have held, and what is too large was written by someone else. */
export function isSafeU64(source: Buffer, at: number): boolean {
  return source.readUInt32LE(at + 4) < U64_HIGH_WORD_MAX;
}

/** Callers have asked `isSafeU64`. */
export function readSafeU64(source: Buffer, at: number): number {
  const value = source.readUInt32LE(at + 4) * U32 + source.readUInt32LE(at);
  assert(Number.isSafeInteger(value), `not a safe integer: ${value}`);
  return value;
}

/** The seed of a block header's CRC: bytes that were copied, recycled or written elsewhere never verify. */
export function blockSeed(segmentId: Buffer, position: number): number {
  return crc32(positionBytes(position), crc32(segmentId));
}

/** A position as it goes into checksums; valid until the next call. */
export function positionBytes(position: number): Buffer {
  seedOffset.writeUInt32LE(position % U32, 0);
  seedOffset.writeUInt32LE(Math.floor(position / U32), 4);
  return seedOffset;
}
const seedOffset = Buffer.alloc(8);

const NAME = /^(\d{20})-(\d{4})\.lz4$/;
/** Behind the name that a segment is to get once it is whole. */
export const TEMPORARY_SEGMENT_SUFFIX = ".tmp";
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

/** The segment that a temporary file was to become; undefined for any other file. */
export function parseTemporaryName(name: string): SegmentName | undefined {
  if (!name.endsWith(TEMPORARY_SEGMENT_SUFFIX)) return undefined;
  return parseSegmentName(name.slice(0, -TEMPORARY_SEGMENT_SUFFIX.length));
}
