import { crc32 } from "node:zlib";

import { assert } from "../core/assert.ts";
import { BLOCK_RAW_BYTES_MAX, BLOCK_RUNS_MAX, LZ4_RATIO_MAX } from "../core/limits.ts";
import { MESSAGE_LENGTH_BYTES } from "../core/message-framing.ts";
import type { AgePoint } from "./age-point.ts";
import type { BatchRun } from "./block-builder.ts";
import { rewindCrc } from "./crc-rewind.ts";
import { LZ4_FRAME_OVERHEAD_BYTES } from "./lz4-frame.ts";
import {
  INGEST_SPAN_MS_MAX,
  PACKED_RUN_BYTES_MAX,
  packedRunsBytes,
  readPackedRuns,
  writePackedRuns,
} from "./packed-runs.ts";
import { blockSeed, isSafeU64, readSafeU64, writeSafeU64 } from "./segment-layout.ts";

/**
 * What stands between the blocks of a segment, little-endian. A block header is a skippable LZ4 frame; a data block's LZ4
 * frame follows it at once.
 *
 *    0 u32 0x184D2A5B                     4 u32 content length (header bytes - 8)
 *    8 u32 magic "MRBK"                  12 u32 CRC of the header without this field, seeded with segment id and position
 *   16 u32 stored bytes (the LZ4 frame)  20 u32 raw bytes
 *   24 u32 CRC of the stored bytes       28 u32 CRC of the raw bytes; both: u64 run time, of a watermark or seal
 *   32 u64 first sequence                40 u32 message count
 *   44 u8 kind   45 u8 flags             46 u16 run count
 *   48 u64 first ingest, Unix ms         56 u32 last ingest, ms after the first
 *   60 u32 epoch                         64 u64 synced position: bytes below it were durable when this was written
 *   72 u32 age, ms after the segment's   76 u64 payload offset of the first sequence (segment-layout.ts)
 *   84 runs of a data block (packed-runs.ts); or the summary of a seal, 64 bytes
 *
 *   summary: 0 u64 message count     8 u64 payload bytes    16 u64 raw bytes
 *           24 u64 first ingest ms  32 u64 last ingest ms   40 u64 block count
 *           48 u64 age and 56 u64 run time at the newest message; AGE_UNKNOWN_MS: not known
 *
 * A watermark holds no messages and tells how far an idle segment was durable, and what time it is; a seal ends a segment that
 * is complete. Both give the sequence number that comes next as their first sequence.
 *
 * Age and run time are counts of milliseconds since the stream began (stream-clock.ts). The clock era stands in the segment's
 * header, since a segment lies in one era.
 * Flags: bit 0: of a seal: a run of its segment names a producer; bit 1: time may be missing from the age; bit 2: the ingest
 * time is of a clock that has not proven itself.
 */
export const BlockKind = { Data: 1, Watermark: 2, Seal: 3 } as const;
export type BlockKind = (typeof BlockKind)[keyof typeof BlockKind];

const SKIPPABLE_MAGIC = 0x184d2a5b;
const PADDING_MAGIC = 0x184d2a5c;
const BLOCK_MAGIC = 0x4b42524d;
const FRAME_MAGIC_BYTES = Buffer.from([0x5b, 0x2a, 0x4d, 0x18]);
/** The block magic as it stands in a file, to search for. */
export const BLOCK_MAGIC_BYTES = Buffer.from("MRBK", "latin1");

const offsets = {
  frameMagic: 0,
  frameLength: 4,
  magic: 8,
  crc: 12,
  storedBytes: 16,
  rawBytes: 20,
  storedCrc: 24,
  rawCrc: 28,
  runTime: 24,
  firstSequence: 32,
  messageCount: 40,
  kind: 44,
  flags: 45,
  runCount: 46,
  firstIngest: 48,
  lastIngest: 56,
  epoch: 60,
  syncedPosition: 64,
  age: 72,
  payloadOffset: 76,
  runs: 84,
} as const;

