import { crc32 } from "node:zlib";

import { assert } from "../core/assert.ts";
import { BLOCK_RAW_BYTES_MAX, BLOCK_RUNS_MAX, LZ4_RATIO_MAX } from "../core/limits.ts";
import type { BatchRun } from "./block-builder.ts";
import { LZ4_FRAME_OVERHEAD_BYTES } from "./lz4-frame.ts";
import { blockSeed, readSafeU64, writeSafeU64 } from "./segment-layout.ts";

/**
 * What stands between the blocks of a segment, little-endian. A block header is a skippable LZ4 frame; a data block's LZ4
 * frame follows it at once.
 *
 *    0 u32 0x184D2A5B                     4 u32 content length (header bytes - 8)
 *    8 u32 magic "MRBK"                  12 u32 CRC of the header without this field, seeded with segment id and position
 *   16 u32 stored bytes (the LZ4 frame)  20 u32 raw bytes
 *   24 u32 CRC of the stored bytes       28 u32 CRC of the raw bytes
 *   32 u64 first sequence                40 u32 message count
 *   44 u8 kind   45 u8 flags, 0          46 u16 run count
 *   48 u64 first ingest, Unix ms         56 u32 last ingest, ms after the first
 *   60 u32 epoch                         64 u64 synced position: bytes below it were durable when this was written
 *   72 u32 clock era
 *   76 runs of a data block, each 8 or 24 bytes; or the summary of a seal, 40 bytes
 *
 *   run:     0 u32 message count; bit 31: a producer follows    4 u32 ingest, ms after the first
 *            8 u64 producer id   16 u64 producer sequence
 *   summary: 0 u64 message count   8 u64 payload bytes   16 u64 raw bytes   24 u64 first ingest ms   32 u64 last ingest ms
 *
 * A watermark holds no messages and tells how far an idle segment was durable; a seal ends a segment that is complete. Both
 * give the sequence number that comes next as their first sequence.
 */
export const BlockKind = { Data: 1, Watermark: 2, Seal: 3 } as const;
export type BlockKind = (typeof BlockKind)[keyof typeof BlockKind];

const SKIPPABLE_MAGIC = 0x184d2a5b;
const PADDING_MAGIC = 0x184d2a5c;
const BLOCK_MAGIC = 0x4b42524d;
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
  firstSequence: 32,
  messageCount: 40,
  kind: 44,
  flags: 45,
  runCount: 46,
  firstIngest: 48,
  lastIngest: 56,
  epoch: 60,
  syncedPosition: 64,
  clockEra: 72,
  runs: 76,
} as const;

export const BLOCK_MAGIC_OFFSET = offsets.magic;
export const BLOCK_FIXED_BYTES = offsets.runs;
const RUN_BYTES = 8;
const PRODUCER_BYTES = 16;
const RUN_HAS_PRODUCER = 0x80000000;
const SUMMARY_BYTES = 40;
export const SEAL_BYTES = BLOCK_FIXED_BYTES + SUMMARY_BYTES;
export const BLOCK_HEADER_BYTES_MAX = BLOCK_FIXED_BYTES + BLOCK_RUNS_MAX * (RUN_BYTES + PRODUCER_BYTES);
const FRAME_HEAD_BYTES = 8;
/** Ingest times within a block lie this close together. */
const INGEST_SPAN_MS_MAX = 2 ** 32 - 1;

assert(BLOCK_RUNS_MAX < 2 ** 16, "the run count fits its field");

export interface BlockHeader {
  readonly kind: BlockKind;
  readonly storedBytes: number;
  readonly rawBytes: number;
  readonly storedCrc: number;
  readonly rawCrc: number;
  readonly firstSequence: number;
  readonly messageCount: number;
  readonly firstIngestMs: number;
  readonly lastIngestMs: number;
  readonly epoch: number;
  readonly syncedPosition: number;
  readonly clockEra: number;
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
}

export interface DecodedBlockHeader extends BlockHeader {
  readonly headerBytes: number;
}

/** The last sequence number of a block, plus one. */
export function blockEndSequence(block: Pick<BlockHeader, "firstSequence" | "messageCount">): number {
  return block.firstSequence + block.messageCount;
}

export function blockHeaderBytes(block: Pick<BlockHeader, "runs" | "summary">): number {
  let sizeBytes = BLOCK_FIXED_BYTES + (block.summary === undefined ? 0 : SUMMARY_BYTES);
  for (const run of block.runs)
    sizeBytes += run.producer === undefined ? RUN_BYTES : RUN_BYTES + PRODUCER_BYTES;
  return sizeBytes;
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
  target.writeUInt32LE(block.storedCrc, offsets.storedCrc);
  target.writeUInt32LE(block.rawCrc, offsets.rawCrc);
  writeSafeU64(target, block.firstSequence, offsets.firstSequence);
  target.writeUInt32LE(block.messageCount, offsets.messageCount);
  target.writeUInt8(block.kind, offsets.kind);
  target.writeUInt8(0, offsets.flags);
  target.writeUInt16LE(block.runs.length, offsets.runCount);
  writeSafeU64(target, block.firstIngestMs, offsets.firstIngest);
  target.writeUInt32LE(ingestDelta(block, block.lastIngestMs), offsets.lastIngest);
  target.writeUInt32LE(block.epoch, offsets.epoch);
  writeSafeU64(target, block.syncedPosition, offsets.syncedPosition);
  target.writeUInt32LE(block.clockEra, offsets.clockEra);
  let at: number = offsets.runs;
  for (const run of block.runs) at = writeRun(target, at, block, run);
  if (block.summary !== undefined) at = writeSummary(target, at, block.summary);
  assert(at === sizeBytes, "the header has the size that was computed");
  target.writeUInt32LE(headerCrc(target, segmentId, position), offsets.crc);
  return target;
}

