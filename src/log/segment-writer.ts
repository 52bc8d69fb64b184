import { assert } from "../core/assert.ts";
import { asError } from "../core/errors.ts";
import { ZERO_WRITES_MAX } from "../core/limits.ts";
import { AGE_UNKNOWN_MS, type AgePoint, earlierOf, UNKNOWN_AGE } from "./age-point.ts";
import {
  BLOCK_AGE_MS_MAX,
  blockEndPayloadOffset,
  blockEndSequence,
  type BlockHeader,
  BlockKind,
  encodeBlockHeader,
  namesProducers,
  payloadBytesOf,
  type SegmentSummary,
} from "./block-layout.ts";
import { SegmentIndex } from "./segment-index.ts";
import { encodeSegmentHeader, SEGMENT_HEADER_BYTES, type SegmentHeader } from "./segment-layout.ts";
import { accountedBytes } from "./segment-summary.ts";
import type { StorageFile } from "./storage.ts";
import type { TimeMark } from "./stream-clock.ts";

export interface WriteOutcome {
  readonly writtenBytes: number;
  /** Why the write stopped early; undefined when all of it was written. */
  readonly error: Error | undefined;
}

export function throwIfFailed(outcome: WriteOutcome): void {
  if (outcome.error !== undefined) throw outcome.error;
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
      return { writtenBytes, error: asError(error) };
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
  /** Its `ageDeltaMs`, like `syncedPosition` and `epoch`, is that of the segment it is written to. */
  readonly header: BlockHeader;
  readonly frame: readonly Uint8Array[];
  readonly age: AgePoint;
  readonly clockEra: number;
}

/** A segment that grows no more. */
export interface SegmentInfo {
  readonly path: string;
  readonly header: SegmentHeader;
  /** Exclusive. */
  readonly endSequence: number;
  /** Bytes from here on are ignored (R5). */
  readonly endBytes: number;
  /** Payload bytes of the stream before `endSequence`. */
  readonly endPayloadOffset: number;
  readonly summary: SegmentSummary;
}

/** Where writing goes on in a segment that recovery has read. */
export interface ResumePoint {
  readonly position: number;
  readonly endSequence: number;
  readonly endPayloadOffset: number;
  readonly syncedPosition: number;
  readonly syncedSequence: number;
  readonly syncedPayloadOffset: number;
  readonly summary: SegmentSummary;
  /** The stream's, as it was recovered. */
  readonly ageMs: number;
  readonly index: SegmentIndex;
}

export interface WriteCount {
  add(sizeBytes: number): void;
}

export interface SegmentWriterOptions {
  readonly resume?: ResumePoint | undefined;
  /** Told how much every write put into the file, also one that failed half-way. */
  readonly writes?: WriteCount | undefined;
}

/** How far a segment reaches at a moment. */
export interface SegmentEnd {
  readonly position: number;
  readonly endSequence: number;
  readonly endPayloadOffset: number;
}

/** The one segment of a stream that grows. Keeps its accounts; what to do about errors is the log's decision. */
export class SegmentWriter {
  readonly path: string;
  readonly header: SegmentHeader;
  readonly file: StorageFile;
  readonly index: SegmentIndex;
  position = SEGMENT_HEADER_BYTES;
  endSequence: number;
  endPayloadOffset: number;
  /** Durable below. 0 until the head is: what is written before it must not pass for evidence that it is there. */
  syncedPosition = 0;
  syncedSequence: number;
  syncedPayloadOffset: number;
  messageCount = 0;
  payloadBytes = 0;
  rawBytes = 0;
  blockCount = 0;
  firstIngestMs = 0;
  lastIngestMs = 0;
  namesProducers = false;
  lastAge: AgePoint = UNKNOWN_AGE;
  /** When both counts were written last, and whether the age had been proven by then. */
  markedAgeMs: number;
  isMarkProven = false;
  /** The newest block is a watermark: it says all there is to say while nothing arrives. */
  watermarked = false;
  /** Nothing may be written behind `position`: the unit of the medium that it would touch holds synced bytes. */
  isEnded = false;
  /** What comes next is of another clock era, or its age does not fit a block's header. */
  isOutOfTime = false;
  readonly #writes: WriteCount | undefined;