const u64Offsets = [
  offsets.firstSequence,
  offsets.firstIngest,
  offsets.syncedPosition,
  offsets.payloadOffset,
];

export const BLOCK_MAGIC_OFFSET = offsets.magic;
export const BLOCK_FIXED_BYTES = offsets.runs;
const FLAG_NAMES_PRODUCERS = 1;
const FLAG_AGE_UNPROVEN = 2;
const FLAG_STAMP_UNPROVEN = 4;
const FLAGS_KNOWN = FLAG_NAMES_PRODUCERS | FLAG_AGE_UNPROVEN | FLAG_STAMP_UNPROVEN;
/** A segment may live so long; then it rolls. */
export const BLOCK_AGE_MS_MAX = 2 ** 32 - 1;
const SUMMARY_BYTES = 64;
export const SEAL_BYTES = BLOCK_FIXED_BYTES + SUMMARY_BYTES;
const BLOCK_HEADER_BYTES_MAX = BLOCK_FIXED_BYTES + BLOCK_RUNS_MAX * PACKED_RUN_BYTES_MAX;
const FRAME_HEAD_BYTES = 8;

assert(BLOCK_RUNS_MAX < 2 ** 16, "the run count fits its field");

export interface BlockHeader {
  readonly kind: BlockKind;
  readonly storedBytes: number;
  readonly rawBytes: number;
  readonly storedCrc: number;
  readonly rawCrc: number;
  readonly firstSequence: number;
  readonly payloadOffset: number;
  readonly messageCount: number;
  readonly firstIngestMs: number;
  readonly lastIngestMs: number;
  readonly epoch: number;
  readonly syncedPosition: number;
  /** When its newest message came, or the mark was written, after the age that the segment's header states. */
  readonly ageDeltaMs: number;
  readonly isAgeProven: boolean;
  readonly isStampProven: boolean;
  /** Of a watermark or seal; 0 for data. */
  readonly runMs: number;
  readonly runs: readonly BatchRun[];
  /** Of a seal only. */
  readonly summary: SegmentSummary | undefined;
}

/** What opening a store needs of a segment that is complete. */
export interface SegmentSummary {
  readonly messageCount: number;
  readonly payloadBytes: number;
  readonly rawBytes: number;
  readonly firstIngestMs: number;
  readonly lastIngestMs: number;
  /** Of blocks with messages. */
  readonly blockCount: number;
  /** Whether a run names its producer: only then must a start that rebuilds what is known of them read the block headers. */
  readonly namesProducers: boolean;
  /** Of the newest message. */
  readonly lastAge: AgePoint;
}

export interface DecodedBlockHeader extends BlockHeader {
  readonly headerBytes: number;
}

/** Of the messages of a block together. */
export function payloadBytesOf(block: Pick<BlockHeader, "rawBytes" | "messageCount">): number {
  return block.rawBytes - MESSAGE_LENGTH_BYTES * block.messageCount;
}

/** The payload offset of the sequence number behind a block. */
export function blockEndPayloadOffset(
  block: Pick<BlockHeader, "payloadOffset" | "rawBytes" | "messageCount">,
): number {
  return block.payloadOffset + payloadBytesOf(block);
}

export function namesProducers({ runs }: Pick<BlockHeader, "runs">): boolean {
  return runs.some(({ producer }) => producer !== undefined);
}

/** The last sequence number of a block, plus one. */
export function blockEndSequence(block: Pick<BlockHeader, "firstSequence" | "messageCount">): number {
  return block.firstSequence + block.messageCount;
}

function blockHeaderBytes(block: Pick<BlockHeader, "runs" | "summary" | "firstIngestMs">): number {
  const summaryBytes = block.summary === undefined ? 0 : SUMMARY_BYTES;
  return BLOCK_FIXED_BYTES + summaryBytes + packedRunsBytes(block.runs, block.firstIngestMs);
}

