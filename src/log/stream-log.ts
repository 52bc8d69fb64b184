import { crc32 } from "node:zlib";
import path from "node:path";

import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { MillraceError, systemCode } from "../core/errors.ts";
import {
  COMPRESSION_PROBE_BLOCKS,
  INCOMPRESSIBLE_BLOCKS_MAX,
  SEGMENT_FAILURES_MAX,
  SEGMENT_FAILURES_WINDOW_MS,
  SEGMENT_OVERSHOOT_MAX,
  STORAGE_PROBE_MS_MAX,
  STORAGE_PROBE_MS_MIN,
  SYNC_INTERVAL_MS_DEFAULT,
  WATERMARK_IDLE_MS,
} from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import { StrategyOnFull } from "../core/stream-definition.ts";
import type { BatchRun, BlockBuilder } from "./block-builder.ts";
import { type BlockHeader, BlockKind, encodePadding } from "./block-layout.ts";
import type { DecodedBlock, LogSlice, ReadBudget } from "./decoded-block.ts";
import {
  type RecoveredChain,
  type RecoveredTail,
  recoverChain,
  type RecoveryReport,
  type SegmentInfo,
  type SequenceRange,
} from "./log-recovery.ts";
import { encodeFrame } from "./lz4-frame.ts";
import { accountedBytes, SegmentChain } from "./segment-chain.ts";
import { formatSegmentName, GENERATION_MAX, ID_BYTES, type SegmentHeader } from "./segment-layout.ts";
import { SegmentReader } from "./segment-reader.ts";
import { SegmentWriter, type StoredBlock, type WriteOutcome } from "./segment-writer.ts";
import type { Storage } from "./storage.ts";
import { UnsyncedWindow } from "./unsynced-window.ts";

export interface LogPolicy {
  /** In payload bytes plus MESSAGE_OVERHEAD_BYTES a message, as is segmentSize. */
  readonly maxSize: number;
  readonly segmentSize: number;
  readonly strategyOnFull: StrategyOnFull;
  readonly flushOnWrite: boolean;
  readonly timeToLiveMs?: number | undefined;
  /** 0 or a power of two from 512 on: what one sync makes durable ends on a multiple of it (flushOnWrite only). */
  readonly commitAlignBytes: number;
  /** Stored bytes that may wait for a sync before one is started. */
  readonly syncBytesMax: number;
  readonly syncIntervalMs?: number | undefined;
}

export interface LogDrop extends SequenceRange {
  readonly messageCount: number;
  readonly payloadBytes: number;
  readonly reason: "OVERWRITTEN" | "EXPIRED";
}

export interface StreamLogOptions {
  readonly storage: Storage;
  readonly directory: string;
  /** 32 hexadecimal digits. */
  readonly streamId: string;
  /** The store's start counter. */
  readonly epoch: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly policy: LogPolicy;
  /** Messages below were seen durable by someone else (an export cursor); their absence is a loss to report (R4). */
  readonly knownEndSequence?: number | undefined;
  /** Told of every segment that retention deletes, after it is gone. */
  readonly onDrop?: ((drop: LogDrop) => void) | undefined;
}

export type LogState = "ok" | "read-only" | "fenced";

interface SyncWaiter {
  readonly sequence: number;
  readonly done: (error: MillraceError | undefined) => void;
}

/** Errors that concern the whole store: no new segment will help. */
const storeWideErrors = new Set(["EROFS", "ENODEV", "ESTALE"]);
const fullErrors = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

/**
 * One stream's messages on one storage: the only writer of its directory. Everything but `sync` happens at once; `sync`
 * runs beside the caller. Callbacks of `sync` come from a storage callback, or at the end of the call that settled them.
 */
export class StreamLog {
  readonly #storage: Storage;
  readonly #directory: string;
  readonly #streamId: Buffer;
  readonly #epoch: number;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #onDrop: ((drop: LogDrop) => void) | undefined;
  #policy: LogPolicy;

  readonly #chain: SegmentChain;
  #active: SegmentWriter | undefined;
  #activeReader: SegmentReader | undefined;
  readonly #window = new UnsyncedWindow();
  readonly #generations: Map<number, number>;
  #nextSequence: number;
  #lastIngestMs = 0;
  #lastAppendMs: number;
  #cached: DecodedBlock | undefined;

  #waiters: SyncWaiter[] = [];
  /** The segment whose sync runs. */
  #syncing: SegmentWriter | undefined;
  /** Segments without durable messages that a replacement made worthless. */
  #worthless: string[] = [];

  #state: LogState = "ok";
  #lastFault: Error | undefined;
  #failuresMs: number[] = [];
  #probeAtMs = 0;
  #probeWaitMs = STORAGE_PROBE_MS_MIN;
  #incompressibleBlocks = 0;
  #closed = false;