  constructor(file: StorageFile, header: SegmentHeader, { resume, writes }: SegmentWriterOptions = {}) {
    this.#writes = writes;
    this.path = file.path;
    this.file = file;
    this.header = header;
    this.index = resume?.index ?? new SegmentIndex();
    this.endSequence = resume?.endSequence ?? header.baseSequence;
    this.endPayloadOffset = resume?.endPayloadOffset ?? header.basePayloadOffset;
    this.markedAgeMs = resume?.ageMs ?? header.ageMs;
    this.syncedSequence = header.baseSequence;
    this.syncedPayloadOffset = header.basePayloadOffset;
    if (resume === undefined) return;
    this.position = resume.position;
    this.syncedPosition = resume.syncedPosition;
    this.syncedSequence = resume.syncedSequence;
    this.syncedPayloadOffset = resume.syncedPayloadOffset;
    this.messageCount = resume.summary.messageCount;
    this.payloadBytes = resume.summary.payloadBytes;
    this.rawBytes = resume.summary.rawBytes;
    this.blockCount = resume.summary.blockCount;
    this.firstIngestMs = resume.summary.firstIngestMs;
    this.lastIngestMs = resume.summary.lastIngestMs;
    this.lastAge = resume.summary.lastAge;
    this.namesProducers = resume.summary.namesProducers;
  }

  get summary(): SegmentSummary {
    const { messageCount, payloadBytes, rawBytes, blockCount } = this;
    const { firstIngestMs, lastIngestMs, namesProducers, lastAge } = this;
    const times = { firstIngestMs, lastIngestMs, lastAge };
    return { messageCount, payloadBytes, rawBytes, blockCount, namesProducers, ...times };
  }

  /** The segment as it is complete. */
  get info(): SegmentInfo {
    const { path, header, endSequence, position, endPayloadOffset, summary } = this;
    return { path, header, endSequence, endBytes: position, endPayloadOffset, summary };
  }

  /** The segment as it ends at its synced end; `lost` is what stands behind it. */
  syncedInfo(
    lost: Pick<SegmentSummary, "messageCount" | "payloadBytes" | "rawBytes" | "blockCount">,
  ): SegmentInfo {
    return {
      ...this.info,
      endSequence: this.syncedSequence,
      endBytes: this.syncedPosition,
      endPayloadOffset: this.syncedPayloadOffset,
      summary: {
        ...this.summary,
        messageCount: this.messageCount - lost.messageCount,
        payloadBytes: this.payloadBytes - lost.payloadBytes,
        rawBytes: this.rawBytes - lost.rawBytes,
        blockCount: this.blockCount - lost.blockCount,
      },
    };
  }

  isOver(sizeBytes: number): boolean {
    return accountedBytes(this) >= sizeBytes || this.position >= sizeBytes;
  }

  /** It takes twice its payload, and much more than it, as single messages do that are synced one by one. */
  isWasteful(wasteBytesMax: number): boolean {
    const wasteBytes = this.position - this.payloadBytes;
    return wasteBytes >= wasteBytesMax && wasteBytes >= this.payloadBytes;
  }

  get takesMessages(): boolean {
    return !this.isEnded && !this.isOutOfTime;
  }

  /** A sync that covered everything up to `end` came back. */
  noteSynced(end: SegmentEnd): void {
    this.syncedPosition = Math.max(this.syncedPosition, end.position);
    this.syncedSequence = Math.max(this.syncedSequence, end.endSequence);
    this.syncedPayloadOffset = Math.max(this.syncedPayloadOffset, end.endPayloadOffset);
  }

  /** The head of the file. Written last of all that a new segment needs: a file without it does not count. */
  writeHeader(): WriteOutcome {
    return this.#write([encodeSegmentHeader(this.header)], 0);
  }