/** Encodes a header for `position` in the segment `segmentId`; it verifies nowhere else. */
export function encodeBlockHeader(block: BlockHeader, segmentId: Buffer, position: number): Buffer {
  const sizeBytes = blockHeaderBytes(block);
  const target = Buffer.allocUnsafe(sizeBytes);
  target.writeUInt32LE(SKIPPABLE_MAGIC, offsets.frameMagic);
  target.writeUInt32LE(sizeBytes - FRAME_HEAD_BYTES, offsets.frameLength);
  target.writeUInt32LE(BLOCK_MAGIC, offsets.magic);
  target.writeUInt32LE(block.storedBytes, offsets.storedBytes);
  target.writeUInt32LE(block.rawBytes, offsets.rawBytes);
  if (block.kind === BlockKind.Data) {
    target.writeUInt32LE(block.storedCrc, offsets.storedCrc);
    target.writeUInt32LE(block.rawCrc, offsets.rawCrc);
  } else {
    writeSafeU64(target, block.runMs, offsets.runTime);
  }
  writeSafeU64(target, block.firstSequence, offsets.firstSequence);
  target.writeUInt32LE(block.messageCount, offsets.messageCount);
  target.writeUInt8(block.kind, offsets.kind);
  target.writeUInt8(flagsOf(block), offsets.flags);
  target.writeUInt16LE(block.runs.length, offsets.runCount);
  writeSafeU64(target, block.firstIngestMs, offsets.firstIngest);
  target.writeUInt32LE(ingestDelta(block, block.lastIngestMs), offsets.lastIngest);
  target.writeUInt32LE(block.epoch, offsets.epoch);
  writeSafeU64(target, block.syncedPosition, offsets.syncedPosition);
  target.writeUInt32LE(block.ageDeltaMs, offsets.age);
  writeSafeU64(target, block.payloadOffset, offsets.payloadOffset);
  let at = writePackedRuns(target, offsets.runs, block.runs, block.firstIngestMs);
  if (block.summary !== undefined) at = writeSummary(target, at, block.summary);
  assert(at === sizeBytes, "the header has the size that was computed");
  target.writeUInt32LE(headerCrc(target, segmentId, position), offsets.crc);
  return target;
}

function flagsOf(block: BlockHeader): number {
  const namesProducers = block.summary?.namesProducers === true;
  return (
    (namesProducers ? FLAG_NAMES_PRODUCERS : 0) |
    (block.isAgeProven ? 0 : FLAG_AGE_UNPROVEN) |
    (block.isStampProven ? 0 : FLAG_STAMP_UNPROVEN)
  );
}

function ingestDelta(block: BlockHeader, ingestMs: number): number {
  return Math.min(INGEST_SPAN_MS_MAX, Math.max(0, ingestMs - block.firstIngestMs));
}

function writeSummary(target: Buffer, at: number, summary: SegmentSummary): number {
  writeSafeU64(target, summary.messageCount, at);
  writeSafeU64(target, summary.payloadBytes, at + 8);
  writeSafeU64(target, summary.rawBytes, at + 16);
  writeSafeU64(target, summary.firstIngestMs, at + 24);
  writeSafeU64(target, summary.lastIngestMs, at + 32);
  writeSafeU64(target, summary.blockCount, at + 40);
  writeSafeU64(target, summary.lastAge.ageMs, at + 48);
  writeSafeU64(target, summary.lastAge.runMs, at + 56);
  return at + SUMMARY_BYTES;
}

/** How long the header at the start of `bytes` says it is, before anything has been checked; undefined if it is no header. */
export function announcedHeaderBytes(bytes: Buffer): number | undefined {
  if (bytes.length < BLOCK_FIXED_BYTES) return undefined;
  if (bytes.readUInt32LE(offsets.frameMagic) !== SKIPPABLE_MAGIC) return undefined;
  if (bytes.readUInt32LE(offsets.magic) !== BLOCK_MAGIC) return undefined;
  const sizeBytes = bytes.readUInt32LE(offsets.frameLength) + FRAME_HEAD_BYTES;
  return sizeBytes >= BLOCK_FIXED_BYTES && sizeBytes <= BLOCK_HEADER_BYTES_MAX ? sizeBytes : undefined;
}

