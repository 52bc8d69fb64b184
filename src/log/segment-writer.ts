import { assert } from "../core/assert.ts";
import { ZERO_WRITES_MAX } from "../core/limits.ts";
import {
  blockEndSequence,
  type BlockHeader,
  BlockKind,
  encodeBlockHeader,
  type SegmentSummary,
} from "./block-layout.ts";
import { SegmentIndex } from "./segment-index.ts";
import { encodeSegmentHeader, SEGMENT_HEADER_BYTES, type SegmentHeader } from "./segment-layout.ts";
import type { StorageFile } from "./storage.ts";

export interface WriteOutcome {
  readonly writtenBytes: number;
  /** Why the write stopped early; undefined when all of it was written. */
  readonly error: Error | undefined;
}

/** Writes all of `buffers`, going on after a short count, which the system gives without an error. */
export function writeFully(
  file: StorageFile,
  buffers: readonly Uint8Array[],
  position: number,
): WriteOutcome {
  let left = buffers;
  let leftBytes = 0;
  for (const buffer of buffers) leftBytes += buffer.length;
  let writtenBytes = 0;
  let zeroWrites = 0;
  while (leftBytes > 0) {
    let count: number;
    try {
      count = file.write(left, position + writtenBytes);
    } catch (error) {
      return { writtenBytes, error: error instanceof Error ? error : new Error(String(error)) };
    }
    zeroWrites = count === 0 ? zeroWrites + 1 : 0;
    if (zeroWrites === ZERO_WRITES_MAX) {
      return { writtenBytes, error: new Error(`${ZERO_WRITES_MAX} writes in a row wrote nothing`) };
    }
    assert(count <= leftBytes, "a write cannot exceed its buffers");
    writtenBytes += count;
    leftBytes -= count;
    if (leftBytes > 0) left = dropBytes(left, count);
  }
  return { writtenBytes, error: undefined };
}

function dropBytes(buffers: readonly Uint8Array[], count: number): Uint8Array[] {
  const rest: Uint8Array[] = [];
  let drop = count;
  for (const buffer of buffers) {
    if (drop < buffer.length) rest.push(drop === 0 ? buffer : buffer.subarray(drop));
    drop = Math.max(0, drop - buffer.length);
  }
  return rest;
}

/** A block as it is kept until it is durable: what is needed to write it again elsewhere. */
export interface StoredBlock {
  readonly header: BlockHeader;
  readonly frame: readonly Uint8Array[];
}

/** Where writing goes on in a segment that recovery has read. */
export interface ResumePoint {
  readonly position: number;
  readonly endSequence: number;
  readonly syncedPosition: number;
  readonly syncedSequence: number;
  readonly summary: SegmentSummary;
  readonly index: SegmentIndex;
}

/** The one segment of a stream that grows. Keeps its accounts; what to do about errors is the log's decision. */
export class SegmentWriter {
  readonly path: string;
  readonly header: SegmentHeader;
  readonly file: StorageFile;
  readonly index: SegmentIndex;
  position = SEGMENT_HEADER_BYTES;
  endSequence: number;
  /** Durable below. */
  syncedPosition = SEGMENT_HEADER_BYTES;
  syncedSequence: number;
  messageCount = 0;
  payloadBytes = 0;
  rawBytes = 0;
  firstIngestMs = 0;
  lastIngestMs = 0;
  /** The newest block is a watermark: it says all there is to say while nothing arrives. */
  watermarked = false;
  /** Nothing may be written behind `position`: the unit of the medium that it would touch holds synced bytes. */
  isEnded = false;

  constructor(file: StorageFile, header: SegmentHeader, resume?: ResumePoint) {
    this.path = file.path;
    this.file = file;
    this.header = header;
    this.index = resume?.index ?? new SegmentIndex();
    this.endSequence = resume?.endSequence ?? header.baseSequence;
    this.syncedSequence = header.baseSequence;
    if (resume === undefined) return;
    this.position = resume.position;
    this.syncedPosition = resume.syncedPosition;
    this.syncedSequence = resume.syncedSequence;
    this.messageCount = resume.summary.messageCount;
    this.payloadBytes = resume.summary.payloadBytes;
    this.rawBytes = resume.summary.rawBytes;
    this.firstIngestMs = resume.summary.firstIngestMs;
    this.lastIngestMs = resume.summary.lastIngestMs;
  }

  get summary(): SegmentSummary {
    const { messageCount, payloadBytes, rawBytes, firstIngestMs, lastIngestMs } = this;
    return { messageCount, payloadBytes, rawBytes, firstIngestMs, lastIngestMs };
  }

  /** The head of the file. Written last of all that a new segment needs: a file without it does not count. */
  writeHeader(): WriteOutcome {
    return writeFully(this.file, [encodeSegmentHeader(this.header)], 0);
  }

  /** Writes a block at the end. After an error the file may hold part of it behind `position`. */
  writeBlock(block: StoredBlock): WriteOutcome {
    assert(block.header.firstSequence === this.endSequence, "blocks follow each other");
    const { header } = block;
    const head = encodeBlockHeader(
      { ...header, syncedPosition: this.syncedPosition, epoch: this.header.epoch },
      this.header.segmentId,
      this.position,
    );
    const outcome = writeFully(this.file, [head, ...block.frame], this.position);
    if (outcome.error !== undefined) return outcome;
    this.index.add(header.firstSequence, this.position);
    this.position += outcome.writtenBytes;
    this.endSequence = blockEndSequence(header);
    this.messageCount += header.messageCount;
    this.payloadBytes += payloadBytesOf(header);
    this.rawBytes += header.rawBytes;
    if (this.firstIngestMs === 0) this.firstIngestMs = header.firstIngestMs;
    this.lastIngestMs = header.lastIngestMs;
    this.watermarked = false;
    return outcome;
  }

  /** A block without messages: a watermark, or the seal of a segment that is complete. */
  writeMark(kind: typeof BlockKind.Watermark | typeof BlockKind.Seal): WriteOutcome {
    const mark: BlockHeader = {
      kind,
      storedBytes: 0,
      rawBytes: 0,
      storedCrc: 0,
      rawCrc: 0,
      firstSequence: this.endSequence,
      messageCount: 0,
      firstIngestMs: this.lastIngestMs,
      lastIngestMs: this.lastIngestMs,
      epoch: this.header.epoch,
      syncedPosition: this.syncedPosition,
      clockEra: this.header.clockEra,
      runs: [],
      summary: kind === BlockKind.Seal ? this.summary : undefined,
    };
    return this.writeFiller(encodeBlockHeader(mark, this.header.segmentId, this.position));
  }

  /** Bytes that are no block of messages: a mark or padding. */
  writeFiller(bytes: Buffer): WriteOutcome {
    const outcome = writeFully(this.file, [bytes], this.position);
    if (outcome.error === undefined) this.position += bytes.length;
    return outcome;
  }

  /** Takes back what a failed write may have left behind the last whole block. */
  truncate(): void {
    this.file.truncate(this.position);
  }
}

export function payloadBytesOf(header: Pick<BlockHeader, "rawBytes" | "messageCount">): number {
  return header.rawBytes - 4 * header.messageCount;
}