  #write(buffers: readonly Uint8Array[], position: number): WriteOutcome {
    const outcome = writeFully(this.file, buffers, position);
    this.#writes?.add(outcome.writtenBytes);
    return outcome;
  }

  /** Writes a block at the end. After an error the file may hold part of it behind `position`. */
  writeBlock(block: StoredBlock): WriteOutcome {
    assert(block.header.firstSequence === this.endSequence, "blocks follow each other");
    const { header } = block;
    const { syncedPosition } = this;
    const { epoch, segmentId } = this.header;
    const ageDeltaMs = this.#ageDeltaMs(block.age.ageMs);
    const written = { ...header, syncedPosition, epoch, ageDeltaMs };
    const head = encodeBlockHeader(written, segmentId, this.position);
    const outcome = this.#write([head, ...block.frame], this.position);
    if (outcome.error !== undefined) return outcome;
    this.index.add(header.firstSequence, this.position);
    this.position += outcome.writtenBytes;
    this.endSequence = blockEndSequence(header);
    this.endPayloadOffset = blockEndPayloadOffset(header);
    this.messageCount += header.messageCount;
    this.payloadBytes += payloadBytesOf(header);
    this.rawBytes += header.rawBytes;
    this.blockCount += 1;
    if (this.firstIngestMs === 0) this.firstIngestMs = header.firstIngestMs;
    this.lastIngestMs = header.lastIngestMs;
    this.namesProducers ||= namesProducers(header);
    this.lastAge = header.isAgeProven ? block.age : { ...block.age, ageMs: AGE_UNKNOWN_MS };
    this.watermarked = false;
    return outcome;
  }

  /** A segment rolls before its field is too small; a mark that comes later still makes messages younger, not older. */
  #ageDeltaMs(ageMs: number): number {
    assert(ageMs >= this.header.ageMs, "the stream's age does not go back");
    return Math.min(BLOCK_AGE_MS_MAX, ageMs - this.header.ageMs);
  }

  /** A block without messages: a watermark, or the seal of a segment that is complete. */
  writeMark(kind: typeof BlockKind.Watermark | typeof BlockKind.Seal, time: TimeMark): WriteOutcome {
    const isOfThisEra = time.clockEra === this.header.clockEra;
    const isAgeProven = time.isAgeProven && isOfThisEra;
    const ingestMs = isOfThisEra ? Math.max(time.stampMs, this.lastIngestMs) : this.lastIngestMs;
    const mark: BlockHeader = {
      kind,
      storedBytes: 0,
      rawBytes: 0,
      storedCrc: 0,
      rawCrc: 0,
      firstSequence: this.endSequence,
      payloadOffset: this.endPayloadOffset,
      messageCount: 0,
      firstIngestMs: ingestMs,
      lastIngestMs: ingestMs,
      epoch: this.header.epoch,
      syncedPosition: this.syncedPosition,
      ageDeltaMs: this.#ageDeltaMs(time.ageMs),
      isAgeProven,
      isStampProven: time.isStampProven && isOfThisEra,
      runMs: time.runMs,
      runs: [],
      summary: kind === BlockKind.Seal ? this.summary : undefined,
    };
    const outcome = this.writeFiller(encodeBlockHeader(mark, this.header.segmentId, this.position));
    if (outcome.error !== undefined) return outcome;
    this.markedAgeMs = time.ageMs;
    this.isMarkProven = isAgeProven;
    if (isAgeProven) this.capAge(time);
    return outcome;
  }

  /** Its messages came before this. */
  capAge(point: AgePoint): void {
    if (this.messageCount > 0) this.lastAge = earlierOf(this.lastAge, point);
  }

  /** Bytes that are no block of messages: a mark or padding. */
  writeFiller(bytes: Buffer): WriteOutcome {
    const outcome = this.#write([bytes], this.position);
    if (outcome.error === undefined) this.position += bytes.length;
    return outcome;
  }

  /** Takes back what a failed write may have left behind the last whole block. */
  truncate(): void {
    this.file.truncate(this.position);
  }
}