/** How long the block at the start of `bytes` says it is, with its header; undefined if none begins there. Nothing is checked. */
export function announcedBlockBytes(bytes: Buffer): number | undefined {
  const headerBytes = announcedHeaderBytes(bytes);
  if (headerBytes !== undefined) return headerBytes + bytes.readUInt32LE(offsets.storedBytes);
  // Too short to say more than that it is the beginning of one.
  if (bytes.length >= BLOCK_FIXED_BYTES) return undefined;
  const magic = FRAME_MAGIC_BYTES.subarray(0, bytes.length);
  return bytes.subarray(0, magic.length).equals(magic) ? BLOCK_FIXED_BYTES : undefined;
}

/**
 * Decodes a header that fills `bytes` exactly.
 * @returns undefined unless every bit of it was written for this segment and position, by this version
 */
export function decodeBlockHeader(
  bytes: Buffer,
  segmentId: Buffer,
  position: number,
): DecodedBlockHeader | undefined {
  if (announcedHeaderBytes(bytes) !== bytes.length) return undefined;
  if (bytes.readUInt32LE(offsets.crc) !== headerCrc(bytes, segmentId, position)) return undefined;
  const kind = bytes.readUInt8(offsets.kind);
  if (kind !== BlockKind.Data && kind !== BlockKind.Watermark && kind !== BlockKind.Seal) return undefined;
  const flags = bytes.readUInt8(offsets.flags);
  if ((flags & ~FLAGS_KNOWN) !== 0) return undefined;
  if (!u64Offsets.every((at) => isSafeU64(bytes, at))) return undefined;
  const firstIngestMs = readSafeU64(bytes, offsets.firstIngest);
  const runCount = bytes.readUInt16LE(offsets.runCount);
  const isData = kind === BlockKind.Data;
  if (!isData && !isSafeU64(bytes, offsets.runTime)) return undefined;
  const hasRuns = isData || runCount > 0;
  const runs = hasRuns ? readPackedRuns(bytes, offsets.runs, { runCount, firstIngestMs }) : [];
  if (runs === undefined) return undefined;
  const block: DecodedBlockHeader = {
    kind,
    storedBytes: bytes.readUInt32LE(offsets.storedBytes),
    rawBytes: bytes.readUInt32LE(offsets.rawBytes),
    storedCrc: isData ? bytes.readUInt32LE(offsets.storedCrc) : 0,
    rawCrc: isData ? bytes.readUInt32LE(offsets.rawCrc) : 0,
    firstSequence: readSafeU64(bytes, offsets.firstSequence),
    messageCount: bytes.readUInt32LE(offsets.messageCount),
    firstIngestMs,
    lastIngestMs: firstIngestMs + bytes.readUInt32LE(offsets.lastIngest),
    epoch: bytes.readUInt32LE(offsets.epoch),
    syncedPosition: readSafeU64(bytes, offsets.syncedPosition),
    ageDeltaMs: bytes.readUInt32LE(offsets.age),
    isAgeProven: (flags & FLAG_AGE_UNPROVEN) === 0,
    isStampProven: (flags & FLAG_STAMP_UNPROVEN) === 0,
    runMs: isData ? 0 : readSafeU64(bytes, offsets.runTime),
    payloadOffset: readSafeU64(bytes, offsets.payloadOffset),
    runs,
    summary: kind === BlockKind.Seal ? readSummary(bytes) : undefined,
    headerBytes: bytes.length,
  };
  return addsUp(block) ? block : undefined;
}

