import path from "node:path";

import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { ClockWatch } from "../core/clock-watch.ts";
import type { MillraceError } from "../core/errors.ts";
import {
  AGE_MARK_AT_CLOSE_MS_MIN,
  AGE_MARK_INTERVAL_MS,
  SEGMENT_OVERSHOOT_MAX,
  SYNC_INTERVAL_MS_DEFAULT,
  WATERMARK_IDLE_MS,
} from "../core/limits.ts";
import { busy, full, isFull, unknownOutcome } from "./append-refusals.ts";
import type { BatchProducer, BlockContent } from "./block-builder.ts";
import { BlockEncoder } from "./block-encoder.ts";
import type { LogSlice } from "./decoded-block.ts";
import { DirectoryFence } from "./directory-fence.ts";
import { expireSegments } from "./expiry.ts";
import { LedgerFile } from "./ledger-file.ts";
import { LogLedger, type LogLedgerView } from "./log-ledger.ts";
import { checkPolicy, type LogPolicy } from "./log-policy.ts";
import { LogSegments } from "./log-segments.ts";
import { ProducerKeeper } from "./producer-keeper.ts";
import { readSlices, type SliceRequest } from "./read-slices.ts";
import { type RecoveredLog, recoverLog } from "./recovered-log.ts";
import type { RecoveryReport, SequenceRange } from "./recovery-report.ts";
import type { SegmentRewrites } from "./segment-rewrites.ts";
import { parseStreamId } from "./segment-layout.ts";
import type { StoredBlock } from "./segment-writer.ts";
import { type LogState, StorageHealth } from "./storage-health.ts";
import { StreamClock, type WatchedClocks } from "./stream-clock.ts";
import { destroyStreamDirectory } from "./stream-deletion.ts";
import { StreamRoom } from "./stream-room.ts";
import type { StreamLogOptions } from "./stream-log-options.ts";
import { SyncWaiters } from "./sync-waiters.ts";
import { writeDueMark } from "./watermarks.ts";
import { WriteAccount } from "./write-account.ts";

/**
 * One stream's messages on one storage: the only writer of its directory. Everything but `sync` happens at once; `sync`
 * runs beside the caller. Callbacks of `sync` come from a storage callback, or at the end of the call that settled them.
 */
