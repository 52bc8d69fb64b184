import path from "node:path";

import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { MillraceError } from "../core/errors.ts";
import { SEGMENT_OVERSHOOT_MAX, SYNC_INTERVAL_MS_DEFAULT, WATERMARK_IDLE_MS } from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import { StrategyOnFull } from "../core/stream-definition.ts";
import { busy, full, isFull, readOnly } from "./append-refusals.ts";
import type { BlockBuilder } from "./block-builder.ts";
import { BlockEncoder } from "./block-encoder.ts";
import { BlockKind } from "./block-layout.ts";
import type { LogSlice } from "./decoded-block.ts";
import { checkPolicy, type LogDrop, type LogPolicy } from "./log-policy.ts";
import {
  type RecoveredChain,
  recoverChain,
  type RecoveryReport,
  type SequenceRange,
} from "./log-recovery.ts";
import { LogSegments } from "./log-segments.ts";
import { readSlices, type SliceRequest } from "./read-slices.ts";
import { ID_BYTES } from "./segment-layout.ts";
import type { StoredBlock } from "./segment-writer.ts";
import type { Storage } from "./storage.ts";
import { type LogState, StorageHealth } from "./storage-health.ts";
import { destroyStreamDirectory } from "./stream-deletion.ts";
import { SyncWaiters } from "./sync-waiters.ts";

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

/**
 * One stream's messages on one storage: the only writer of its directory. Everything but `sync` happens at once; `sync`
 * runs beside the caller. Callbacks of `sync` come from a storage callback, or at the end of the call that settled them.
 */