/** Guards against what a checksum cannot: a header that our own code, or someone who can compute a CRC, wrote wrongly. */
function addsUp(block: DecodedBlockHeader): boolean {
  if (blockHeaderBytes(block) !== block.headerBytes) return false;
  if (block.kind !== BlockKind.Data)
    return (
      block.storedBytes === 0 && block.rawBytes === 0 && block.messageCount === 0 && block.runs.length === 0
    );
  let messageCount = 0;
  for (const run of block.runs) messageCount += run.messageCount;
  if (messageCount !== block.messageCount || messageCount === 0) return false;
  if (block.rawBytes > BLOCK_RAW_BYTES_MAX || block.rawBytes < messageCount * MESSAGE_LENGTH_BYTES)
    return false;
  if (block.storedBytes < LZ4_FRAME_OVERHEAD_BYTES || block.storedBytes > block.rawBytes + 2 ** 16)
    return false;
  return block.rawBytes <= block.storedBytes * LZ4_RATIO_MAX;
}

function readSummary(bytes: Buffer): SegmentSummary | undefined {
  if (bytes.length !== SEAL_BYTES) return undefined;
  const at = BLOCK_FIXED_BYTES;
  for (let place = at; place < SEAL_BYTES; place += 8) if (!isSafeU64(bytes, place)) return undefined;
  return {
    messageCount: readSafeU64(bytes, at),
    payloadBytes: readSafeU64(bytes, at + 8),
    rawBytes: readSafeU64(bytes, at + 16),
    firstIngestMs: readSafeU64(bytes, at + 24),
    lastIngestMs: readSafeU64(bytes, at + 32),
    blockCount: readSafeU64(bytes, at + 40),
    namesProducers: (bytes.readUInt8(offsets.flags) & FLAG_NAMES_PRODUCERS) !== 0,
    lastAge: { ageMs: readSafeU64(bytes, at + 48), runMs: readSafeU64(bytes, at + 56) },
  };
}

function headerCrc(header: Buffer, segmentId: Buffer, position: number): number {
  const head = crc32(header.subarray(0, offsets.crc), blockSeed(segmentId, position));
  return crc32(header.subarray(offsets.storedBytes), head);
}

/** The seed with which the checksum of a header, as it stands in its file, is right. */
export function blockSeedOf(header: Buffer): number {
  const head = rewindCrc(header.readUInt32LE(offsets.crc), header.subarray(offsets.storedBytes));
  return rewindCrc(head, header.subarray(0, offsets.crc));
}

/** A skippable frame from `position` to the next multiple of `alignBytes`; undefined if `position` is one. Zeros inside. */
export function encodePadding(position: number, alignBytes: number): Buffer | undefined {
  if (alignBytes === 0 || position % alignBytes === 0) return undefined;
  let end = Math.ceil(position / alignBytes) * alignBytes;
  if (end - position < FRAME_HEAD_BYTES) end += alignBytes;
  const padding = Buffer.alloc(end - position);
  padding.writeUInt32LE(PADDING_MAGIC, 0);
  padding.writeUInt32LE(padding.length - FRAME_HEAD_BYTES, 4);
  return padding;
}

/** Alignments are powers of two from 512 on, so any padding ends on a multiple of this. */
const PADDING_ALIGN_BYTES_MIN = 512;
const PADDING_BYTES_MAX = 2 ** 17;

/**
 * The size of the padding that starts at `position` with `head` (8 bytes or more); undefined if it is none. A damaged length
 * that still passes only sends the reader to a place where no header verifies.
 */
export function paddingBytes(head: Buffer, position: number): number | undefined {
  if (head.length < FRAME_HEAD_BYTES || head.readUInt32LE(0) !== PADDING_MAGIC) return undefined;
  const sizeBytes = head.readUInt32LE(4) + FRAME_HEAD_BYTES;
  const ends = (position + sizeBytes) % PADDING_ALIGN_BYTES_MIN === 0 && sizeBytes <= PADDING_BYTES_MAX;
  return ends ? sizeBytes : undefined;
}