export class StreamLog {
  readonly #options: StreamLogOptions;
  readonly #clock: Clock;
  readonly #watch: WatchedClocks;
  readonly #time: StreamClock;
  readonly #segments: LogSegments;
  readonly #encoder: BlockEncoder;
  readonly #health: StorageHealth;
  readonly #fence: DirectoryFence;
  readonly #ledger: LogLedger;
  readonly #producers: ProducerKeeper;
  readonly #waiters = new SyncWaiters();
  readonly #writes = new WriteAccount();
  readonly #room: StreamRoom;
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
    const found = recoverLog({ ...options, streamId: parseStreamId(options.streamId) });
    const log = new StreamLog(options, found);
    log.#segments.makeRecoveredDurable(found.chain);
    // What was written again the next start need not write again; and it knows the time that the last mark told.
    if ((found.chain.tail?.unproven.length ?? 0) > 0) log.#mark(true, AGE_MARK_INTERVAL_MS);
    log.#ledger.noteRecovered(found.chain.report, log.#segments.oldestPlace);
    if (options.isEndUnclean === true)
      log.#ledger.noteUncleanEnd({ sequence: log.nextSequence, epoch: options.epoch });
    log.#ledger.flush();
    return { log, recovery: found.chain.report };
  }

  private constructor(options: StreamLogOptions, found: RecoveredLog | undefined) {
    const recovered = found?.chain;
    this.#options = options;
    this.#clock = options.clock;
    this.#policy = checkPolicy(options.policy);
    this.#health = new StorageHealth(options.clock);
    this.#fence = new DirectoryFence({ ...options, health: this.#health });
    this.#watch = options.watch ?? new ClockWatch(options.clock);
    this.#time = new StreamClock(this.#watch, recovered?.clock);
    const streamId = parseStreamId(options.streamId);
    this.#ledger = new LogLedger({
      clock: options.clock,
      streamId,
      file: found?.ledgerFile ?? new LedgerFile(options.storage, options.directory),
      knownEnd: () => this.#segments.syncedEnd,
      record: found?.record,
    });
    this.#producers = new ProducerKeeper({ ...options, recovered: recovered?.producers });
    const kept = { ledger: this.#ledger, producers: this.#producers, fence: this.#fence };
    const owned = { ...kept, health: this.#health, time: this.#time, writes: this.#writes, streamId };
    this.#segments = new LogSegments({ ...options, ...owned }, recovered);
    this.#room = new StreamRoom(this.#segments, this.#health, options.diskRoom);
    this.#ledger.noteMissing(this.#segments.oldestPlace);
    const { payloadOffset } = this.#segments.oldestPlace;
    this.#writes.startFrom({ payloadOffset, storedBytes: this.#segments.storedBytes });
    this.#encoder = new BlockEncoder({ epoch: options.epoch, lastIngestMs: recovered?.clock?.stampMs ?? 0 });
    this.#lastAppendMs = options.clock.monotonicMs();
  }

  /** What all its messages together may cost. */
  get maxSize(): number {
    return this.#policy.maxSize;
  }
  get oldestSequence(): number {
    return this.#segments.oldestPlace.sequence;
  }
  /** The number that the next message gets. */
  get nextSequence(): number {
    return this.#segments.nextSequence;
  }
  /** Payload bytes of all messages before the oldest one, and of all that there ever were. */
  get oldestPayloadOffset(): number {
    return this.#segments.oldestPlace.payloadOffset;
  }
  get nextPayloadOffset(): number {
    return this.#segments.nextPayloadOffset;
  }
  /** Exclusive; exporters may read below it. */
  get syncedEndSequence(): number {
    return this.#segments.syncedEnd.sequence;
  }
  get syncedEndPayloadOffset(): number {
    return this.#segments.syncedEnd.payloadOffset;
  }
  /** Where every message is that was ever appended. */
  get ledger(): LogLedgerView {
    return this.#ledger;
  }
  /** What counts towards maxSize: payload plus MESSAGE_OVERHEAD_BYTES a message. */
  get totalBytes(): number {
    return this.#segments.totalBytes;
  }
  /** Bytes of the files. */
  get storedBytes(): number {
    return this.#segments.storedBytes;
  }
  /** The disk has less free than is to be kept free: nothing that can wait is written. */
  get isDiskShort(): boolean {
    return this.#room.isDiskShort;
  }
  /** Of a message that arrives now, as of the last sample of the watch. */
  get ingestMs(): number {
    return this.#time.stampMs;
  }
  get unsyncedBytes(): number {
    return this.#segments.window.storedBytes;
  }
  get isSyncing(): boolean {
    return this.#segments.syncs.isRunning;
  }
  /** Appends would be refused until the sync in progress ends: stop draining. */
  get isSaturated(): boolean {
    // A fenced one has no sync to wait for.
    if (this.state === "fenced") return false;
    return (
      this.unsyncedBytes > SEGMENT_OVERSHOOT_MAX * this.#policy.syncBytesMax || this.#segments.rollIsOverdue
    );
  }
  /** The rewriting of complete segments, for whoever has time for a slice of it; undefined while nothing is written. */
  get rewrites(): SegmentRewrites | undefined {
    return this.#closed || this.state !== "ok" ? undefined : this.#segments.rewrites;
  }
  get writes(): Readonly<
    Pick<WriteAccount, "writtenBytes" | "rewrittenBytes" | "syncCount" | "rewriteFaults">
  > {
    return this.#writes;
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

  /** Messages below are needed by nobody: their segments may be deleted. 0 takes it back. */
  release(endSequence: number): void {
    this.#room.releasedEnd = endSequence;
  }

  /**
   * Makes room for `costBytes` (payload plus MESSAGE_OVERHEAD_BYTES a message), or says that there is none.
   * @throws {MillraceError} STREAM_FULL, STREAM_FENCED, MESSAGE_TOO_LARGE when it can never fit, SERVER_BUSY while a sync holds up the roll
   */
  admit(costBytes: number): void {
    if (this.state === "fenced") throw this.#health.refusal;
    this.#room.make(costBytes, this.#policy);
    this.#settle();
  }

  /**
   * What has become of a batch that names its producer: undefined when it is the next one, which may be appended, else the
   * first sequence number under which it was stored. That holds as an answer where those of the batches before it do.
   * @throws {MillraceError} SEQUENCE_GAP. UNKNOWN_OUTCOME: only memory holds it, and the storage does not take it
   */
  findBatch(producer: BatchProducer, messageCount: number): number | undefined {
    const stored = this.#producers.find(producer, messageCount);
    const isAtRisk = stored !== undefined && stored.firstSequence >= (this.atRisk?.fromSequence ?? Infinity);
    if (isAtRisk) throw unknownOutcome("Cannot tell yet whether a batch stays stored", this.lastFault);
    return stored?.firstSequence;
  }

  /**
   * Writes `content` as one block, compressed. The messages may be read at once; they are durable after a
   * later `sync`. @returns the first sequence number
   * @throws {MillraceError} STREAM_FULL, STORAGE_READ_ONLY, SERVER_BUSY: nothing was written. UNKNOWN_OUTCOME: it may have been
   */
  append(content: BlockContent): number {
    assert(!this.#closed, "append to an open log");
    assert(content.messageCount > 0, "append of at least one message");
    if (this.isSaturated) throw busy(`${this.unsyncedBytes} bytes wait for a sync`);
    if (this.state !== "ok") throw this.#health.refusal;
    const firstSequence = this.nextSequence;
    assert(Number.isSafeInteger(firstSequence + content.messageCount), "sequence numbers stay safe");
    const payloadOffset = this.#segments.nextPayloadOffset;
    this.#watch.sample();
    const block = this.#encoder.encode(content, { firstSequence, payloadOffset }, this.#time.mark);
    this.#write(block);
    this.#encoder.lastIngestMs = block.header.lastIngestMs;
    this.#lastAppendMs = this.#clock.monotonicMs();
    this.#segments.accept(block, this.#lastAppendMs);
    this.#producers.record(block.header.runs, firstSequence);
    if (this.unsyncedBytes >= this.#policy.syncBytesMax && !this.isSyncing) this.#startSync();
    this.#settle();
    return firstSequence;
  }

  #write(block: StoredBlock): void {
    const segments = this.#segments;
    if (segments.mustRoll && !segments.syncs.isRunning) segments.roll();
    let active = segments.ensureActive();
    if (active.endSequence !== this.nextSequence || active.isOutOfTime) {
      // Numbers were skipped over a loss: the next segment's name says so. Or what was just written again is of another era.
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
    throw unknownOutcome("Cannot tell whether a block was stored", outcome.error);
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
    const isStarted =
      this.state !== "fenced" && this.#segments.syncs.start((isDurable) => this.#endSync(isDurable));
    if (!isStarted) this.#replace();
  }

  #endSync(isDurable: boolean): void {
    if (!isDurable) this.#replace();
    this.#settle();
    const isWaitedFor = !this.#waiters.isEmpty || this.unsyncedBytes >= this.#policy.syncBytesMax;
    if (isWaitedFor && this.state !== "fenced" && !this.isSyncing && !this.#segments.window.isEmpty)
      this.#startSync();
    this.#settle();
  }

  /** Writes the window to a new segment, or fails those who wait for it. `isLast`: no probe comes later. */
  #replace({ isLast = false } = {}): void {
    if (this.state === "ok" || (this.state === "read-only" && (isLast || this.#health.isProbeDue))) {
      try {
        this.#segments.ensureActive();
        return;
      } catch (error) {
        this.#health.noteRefusal(error);
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
    this.#followClock();
    this.#fence.watch(this.#lastAppendMs);
    if (this.state === "fenced") {
      this.#waiters.failAll(this.lastFault);
      return;
    }
    const { window } = this.#segments;
    const nowMs = this.#clock.monotonicMs();
    if (this.#needsProbe && this.#health.isProbeDue && !this.isSyncing) this.#probe();
    const intervalMs = this.#policy.syncIntervalMs ?? SYNC_INTERVAL_MS_DEFAULT;
    const isDue = !window.isEmpty && nowMs - window.sinceMs >= intervalMs;
    if (isDue && !this.isSyncing && this.#segments.active !== undefined) this.#startSync();
    const idleMs = nowMs - this.#lastAppendMs;
    this.#mark(idleMs >= WATERMARK_IDLE_MS, AGE_MARK_INTERVAL_MS);
    this.#room.tick(idleMs);
    this.#expire();
    this.#ledger.flush();
    this.#settle();
  }

  #followClock(): void {
    this.#watch.sample();
    const { hasNewEra, isProvenNow } = this.#time.update();
    if (hasNewEra) this.#encoder.lastIngestMs = 0;
    if (isProvenNow) this.#segments.capAges(this.#time);
    const { active } = this.#segments;
    if (active !== undefined) active.isOutOfTime = !this.#time.fits(active.header);
  }

  get #needsProbe(): boolean {
    return (
      this.state === "read-only" || (this.#segments.active === undefined && !this.#segments.window.isEmpty)
    );
  }

  /** A new segment is the test: if the storage takes one, the stream writes again. */
  #probe(): void {
    if (!this.#fence.holds()) return;
    this.#segments.roll();
    this.#replace();
  }

  #mark(isIdle: boolean, ageMarkMs: number): void {
    if (this.state !== "ok") return;
    const hasAges = this.#policy.timeToLiveMs !== undefined;
    writeDueMark(this.#segments, this.#time, { isIdle, ageMarkMs: hasAges ? ageMarkMs : undefined });
  }

  /** No messages are deleted, and none are found to be too old, by a storage that takes no writes. */
  #expire(): void {
    const { timeToLiveMs } = this.#policy;
    if (timeToLiveMs === undefined || this.state !== "ok") return;
    expireSegments(this.#segments, { now: this.#time, timeToLiveMs });
  }

  /** Makes everything durable if it can, and lets go of the files. Those who still wait hear what became of it. */
  close(): void {
    if (this.#closed) return;
    if (!this.#segments.syncs.now()) this.#replace({ isLast: true });
    this.#mark(true, AGE_MARK_AT_CLOSE_MS_MIN);
    this.#closed = true;
    this.#settle();
    this.#segments.close();
    if (this.state !== "fenced") this.#ledger.close();
  }

  /** Deletes the stream. The rename is the commit: after it no start finds the stream again, whatever else is left. */
  destroy(): void {
    this.#closed = true;
    this.#segments.close();
    destroyStreamDirectory(this.#options);
  }
}