function ingestDelta(block: BlockHeader, ingestMs: number): number {
  return Math.min(INGEST_SPAN_MS_MAX, Math.max(0, ingestMs - block.firstIngestMs));
}

function writeRun(target: Buffer, at: number, block: BlockHeader, run: BatchRun): number {
  const count = run.producer === undefined ? run.messageCount : (run.messageCount | RUN_HAS_PRODUCER) >>> 0;
  target.writeUInt32LE(count, at);
  target.writeUInt32LE(ingestDelta(block, run.ingestMs), at + 4);
  if (run.producer === undefined) return at + RUN_BYTES;
  writeSafeU64(target, run.producer.id, at + 8);
  writeSafeU64(target, run.producer.sequence, at + 16);
  return at + RUN_BYTES + PRODUCER_BYTES;
}

function writeSummary(target: Buffer, at: number, summary: SegmentSummary): number {
  writeSafeU64(target, summary.messageCount, at);
  writeSafeU64(target, summary.payloadBytes, at + 8);
  writeSafeU64(target, summary.rawBytes, at + 16);
  writeSafeU64(target, summary.firstIngestMs, at + 24);
  writeSafeU64(target, summary.lastIngestMs, at + 32);
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
  const firstIngestMs = readSafeU64(bytes, offsets.firstIngest);
  const runs = readRuns(bytes, firstIngestMs);
  if (runs === undefined) return undefined;
  const block: DecodedBlockHeader = {
    kind,
    storedBytes: bytes.readUInt32LE(offsets.storedBytes),
    rawBytes: bytes.readUInt32LE(offsets.rawBytes),
    storedCrc: bytes.readUInt32LE(offsets.storedCrc),
    rawCrc: bytes.readUInt32LE(offsets.rawCrc),
    firstSequence: readSafeU64(bytes, offsets.firstSequence),
    messageCount: bytes.readUInt32LE(offsets.messageCount),
    firstIngestMs,
    lastIngestMs: firstIngestMs + bytes.readUInt32LE(offsets.lastIngest),
    epoch: bytes.readUInt32LE(offsets.epoch),
    syncedPosition: readSafeU64(bytes, offsets.syncedPosition),
    clockEra: bytes.readUInt32LE(offsets.clockEra),
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
    return block.storedBytes === 0 && block.rawBytes === 0 && block.messageCount === 0;
  let messageCount = 0;
  for (const run of block.runs) messageCount += run.messageCount;
  if (messageCount !== block.messageCount || messageCount === 0) return false;
  if (block.rawBytes > BLOCK_RAW_BYTES_MAX || block.rawBytes < messageCount * 4) return false;
  if (block.storedBytes < LZ4_FRAME_OVERHEAD_BYTES || block.storedBytes > block.rawBytes + 2 ** 16)
    return false;
  return block.rawBytes <= block.storedBytes * LZ4_RATIO_MAX;
}

function readRuns(bytes: Buffer, firstIngestMs: number): BatchRun[] | undefined {
  const runs: BatchRun[] = [];
  let at: number = offsets.runs;
  for (let left = bytes.readUInt16LE(offsets.runCount); left > 0; left--) {
    if (at + RUN_BYTES > bytes.length) return undefined;
    const count = bytes.readUInt32LE(at);
    const ingestMs = firstIngestMs + bytes.readUInt32LE(at + 4);
    if (count >>> 31 === 0) {
      runs.push({ messageCount: count, ingestMs });
      at += RUN_BYTES;
      continue;
    }
    if (at + RUN_BYTES + PRODUCER_BYTES > bytes.length) return undefined;
    const producer = { id: readSafeU64(bytes, at + 8), sequence: readSafeU64(bytes, at + 16) };
    runs.push({ messageCount: count & ~RUN_HAS_PRODUCER, ingestMs, producer });
    at += RUN_BYTES + PRODUCER_BYTES;
  }
  return runs;
}

function readSummary(bytes: Buffer): SegmentSummary | undefined {
  if (bytes.length !== SEAL_BYTES) return undefined;
  const at = BLOCK_FIXED_BYTES;
  return {
    messageCount: readSafeU64(bytes, at),
    payloadBytes: readSafeU64(bytes, at + 8),
    rawBytes: readSafeU64(bytes, at + 16),
    firstIngestMs: readSafeU64(bytes, at + 24),
    lastIngestMs: readSafeU64(bytes, at + 32),
  };
}

function headerCrc(header: Buffer, segmentId: Buffer, position: number): number {
  const head = crc32(header.subarray(0, offsets.crc), blockSeed(segmentId, position));
  return crc32(header.subarray(offsets.storedBytes), head);
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
export const PADDING_ALIGN_BYTES_MIN = 512;
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