  /** Makes the directory of a new stream. @throws the system's error when it cannot */
  static create(options: StreamLogOptions): StreamLog {
    options.storage.makeDirectory(options.directory);
    options.storage.syncDirectory(path.dirname(options.directory));
    return new StreamLog(options, undefined);
  }

  /**
   * Opens a stream as the last process left it. Damage never throws; it is reported and skipped.
   * @throws {MillraceError} STREAM_FENCED when the directory or its newest segment cannot be read at all
   */
  static open(options: StreamLogOptions): { readonly log: StreamLog; readonly recovery: RecoveryReport } {
    let chain: RecoveredChain;
    try {
      chain = recoverChain({ ...options, streamId: parseStreamId(options.streamId) });
    } catch (error) {
      const text = `Cannot recover the stream in "${path.basename(options.directory)}"`;
      throw new MillraceError("STREAM_FENCED", text, { cause: error });
    }
    const log = new StreamLog(options, chain);
    log.#makeRecoveredDurable(chain);
    return { log, recovery: chain.report };
  }

  private constructor(options: StreamLogOptions, recovered: RecoveredChain | undefined) {
    this.#storage = options.storage;
    this.#directory = options.directory;
    this.#streamId = parseStreamId(options.streamId);
    this.#epoch = options.epoch;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#policy = checkPolicy(options.policy);
    this.#onDrop = options.onDrop;
    this.#chain = new SegmentChain(options.storage, options.directory, recovered?.segments ?? []);
    this.#generations = recovered?.generations ?? new Map<number, number>();
    this.#nextSequence = recovered?.nextSequence ?? 0;
    this.#lastIngestMs = recovered?.segments.at(-1)?.summary.lastIngestMs ?? 0;
    this.#lastAppendMs = options.clock.monotonicMs();
    if (recovered?.tail !== undefined) this.#adoptTail(recovered.tail);
    const known = options.knownEndSequence ?? 0;
    if (known > this.#nextSequence && recovered !== undefined) {
      recovered.report.dataLoss = { fromSequence: this.#nextSequence, toSequence: known };
    }
  }

  #adoptTail(tail: RecoveredTail): void {
    this.#setActive(new SegmentWriter(tail.file, tail.header, tail.resume));
    this.#lastIngestMs = Math.max(this.#lastIngestMs, tail.resume.summary.lastIngestMs);
    for (const block of tail.unproven) this.#window.push(block, this.#clock.monotonicMs());
  }