export class StreamLog {
  readonly #storage: Storage;
  readonly #directory: string;
  readonly #clock: Clock;
  readonly #segments: LogSegments;
  readonly #encoder: BlockEncoder;
  readonly #health: StorageHealth;
  readonly #waiters = new SyncWaiters();
  #policy: LogPolicy;
  #lastAppendMs: number;
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
    log.#segments.makeRecoveredDurable(chain);
    return { log, recovery: chain.report };
  }

  private constructor(options: StreamLogOptions, recovered: RecoveredChain | undefined) {
    this.#storage = options.storage;
    this.#directory = options.directory;
    this.#clock = options.clock;
    this.#policy = checkPolicy(options.policy);
    this.#health = new StorageHealth(options.clock);
    const streamId = parseStreamId(options.streamId);
    const segments = { ...options, streamId, health: this.#health, onDrop: options.onDrop };
    this.#segments = new LogSegments(segments, recovered);
    const lastIngestMs = Math.max(
      recovered?.segments.at(-1)?.summary.lastIngestMs ?? 0,
      recovered?.tail?.resume.summary.lastIngestMs ?? 0,
    );
    this.#encoder = new BlockEncoder({ epoch: options.epoch, lastIngestMs });
    this.#lastAppendMs = options.clock.monotonicMs();
    const known = options.knownEndSequence ?? 0;
    if (known > this.nextSequence && recovered !== undefined) {
      recovered.report.dataLoss = { fromSequence: this.nextSequence, toSequence: known };
    }
  }

  /** What all its messages together may cost. */
  get maxSize(): number {
    return this.#policy.maxSize;
  }
  get oldestSequence(): number {
    return this.#segments.oldestSequence;
  }
  /** The number that the next message gets. */
  get nextSequence(): number {
    return this.#segments.nextSequence;
  }
  /** Exclusive; exporters may read below it. */
  get syncedEndSequence(): number {
    return this.#segments.syncedEndSequence;
  }
  /** What counts towards maxSize: payload plus MESSAGE_OVERHEAD_BYTES a message. */
  get totalBytes(): number {
    return this.#segments.totalBytes;
  }
  /** Bytes of the files. */
  get storedBytes(): number {
    return this.#segments.storedBytes;
  }
  get unsyncedBytes(): number {
    return this.#segments.window.storedBytes;
  }
  get isSyncing(): boolean {
    return this.#segments.isSyncing;
  }
  /** Appends would be refused until the sync in progress ends: stop draining. */
  get isSaturated(): boolean {
    return (
      this.unsyncedBytes > SEGMENT_OVERSHOOT_MAX * this.#policy.syncBytesMax || this.#segments.rollIsOverdue
    );
  }
  get state(): LogState {
    return this.#health.state;
  }
  get lastFault(): Error | undefined {
    return this.#health.lastFault;
  }
  /** Acknowledged or pending messages that only memory holds after the storage failed. */
  get atRisk(): SequenceRange | undefined {
    return this.#segments.atRisk;
  }

  /** What changes holds from the next append on. */
  setPolicy(policy: LogPolicy): void {
    const { active } = this.#segments;
    const isStricter = policy.commitAlignBytes > this.#policy.commitAlignBytes;
    if (isStricter && active !== undefined) active.isEnded = true;
    this.#policy = checkPolicy(policy);
    this.#segments.policy = policy;
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
      if (this.#segments.completeCount === 0) this.#rollForRoom();
      this.#segments.dropOldest("OVERWRITTEN");
    }
    this.#settle();
  }

  /** The only segment holds everything: it is completed, so that it can be deleted. */
  #rollForRoom(): void {
    if (this.isSyncing) throw busy("its only segment is being synced");
    this.#segments.roll();
    this.#segments.ensureActive();
  }

  /**
   * Compresses and writes what `builder` holds as one block. The messages may be read at once; they are durable after a
   * later `sync`. @returns the first sequence number
   * @throws {MillraceError} STREAM_FULL, STORAGE_READ_ONLY, SERVER_BUSY: nothing was written. UNKNOWN_OUTCOME: it may have been
   */
  append(builder: BlockBuilder): number {
    assert(!this.#closed, "append to an open log");
    assert(builder.messageCount > 0, "append of at least one message");
    if (this.isSaturated) throw busy(`${this.unsyncedBytes} bytes wait for a sync`);
    if (this.state !== "ok") throw readOnly(this.lastFault);
    const firstSequence = this.nextSequence;
    assert(Number.isSafeInteger(firstSequence + builder.messageCount), "sequence numbers stay safe");
    const block = this.#encoder.encode(builder, firstSequence);
    this.#write(block);
    this.#encoder.lastIngestMs = block.header.lastIngestMs;
    this.#lastAppendMs = this.#clock.monotonicMs();
    this.#segments.accept(block, this.#lastAppendMs);
    if (this.unsyncedBytes >= this.#policy.syncBytesMax && !this.isSyncing) this.#startSync();
    this.#settle();
    return firstSequence;
  }

  #write(block: StoredBlock): void {
    const segments = this.#segments;
    if (segments.mustRoll && !segments.isSyncing) segments.roll();
    let active = segments.ensureActive();
    if (active.endSequence !== this.nextSequence) {
      // Numbers were skipped over a loss: the next segment's name says so.
      segments.roll();
      active = segments.ensureActive();
    }
    let outcome = active.writeBlock(block);
    if (outcome.error === undefined) return;
    if (outcome.writtenBytes === 0 && isFull(outcome.error) && segments.freeSpace()) {
      outcome = active.writeBlock(block);
      if (outcome.error === undefined) return;
    }
    segments.takeBack(active, outcome.error);
    if (outcome.writtenBytes === 0 && isFull(outcome.error)) throw full(outcome.error);
    throw new MillraceError("UNKNOWN_OUTCOME", "Cannot tell whether a block was stored", {
      cause: outcome.error,
    });
  }

  /**
   * Makes everything appended so far durable and calls `done`: at once if it already is, else when a sync that started
   * after this call has ended, or a failed one was answered by writing the window to a new segment.
   */
  sync(done: (error: MillraceError | undefined) => void): void {
    this.#waiters.add(this.nextSequence, done);
    if (!this.isSyncing && !this.#segments.window.isEmpty) this.#startSync();
    this.#settle();
  }

  #startSync(): void {
    const isStarted = this.#segments.startSync((isDurable) => this.#endSync(isDurable));
    if (!isStarted) this.#replace();
  }

  #endSync(isDurable: boolean): void {
    if (!isDurable) this.#replace();
    this.#settle();
    const isWaitedFor = !this.#waiters.isEmpty || this.unsyncedBytes >= this.#policy.syncBytesMax;
    if (isWaitedFor && !this.isSyncing && !this.#segments.window.isEmpty) this.#startSync();
    this.#settle();
  }

  /** Writes the window to a new segment, or fails those who wait for it. */
  #replace(): void {
    if (this.state === "ok" || this.#health.isProbeDue) {
      try {
        this.#segments.ensureActive();
        return;
      } catch (error) {
        this.#health.noteFault(error);
      }
    }
    this.#waiters.failAll(this.lastFault);
  }

  #settle(): void {
    this.#waiters.settle(this.syncedEndSequence);
  }

  /** Messages from `fromSequence` on; what cannot be given stands there as a gap. At least one message if there is one. */
  read(
    request: Omit<SliceRequest, "endSequence"> & { readonly endSequence?: number | undefined },
  ): LogSlice[] {
    const endSequence = Math.min(request.endSequence ?? this.nextSequence, this.nextSequence);
    return readSlices({ ...request, endSequence }, (sequence) => this.#segments.blockAt(sequence));
  }

  /** Expiry, syncs that are due, watermarks, probes. Call it every 100 ms or so. */
  tick(): void {
    if (this.#closed) return;
    const { window } = this.#segments;
    const nowMs = this.#clock.monotonicMs();
    if (this.#needsProbe && this.#health.isProbeDue && !this.isSyncing) this.#probe();
    const intervalMs = this.#policy.syncIntervalMs ?? SYNC_INTERVAL_MS_DEFAULT;
    const isDue = !window.isEmpty && nowMs - window.sinceMs >= intervalMs;
    if (isDue && !this.isSyncing && this.#segments.active !== undefined) this.#startSync();
    if (nowMs - this.#lastAppendMs >= WATERMARK_IDLE_MS) this.#writeWatermark();
    this.#expire();
    this.#settle();
  }

  get #needsProbe(): boolean {
    return (
      this.state === "read-only" || (this.#segments.active === undefined && !this.#segments.window.isEmpty)
    );
  }

  /** A new segment is the test: if the storage takes one, the stream writes again. */
  #probe(): void {
    this.#segments.roll();
    this.#replace();
  }

  get #needsWatermark(): boolean {
    const { active } = this.#segments;
    return active !== undefined && active.messageCount > 0 && !active.watermarked && this.state === "ok";
  }

  /** Tells recovery that everything before it was durable, so that later damage is not taken for a torn tail (R4). */
  #writeWatermark(): void {
    const { active, window } = this.#segments;
    if (active === undefined || !this.#needsWatermark) return;
    if (!window.isEmpty || this.isSyncing || active.isEnded) return;
    const outcome = active.writeMark(BlockKind.Watermark);
    if (outcome.error !== undefined) this.#segments.takeBack(active, outcome.error);
    active.watermarked = true;
  }

  get #nextExpiryMs(): number | undefined {
    const { timeToLiveMs } = this.#policy;
    if (timeToLiveMs === undefined) return undefined;
    const oldest = this.#segments.oldestSummary;
    return oldest === undefined || oldest.messageCount === 0 ? undefined : oldest.lastIngestMs + timeToLiveMs;
  }

  /** A segment expires as a whole, when its newest message does. */
  #expire(): void {
    const segments = this.#segments;
    const nowMs = this.#clock.nowMs();
    for (;;) {
      const expiryMs = this.#nextExpiryMs;
      if (expiryMs === undefined || expiryMs > nowMs) return;
      try {
        if (segments.completeCount === 0) {
          if (segments.isSyncing || segments.active === undefined) return;
          segments.roll();
        }
        // The sequence numbers live on in the name of a successor.
        segments.ensureActive();
        if (segments.completeCount === 0) return;
        segments.dropOldest("EXPIRED");
      } catch {
        // Noted where it happened; the next tick tries again.
        return;
      }
    }
  }

  /** Makes everything durable if it can, and lets go of the files. Those who still wait hear what became of it. */
  close(): void {
    if (this.#closed) return;
    if (!this.#segments.syncNow()) this.#replace();
    this.#writeWatermark();
    this.#closed = true;
    this.#settle();
    this.#segments.close();
  }

  /** Deletes the stream. The rename is the commit: after it no start finds the stream again, whatever else is left. */
  destroy(): void {
    this.#closed = true;
    this.#segments.close();
    destroyStreamDirectory(this.#storage, this.#directory);
  }
}

function parseStreamId(streamId: string): Buffer {
  const id = Buffer.from(streamId, "hex");
  assert(id.length === ID_BYTES && id.toString("hex") === streamId, `stream id "${streamId}"`);
  return id;
}