  /**
   * What recovery decided becomes true on the medium before anything builds on it: the torn tail is cut, and whatever the
   * last process wrote without syncing is synced, with the names of its files.
   */
  #makeRecoveredDurable(chain: RecoveredChain): void {
    const active = this.#active;
    const { dataLoss } = chain.report;
    if (dataLoss !== undefined) this.#nextSequence = dataLoss.toSequence;
    try {
      this.#storage.syncDirectory(path.dirname(this.#directory));
      this.#storage.syncDirectory(this.#directory);
      if (active !== undefined && chain.tail?.mustTruncate === true) {
        active.truncate();
        // Before anything is written there: over a cut that a crash undoes, what was cut off would be valid again.
        active.file.syncNow();
      }
      if (active !== undefined && chain.tail?.isSealed === false) this.#pad(active);
      active?.file.syncNow();
    } catch (error) {
      this.#noteFailure(error);
      if (active !== undefined) this.#poison(active);
      return;
    }
    if (active === undefined) return;
    this.#markSynced(active, active.position, active.endSequence);
    if (chain.tail?.isSealed === true || dataLoss !== undefined) this.#retire(active);
  }

  get oldestSequence(): number {
    return (
      this.#chain.oldest?.header.baseSequence ??
      this.#active?.header.baseSequence ??
      this.#window.firstSequence ??
      this.#nextSequence
    );
  }
  /** The number that the next message gets. */
  get nextSequence(): number {
    return this.#nextSequence;
  }
  /** Exclusive; exporters may read below it. */
  get syncedEndSequence(): number {
    return this.#window.firstSequence ?? this.#nextSequence;
  }
  /** What counts towards maxSize: payload plus MESSAGE_OVERHEAD_BYTES a message. */
  get totalBytes(): number {
    const active = this.#active;
    const held = active === undefined ? this.#window.messageTotals() : active;
    return this.#chain.accountedBytes + accountedBytes(held);
  }
  /** Bytes of the files. */
  get storedBytes(): number {
    return this.#chain.storedBytes + (this.#active?.position ?? 0);
  }
  get unsyncedBytes(): number {
    return this.#window.storedBytes;
  }
  get isSyncing(): boolean {
    return this.#syncing !== undefined;
  }
  /** Appends would be refused until the sync in progress ends: stop draining. */
  get isSaturated(): boolean {
    return (
      this.#window.storedBytes > SEGMENT_OVERSHOOT_MAX * this.#policy.syncBytesMax || this.#rollIsOverdue
    );
  }
  get state(): LogState {
    return this.#state;
  }
  get lastFault(): Error | undefined {
    return this.#lastFault;
  }
  /** Acknowledged or pending messages that only memory holds after the storage failed. */
  get atRisk(): SequenceRange | undefined {
    const fromSequence = this.#window.firstSequence;
    if (this.#active !== undefined || fromSequence === undefined) return undefined;
    return { fromSequence, toSequence: this.#nextSequence };
  }

  /** What changes holds from the next append on. */
  setPolicy(policy: LogPolicy): void {
    const isStricter = policy.flushOnWrite && !this.#policy.flushOnWrite;
    if (isStricter && this.#active !== undefined) this.#active.isEnded = true;
    this.#policy = checkPolicy(policy);
  }

  /**
   * Makes room for `costBytes` (payload plus MESSAGE_OVERHEAD_BYTES a message), or says that there is none.
   * @throws {MillraceError} STREAM_FULL, MESSAGE_TOO_LARGE when it can never fit, SERVER_BUSY while a sync holds up the roll
   */
  admit(costBytes: number): void {
    const { maxSize, strategyOnFull } = this.#policy;
    if (costBytes > maxSize) {
      const text = `Cannot append ${costBytes} bytes: the stream holds at most ${maxSize}`;
      throw new MillraceError("MESSAGE_TOO_LARGE", text);
    }
    while (this.totalBytes + costBytes > maxSize) {
      if (strategyOnFull === StrategyOnFull.RejectNewData) {
        const text = `Cannot append ${costBytes} bytes: the stream is full, ${this.totalBytes} of ${maxSize} bytes`;
        throw new MillraceError("STREAM_FULL", text);
      }
      if (this.#chain.length === 0) this.#rollForRoom();
      this.#dropOldest("OVERWRITTEN");
    }
    this.#settle();
  }

  /** The only segment holds everything: it is completed, so that it can be deleted. */
  #rollForRoom(): void {
    if (this.#syncing !== undefined) throw busy("its only segment is being synced");
    if (this.#active !== undefined) this.#roll(this.#active);
    this.#ensureActive();
  }

  #dropOldest(reason: LogDrop["reason"]): void {
    let segment: SegmentInfo;
    try {
      segment = this.#chain.deleteOldest();
    } catch (error) {
      this.#noteFailure(error);
      throw new MillraceError("STORAGE_READ_ONLY", "Cannot delete the oldest segment", { cause: error });
    }
    this.#onDrop?.({
      fromSequence: segment.header.baseSequence,
      toSequence: segment.endSequence,
      messageCount: segment.summary.messageCount,
      payloadBytes: segment.summary.payloadBytes,
      reason,
    });
  }

  /**
   * Compresses and writes what `builder` holds as one block. The messages may be read at once; they are durable after a
   * later `sync`. @returns the first sequence number
   * @throws {MillraceError} STREAM_FULL, STORAGE_READ_ONLY, SERVER_BUSY: nothing was written. UNKNOWN_OUTCOME: it may have been
   */
  append(builder: BlockBuilder): number {
    assert(!this.#closed, "append to an open log");
    assert(builder.messageCount > 0, "append of at least one message");
    if (this.isSaturated) throw busy(`${this.#window.storedBytes} bytes wait for a sync`);
    if (this.#state !== "ok") throw readOnly(this.#lastFault);
    const firstSequence = this.#nextSequence;
    assert(Number.isSafeInteger(firstSequence + builder.messageCount), "sequence numbers stay safe");
    const block = this.#encode(builder);
    this.#write(block);
    this.#nextSequence += builder.messageCount;
    this.#lastIngestMs = block.header.lastIngestMs;
    this.#lastAppendMs = this.#clock.monotonicMs();
    this.#window.push(block, this.#lastAppendMs);
    if (this.#window.storedBytes >= this.#policy.syncBytesMax && this.#syncing === undefined)
      this.#startSync();
    this.#settle();
    return firstSequence;
  }

  #encode(builder: BlockBuilder): StoredBlock {
    const { raw } = builder;
    const tryToCompress =
      this.#incompressibleBlocks < INCOMPRESSIBLE_BLOCKS_MAX ||
      this.#incompressibleBlocks % COMPRESSION_PROBE_BLOCKS === 0;
    const frame = encodeFrame(raw, { tryToCompress });
    this.#incompressibleBlocks = frame.compressed ? 0 : this.#incompressibleBlocks + 1;
    let storedCrc = 0;
    for (const piece of frame.pieces) storedCrc = crc32(piece, storedCrc);
    const runs = this.#clampRuns(builder.runs);
    const header: BlockHeader = {
      kind: BlockKind.Data,
      storedBytes: frame.sizeBytes,
      rawBytes: raw.length,
      storedCrc,
      rawCrc: crc32(raw),
      firstSequence: this.#nextSequence,
      messageCount: builder.messageCount,
      firstIngestMs: runs[0]!.ingestMs,
      lastIngestMs: runs.at(-1)!.ingestMs,
      epoch: this.#epoch,
      syncedPosition: 0,
      clockEra: 0,
      runs,
      summary: undefined,
    };
    // The block outlives the builder's buffer: what LZ4 did not shrink is still a view of it.
    const pieces = frame.pieces.map((piece) => (piece.buffer === raw.buffer ? Buffer.from(piece) : piece));
    return { header, frame: pieces };
  }

  /** Ingest times never go back (2.5). */
  #clampRuns(runs: readonly BatchRun[]): readonly BatchRun[] {
    let floorMs = this.#lastIngestMs;
    let isClamped = false;
    for (const run of runs) {
      if (run.ingestMs < floorMs) isClamped = true;
      floorMs = Math.max(floorMs, run.ingestMs);
    }
    if (!isClamped) return runs;
    floorMs = this.#lastIngestMs;
    return runs.map((run) => {
      floorMs = Math.max(floorMs, run.ingestMs);
      return { ...run, ingestMs: floorMs };
    });
  }

  #write(block: StoredBlock): void {
    if (this.#active !== undefined && this.#mustRoll(this.#active) && this.#syncing === undefined) {
      this.#roll(this.#active);
    }
    let active = this.#ensureActive();
    if (active.endSequence !== this.#nextSequence) {
      // Numbers were skipped over a loss: the next segment's name says so.
      this.#roll(active);
      active = this.#ensureActive();
    }
    let outcome = active.writeBlock(block);
    if (outcome.error === undefined) return;
    if (outcome.writtenBytes === 0 && isFull(outcome.error) && this.#freeSpace()) {
      outcome = active.writeBlock(block);
      if (outcome.error === undefined) return;
    }
    this.#takeBack(active, outcome.error);
    if (outcome.writtenBytes === 0 && isFull(outcome.error)) throw full(outcome.error);
    throw new MillraceError("UNKNOWN_OUTCOME", "Cannot tell whether a block was stored", {
      cause: outcome.error,
    });
  }

  /** Cuts what a failed write may have left; a segment that cannot be cut takes no more writes. */
  #takeBack(active: SegmentWriter, error: Error): void {
    if (!isFull(error)) this.#noteFailure(error);
    try {
      active.truncate();
    } catch {
      this.#poison(active);
    }
  }

  #mustRoll(active: SegmentWriter): boolean {
    return active.isEnded || (active.messageCount > 0 && this.#isOver(active, 1));
  }

  #isOver(active: SegmentWriter, factor: number): boolean {
    const limit = this.#segmentSize * factor;
    return accountedBytes(active) >= limit || active.position >= limit;
  }

  /** At most half of the stream, so that overwriting the oldest segment leaves something. */
  get #segmentSize(): number {
    return Math.min(this.#policy.segmentSize, Math.ceil(this.#policy.maxSize / 2));
  }

  get #rollIsOverdue(): boolean {
    const active = this.#active;
    if (active === undefined || this.#syncing === undefined || active.messageCount === 0) return false;
    return active.isEnded || this.#isOver(active, SEGMENT_OVERSHOOT_MAX);
  }

  /** Completes the active segment and makes it durable. No sync runs on it: its verdict could reach either caller. */
  #roll(active: SegmentWriter): void {
    assert(this.#syncing === undefined, "a roll waits for the sync in progress");
    try {
      // The seal saves time at the next start and nothing else: without it the successor still says the end.
      if (!active.isEnded && active.writeMark(BlockKind.Seal).error !== undefined) active.truncate();
      active.file.syncNow();
    } catch (error) {
      this.#noteFailure(error);
      this.#poison(active);
      return;
    }
    this.#markSynced(active, active.position, active.endSequence);
    this.#retire(active);
  }

  /** The active segment, all of it durable, joins the complete ones. */
  #retire(active: SegmentWriter): void {
    active.file.close();
    this.#active = undefined;
    this.#activeReader = undefined;
    this.#chain.push({
      path: active.path,
      header: active.header,
      endSequence: active.endSequence,
      endBytes: active.position,
      summary: active.summary,
    });
  }

  /**
   * After a failed sync nothing above the synced end can be trusted, not even what reads back: the segment ends there, takes
   * no write and no second sync. The window waits for a new segment.
   */
  #poison(active: SegmentWriter): void {
    active.file.close();
    this.#active = undefined;
    this.#activeReader = undefined;
    this.#cached = undefined;
    if (active.syncedSequence === active.header.baseSequence) {
      this.#worthless.push(active.path);
      return;
    }
    const lost = this.#window.messageTotals();
    this.#chain.push({
      path: active.path,
      header: active.header,
      endSequence: active.syncedSequence,
      endBytes: active.syncedPosition,
      summary: {
        ...active.summary,
        messageCount: active.messageCount - lost.messageCount,
        payloadBytes: active.payloadBytes - lost.payloadBytes,
        rawBytes: active.rawBytes - lost.rawBytes,
      },
    });
  }

  #setActive(active: SegmentWriter): void {
    this.#active = active;
    this.#activeReader = new SegmentReader(active.file, active.header.segmentId, active.index);
  }

  /** The segment to write to; makes one, and makes room for it once, if there is none. @throws {MillraceError} */
  #ensureActive(): SegmentWriter {
    if (this.#active !== undefined) return this.#active;
    let active: SegmentWriter;
    try {
      active = this.#createSegment();
    } catch (error) {
      if (!isFull(error) || !this.#freeSpace()) throw this.#refuseSegment(error);
      try {
        active = this.#createSegment();
      } catch (second) {
        throw this.#refuseSegment(second);
      }
    }
    this.#setActive(active);
    this.#state = "ok";
    this.#probeWaitMs = STORAGE_PROBE_MS_MIN;
    this.#window.dropBelow(this.#nextSequence, this.#clock.monotonicMs());
    this.#dropWorthless();
    return active;
  }

  #refuseSegment(error: unknown): MillraceError {
    if (isFull(error)) return full(error);
    this.#noteFailure(error);
    return readOnly(error);
  }

  /**
   * A new segment, with the window in it, durable and usable. The head goes last: until it is there the file does not count
   * and its predecessor is not cut short.
   */
  #createSegment(): SegmentWriter {
    const header = this.#nextHeader();
    const filePath = path.join(this.#directory, formatSegmentName(header));
    const file = this.#storage.open(filePath, "create");
    try {
      const writer = new SegmentWriter(file, header);
      for (const block of this.#window.blocks) throwIfFailed(writer.writeBlock(block));
      if (!this.#window.isEmpty) {
        const padding = this.#paddingFor(writer);
        if (padding !== undefined) throwIfFailed(writer.writeFiller(padding));
        file.syncNow();
      }
      throwIfFailed(writer.writeHeader());
      file.syncNow();
      this.#storage.syncDirectory(this.#directory);
      this.#chain.directorySynced();
      writer.syncedPosition = writer.position;
      writer.syncedSequence = writer.endSequence;
      return writer;
    } catch (error) {
      file.close();
      this.#worthless.push(filePath);
      throw error;
    }
  }

  #nextHeader(): SegmentHeader {
    const baseSequence = this.#window.firstSequence ?? this.#nextSequence;
    const used = this.#generations.get(baseSequence);
    const generation = used === undefined ? 0 : used + 1;
    if (generation > GENERATION_MAX) throw new Error(`no generation left for the segment at ${baseSequence}`);
    for (const base of this.#generations.keys()) if (base < baseSequence) this.#generations.delete(base);
    this.#generations.set(baseSequence, generation);
    const previous = this.#chain.newest;
    return {
      streamId: this.#streamId,
      segmentId: Buffer.from(this.#random.bytes(ID_BYTES)),
      baseSequence,
      generation,
      epoch: this.#epoch,
      createdMs: Math.max(0, Math.floor(this.#clock.nowMs())),
      clockEra: 0,
      predecessor:
        previous === undefined
          ? undefined
          : {
              segmentId: previous.header.segmentId,
              baseSequence: previous.header.baseSequence,
              endSequence: previous.endSequence,
              endBytes: previous.endBytes,
            },
    };
  }

  /** Deletes oldest segments until one segment's size is free on the medium. @returns whether anything was deleted */
  #freeSpace(): boolean {
    if (this.#policy.strategyOnFull !== StrategyOnFull.OverwriteOldestData) return false;
    let isFreed = false;
    try {
      while (this.#chain.length > 1 && this.#storage.freeBytes(this.#directory) < this.#segmentSize) {
        this.#dropOldest("OVERWRITTEN");
        isFreed = true;
      }
      if (isFreed) this.#chain.syncUnlinks();
    } catch {
      // What could be deleted may be enough; the retry tells.
    }
    return isFreed;
  }

  #dropWorthless(): void {
    for (const file of this.#worthless) {
      try {
        this.#storage.unlink(file);
      } catch {
        // Recovery knows it by its lower generation, or by its missing head.
      }
    }
    this.#worthless = [];
  }

  #noteFailure(error: unknown): void {
    this.#lastFault = error instanceof Error ? error : new Error(String(error));
    const nowMs = this.#clock.monotonicMs();
    this.#failuresMs = this.#failuresMs.filter((atMs) => nowMs - atMs < SEGMENT_FAILURES_WINDOW_MS);
    this.#failuresMs.push(nowMs);
    this.#probeAtMs = nowMs + this.#probeWaitMs;
    const isStoreWide = storeWideErrors.has(systemCode(error) ?? "");
    if (isStoreWide || this.#failuresMs.length >= SEGMENT_FAILURES_MAX) this.#enterReadOnly();
  }

  #enterReadOnly(): void {
    this.#state = "read-only";
    this.#probeAtMs = this.#clock.monotonicMs() + this.#probeWaitMs;
    this.#probeWaitMs = Math.min(STORAGE_PROBE_MS_MAX, this.#probeWaitMs * 2);
  }

  /**
   * Makes everything appended so far durable and calls `done`: at once if it already is, else when a sync that started
   * after this call has ended, or a failed one was answered by writing the window to a new segment.
   */
  sync(done: (error: MillraceError | undefined) => void): void {
    this.#waiters.push({ sequence: this.#nextSequence, done });
    if (this.#syncing === undefined && !this.#window.isEmpty) this.#startSync();
    this.#settle();
  }

  #startSync(): void {
    assert(this.#syncing === undefined, "one sync at a time");
    const active = this.#active;
    if (active === undefined) {
      this.#replace();
      return;
    }
    if (!this.#pad(active)) {
      this.#replace();
      return;
    }
    const { position, endSequence } = active;
    this.#syncing = active;
    active.file.sync((error) => {
      this.#syncing = undefined;
      this.#endSync(active, { position, endSequence }, error);
    });
  }

  /**
   * The next write must not touch a unit of the medium that holds acknowledged bytes: a power cut may destroy it.
   * @returns false when a failed write cost the segment
   */
  #pad(active: SegmentWriter): boolean {
    const padding = this.#paddingFor(active);
    if (padding === undefined) return true;
    const outcome = active.writeFiller(padding);
    if (outcome.error === undefined) return true;
    active.isEnded = true;
    this.#takeBack(active, outcome.error);
    return this.#active === active;
  }

  #paddingFor(writer: SegmentWriter): Buffer | undefined {
    const { flushOnWrite, commitAlignBytes } = this.#policy;
    return flushOnWrite ? encodePadding(writer.position, commitAlignBytes) : undefined;
  }

  #endSync(
    segment: SegmentWriter,
    covered: { readonly position: number; readonly endSequence: number },
    error: Error | undefined,
  ): void {
    if (this.#active === segment) {
      if (error === undefined) this.#markSynced(segment, covered.position, covered.endSequence);
      else {
        this.#noteFailure(error);
        this.#poison(segment);
        this.#replace();
      }
    }
    this.#settle();
    const isWaitedFor = this.#waiters.length > 0 || this.#window.storedBytes >= this.#policy.syncBytesMax;
    if (isWaitedFor && this.#syncing === undefined && !this.#window.isEmpty) this.#startSync();
    this.#settle();
  }

  #markSynced(segment: SegmentWriter, position: number, sequence: number): void {
    segment.syncedPosition = Math.max(segment.syncedPosition, position);
    segment.syncedSequence = Math.max(segment.syncedSequence, sequence);
    this.#window.dropBelow(sequence, this.#clock.monotonicMs());
  }

  /** Writes the window to a new segment, or fails those who wait for it. */
  #replace(): void {
    if (this.#state === "ok" || this.#clock.monotonicMs() >= this.#probeAtMs) {
      try {
        this.#ensureActive();
        return;
      } catch (error) {
        this.#lastFault = error instanceof Error ? error : new Error(String(error));
      }
    }
    const waiters = this.#waiters;
    this.#waiters = [];
    const text = "Cannot make appended messages durable";
    for (const { done } of waiters) {
      done(new MillraceError("UNKNOWN_OUTCOME", text, { cause: this.#lastFault }));
    }
  }

  #settle(): void {
    const syncedEnd = this.syncedEndSequence;
    const settled = this.#waiters.filter(({ sequence }) => sequence <= syncedEnd);
    if (settled.length === 0) return;
    this.#waiters = this.#waiters.filter(({ sequence }) => sequence > syncedEnd);
    for (const { done } of settled) done(undefined);
  }

  /** Messages from `fromSequence` on; what cannot be given stands there as a gap. At least one message if there is one. */
  read(request: {
    readonly fromSequence: number;
    readonly endSequence?: number | undefined;
    readonly messageCountMax: number;
    readonly bytesMax: number;
  }): LogSlice[] {
    const end = Math.min(request.endSequence ?? this.#nextSequence, this.#nextSequence);
    const budget: ReadBudget = { messageCount: request.messageCountMax, bytes: request.bytesMax };
    const slices: LogSlice[] = [];
    let hasMessages = false;
    let sequence = request.fromSequence;
    while (sequence < end && budget.messageCount > 0) {
      const found = this.#blockAt(sequence);
      if (found.kind === "gap") {
        const toSequence = Math.min(end, found.toSequence);
        slices.push({ ...found, fromSequence: sequence, toSequence });
        sequence = toSequence;
        continue;
      }
      const slice = found.block.slice(sequence, end, budget, { force: !hasMessages });
      if (slice?.kind !== "messages") break;
      slices.push(slice);
      hasMessages = true;
      sequence += slice.messageCount;
    }
    return slices;
  }

  #blockAt(
    sequence: number,
  ):
    | { readonly kind: "block"; readonly block: DecodedBlock }
    | { readonly kind: "gap"; readonly toSequence: number; readonly reason: "CORRUPT" | "MISSING" } {
    const cached = this.#cached;
    if (cached !== undefined && sequence >= cached.firstSequence && sequence < cached.endSequence) {
      return { kind: "block", block: cached };
    }
    const windowFirst = this.#window.firstSequence;
    if (windowFirst !== undefined && sequence >= windowFirst) {
      this.#cached = this.#window.read(sequence);
      return { kind: "block", block: this.#cached };
    }
    const active = this.#active;
    const isInActive = active !== undefined && sequence >= active.header.baseSequence;
    const place = isInActive ? undefined : this.#chain.find(sequence);
    const limit = isInActive
      ? active.endSequence
      : (place?.nextBase ??
        (place === undefined ? this.#chain.oldest?.header.baseSequence : undefined) ??
        active?.header.baseSequence ??
        windowFirst ??
        this.#nextSequence);
    if (!isInActive && (place === undefined || sequence >= place.segment.endSequence)) {
      return { kind: "gap", toSequence: limit, reason: "MISSING" };
    }
    const found = this.#readSegment(sequence, place?.segment);
    if ("toSequence" in found) {
      return { kind: "gap", toSequence: Math.min(limit, found.toSequence ?? limit), reason: "CORRUPT" };
    }
    this.#cached = found;
    return { kind: "block", block: found };
  }

  #readSegment(
    sequence: number,
    segment: SegmentInfo | undefined,
  ): DecodedBlock | { readonly toSequence: number | undefined } {
    if (segment === undefined) {
      assert(this.#active !== undefined && this.#activeReader !== undefined, "a segment to read from");
      return this.#activeReader.read(sequence, this.#active.position);
    }
    try {
      return this.#chain.reader(segment).read(sequence, segment.endBytes);
    } catch {
      return { toSequence: undefined };
    }
  }

  /** Expiry, syncs that are due, watermarks, probes. Call it about every `nextTickMs`. */
  tick(): void {
    if (this.#closed) return;
    const nowMs = this.#clock.monotonicMs();
    if (this.#needsProbe && nowMs >= this.#probeAtMs && this.#syncing === undefined) this.#probe();
    const intervalMs = this.#policy.syncIntervalMs ?? SYNC_INTERVAL_MS_DEFAULT;
    const isDue = !this.#window.isEmpty && nowMs - this.#window.sinceMs >= intervalMs;
    if (isDue && this.#syncing === undefined && this.#active !== undefined) this.#startSync();
    if (nowMs - this.#lastAppendMs >= WATERMARK_IDLE_MS) this.#writeWatermark();
    this.#expire();
    this.#settle();
  }

  get #needsProbe(): boolean {
    return this.#state === "read-only" || (this.#active === undefined && !this.#window.isEmpty);
  }

  /** A new segment is the test: if the storage takes one, the stream writes again. */
  #probe(): void {
    if (this.#active !== undefined) this.#roll(this.#active);
    this.#replace();
  }

  /** Milliseconds until `tick` has something to do; undefined while nothing is due. */
  get nextTickMs(): number | undefined {
    if (this.#closed) return undefined;
    const nowMs = this.#clock.monotonicMs();
    const due: number[] = [];
    if (this.#needsProbe) due.push(this.#probeAtMs);
    else if (!this.#window.isEmpty)
      due.push(this.#window.sinceMs + (this.#policy.syncIntervalMs ?? SYNC_INTERVAL_MS_DEFAULT));
    if (this.#needsWatermark) due.push(this.#lastAppendMs + WATERMARK_IDLE_MS);
    const expiry = this.#nextExpiryMs;
    if (expiry !== undefined) due.push(nowMs + expiry - this.#clock.nowMs());
    return due.length === 0 ? undefined : Math.max(0, Math.min(...due) - nowMs);
  }

  get #needsWatermark(): boolean {
    const active = this.#active;
    return active !== undefined && active.messageCount > 0 && !active.watermarked && this.#state === "ok";
  }

  /** Tells recovery that everything before it was durable, so that later damage is not taken for a torn tail (R4). */
  #writeWatermark(): void {
    const active = this.#active;
    if (active === undefined || !this.#needsWatermark) return;
    if (!this.#window.isEmpty || this.#syncing !== undefined || active.isEnded) return;
    const outcome = active.writeMark(BlockKind.Watermark);
    if (outcome.error !== undefined) this.#takeBack(active, outcome.error);
    active.watermarked = true;
  }

  get #nextExpiryMs(): number | undefined {
    const { timeToLiveMs } = this.#policy;
    if (timeToLiveMs === undefined) return undefined;
    const oldest = this.#chain.oldest?.summary ?? this.#active?.summary;
    return oldest === undefined || oldest.messageCount === 0 ? undefined : oldest.lastIngestMs + timeToLiveMs;
  }

  /** A segment expires as a whole, when its newest message does. */
  #expire(): void {
    const nowMs = this.#clock.nowMs();
    for (;;) {
      const expiryMs = this.#nextExpiryMs;
      if (expiryMs === undefined || expiryMs > nowMs) return;
      try {
        if (this.#chain.length === 0) {
          if (this.#syncing !== undefined || this.#active === undefined) return;
          this.#roll(this.#active);
        }
        // The sequence numbers live on in the name of a successor.
        this.#ensureActive();
        if (this.#chain.length === 0) return;
        this.#dropOldest("EXPIRED");
      } catch {
        // Noted where it happened; the next tick tries again.
        return;
      }
    }
  }

  /** Makes everything durable if it can, and lets go of the files. Those who still wait hear what became of it. */
  close(): void {
    if (this.#closed) return;
    const active = this.#active;
    if (active !== undefined && !this.#window.isEmpty && this.#pad(active)) {
      try {
        active.file.syncNow();
        // A sync that runs beside may have taken the verdict; then its callback decides.
        if (this.#syncing === undefined) this.#markSynced(active, active.position, active.endSequence);
      } catch (error) {
        this.#noteFailure(error);
        this.#poison(active);
        this.#replace();
      }
    }
    this.#writeWatermark();
    this.#closed = true;
    this.#settle();
    this.#active?.file.close();
    this.#chain.close();
  }

  /** Deletes the stream. The rename is the commit: after it no start finds the stream again, whatever else is left. */
  destroy(): void {
    this.#closed = true;
    this.#active?.file.close();
    this.#chain.close();
    destroyStreamDirectory(this.#storage, this.#directory);
  }
}

/** Removes a stream's directory with all it holds; the rename is the commit. */
export function destroyStreamDirectory(storage: Storage, directory: string): void {
  const target = `${directory}${DELETED_SUFFIX}`;
  storage.rename(directory, target);
  storage.syncDirectory(path.dirname(directory));
  removeTree(storage, target);
}

export const DELETED_SUFFIX = ".deleted";

/** Finishes deletions that a crash cut short. `directory` holds the streams' directories. */
export function removeDeletedStreams(storage: Storage, directory: string): void {
  for (const entry of storage.list(directory)) {
    if (entry.kind === "directory" && entry.name.endsWith(DELETED_SUFFIX)) {
      removeTree(storage, path.join(directory, entry.name));
    }
  }
}

function removeTree(storage: Storage, directory: string): void {
  for (const entry of storage.list(directory)) {
    const entryPath = path.join(directory, entry.name);
    if (entry.kind === "directory") removeTree(storage, entryPath);
    else storage.unlink(entryPath);
  }
  storage.removeDirectory(directory);
}

function parseStreamId(streamId: string): Buffer {
  const id = Buffer.from(streamId, "hex");
  assert(id.length === ID_BYTES && id.toString("hex") === streamId, `stream id "${streamId}"`);
  return id;
}

function checkPolicy(policy: LogPolicy): LogPolicy {
  const { commitAlignBytes } = policy;
  const isPower = commitAlignBytes === 0 || (commitAlignBytes & (commitAlignBytes - 1)) === 0;
  assert(isPower && (commitAlignBytes === 0 || commitAlignBytes >= 512), `alignment ${commitAlignBytes}`);
  assert(policy.maxSize > 0 && policy.segmentSize > 0 && policy.syncBytesMax > 0, "sizes above 0");
  return policy;
}

function throwIfFailed(outcome: WriteOutcome): void {
  if (outcome.error !== undefined) throw outcome.error;
}

function isFull(error: unknown): boolean {
  return fullErrors.has(systemCode(error) ?? "");
}

function busy(why: string): MillraceError {
  return new MillraceError("SERVER_BUSY", `Cannot append to the stream yet: ${why}`);
}

function full(cause: unknown): MillraceError {
  return new MillraceError("STREAM_FULL", "Cannot append: the stream is full, the storage has no room", {
    cause,
  });
}

function readOnly(cause: unknown): MillraceError {
  return new MillraceError("STORAGE_READ_ONLY", "rejected: the storage does not take writes", { cause });
}
