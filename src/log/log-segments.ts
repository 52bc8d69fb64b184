import path from "node:path";

import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { MillraceError } from "../core/errors.ts";
import { SEGMENT_OVERSHOOT_MAX } from "../core/limits.ts";
import { StrategyOnFull } from "../core/stream-definition.ts";
import { full, isFull, readOnly } from "./append-refusals.ts";
import { BlockKind, encodePadding, type SegmentSummary } from "./block-layout.ts";
import { BlockFinder } from "./block-finder.ts";
import { type LogDrop, type LogPolicy, segmentSizeOf } from "./log-policy.ts";
import type { RecoveredChain, RecoveredTail, SegmentInfo, SequenceRange } from "./log-recovery.ts";
import type { FoundBlock } from "./read-slices.ts";
import { accountedBytes, SegmentChain } from "./segment-chain.ts";
import { SegmentFactory, type SegmentFactoryOptions } from "./segment-factory.ts";
import { SegmentWriter, type StoredBlock } from "./segment-writer.ts";
import type { Storage } from "./storage.ts";
import type { StorageHealth } from "./storage-health.ts";
import { UnsyncedWindow } from "./unsynced-window.ts";

export interface LogSegmentsOptions extends Omit<SegmentFactoryOptions, "generations"> {
  readonly health: StorageHealth;
  readonly policy: LogPolicy;
  readonly onDrop: ((drop: LogDrop) => void) | undefined;
}

/**
 * Where a stream's messages are: in complete segments, in the active one that grows, and, until a sync has covered them, in
 * the window in memory too. Moves them from one to the next; when to do so is the log's decision.
 */
export class LogSegments {
  readonly #storage: Storage;
  readonly #directory: string;
  readonly #clock: Clock;
  readonly #health: StorageHealth;
  readonly #onDrop: ((drop: LogDrop) => void) | undefined;
  readonly #factory: SegmentFactory;
  readonly #chain: SegmentChain;
  readonly #window = new UnsyncedWindow();
  readonly #finder: BlockFinder;
  #active: SegmentWriter | undefined;
  /** The segment whose sync runs. */
  #syncing: SegmentWriter | undefined;
  policy: LogPolicy;
  /** The number that the next message gets. */
  nextSequence: number;

  constructor(options: LogSegmentsOptions, recovered: RecoveredChain | undefined) {
    this.#storage = options.storage;
    this.#directory = options.directory;
    this.#clock = options.clock;
    this.#health = options.health;
    this.#onDrop = options.onDrop;
    this.policy = options.policy;
    const generations = recovered?.generations ?? new Map<number, number>();
    this.#factory = new SegmentFactory({ ...options, generations });
    this.#chain = new SegmentChain(options.storage, options.directory, recovered?.segments ?? []);
    this.#finder = new BlockFinder(this.#chain, this.#window);
    this.nextSequence = recovered?.nextSequence ?? 0;
    if (recovered?.tail !== undefined) this.#adoptTail(recovered.tail);
  }

  #adoptTail(tail: RecoveredTail): void {
    this.#setActive(new SegmentWriter(tail.file, tail.header, tail.resume));
    for (const block of tail.unproven) this.#window.push(block, this.#clock.monotonicMs());
  }

  /**
   * What recovery decided becomes true on the medium before anything builds on it: the torn tail is cut, and whatever the
   * last process wrote without syncing is synced, with the names of its files.
   */
  makeRecoveredDurable(chain: RecoveredChain): void {
    const active = this.#active;
    const { dataLoss } = chain.report;
    if (dataLoss !== undefined) this.nextSequence = dataLoss.toSequence;
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
      this.#health.noteFailure(error);
      if (active !== undefined) this.#poison(active);
      return;
    }
    if (active === undefined) return;
    this.#markSynced(active, active.position, active.endSequence);
    if (chain.tail?.isSealed === true || dataLoss !== undefined) this.#retire(active);
  }

  get active(): SegmentWriter | undefined {
    return this.#active;
  }
  get window(): Readonly<Pick<UnsyncedWindow, "isEmpty" | "sinceMs" | "storedBytes">> {
    return this.#window;
  }
  get completeCount(): number {
    return this.#chain.length;
  }
  get isSyncing(): boolean {
    return this.#syncing !== undefined;
  }
  /** Of the segment that retention would delete next. */
  get oldestSummary(): SegmentSummary | undefined {
    return this.#chain.oldest?.summary ?? this.#active?.summary;
  }
  get oldestSequence(): number {
    return (
      this.#chain.oldest?.header.baseSequence ??
      this.#active?.header.baseSequence ??
      this.#window.firstSequence ??
      this.nextSequence
    );
  }
  get syncedEndSequence(): number {
    return this.#window.firstSequence ?? this.nextSequence;
  }
  get totalBytes(): number {
    const active = this.#active;
    const held = active === undefined ? this.#window.messageTotals() : active;
    return this.#chain.accountedBytes + accountedBytes(held);
  }
  get storedBytes(): number {
    return this.#chain.storedBytes + (this.#active?.position ?? 0);
  }
  get atRisk(): SequenceRange | undefined {
    const fromSequence = this.#window.firstSequence;
    if (this.#active !== undefined || fromSequence === undefined) return undefined;
    return { fromSequence, toSequence: this.nextSequence };
  }

  get mustRoll(): boolean {
    const active = this.#active;
    if (active === undefined) return false;
    return active.isEnded || (active.messageCount > 0 && this.#isOver(active, 1));
  }

  /** A sync holds up the roll, and nothing more may be written meanwhile. */
  get rollIsOverdue(): boolean {
    const active = this.#active;
    if (active === undefined || this.#syncing === undefined || active.messageCount === 0) return false;
    return active.isEnded || this.#isOver(active, SEGMENT_OVERSHOOT_MAX);
  }

  #isOver(active: SegmentWriter, factor: number): boolean {
    const limit = segmentSizeOf(this.policy) * factor;
    return accountedBytes(active) >= limit || active.position >= limit;
  }

  /** `block` was written to the active segment; its messages count from now on. */
  accept(block: StoredBlock, monotonicMs: number): void {
    this.nextSequence += block.header.messageCount;
    this.#window.push(block, monotonicMs);
  }

  /** Cuts what a failed write may have left; a segment that cannot be cut takes no more writes. */
  takeBack(active: SegmentWriter, error: Error): void {
    if (!isFull(error)) this.#health.noteFailure(error);
    try {
      active.truncate();
    } catch {
      this.#poison(active);
    }
  }

  /** Completes the active segment and makes it durable. No sync runs on it: its verdict could reach either caller. */
  roll(): void {
    assert(this.#syncing === undefined, "a roll waits for the sync in progress");
    const active = this.#active;
    if (active === undefined) return;
    try {
      // The seal saves time at the next start and nothing else: without it the successor still says the end.
      if (!active.isEnded && active.writeMark(BlockKind.Seal).error !== undefined) active.truncate();
      active.file.syncNow();
    } catch (error) {
      this.#health.noteFailure(error);
      this.#poison(active);
      return;
    }
    this.#markSynced(active, active.position, active.endSequence);
    this.#retire(active);
  }

  /** The active segment, all of it durable, joins the complete ones. */
  #retire(active: SegmentWriter): void {
    active.file.close();
    this.#setActive(undefined);
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
    this.#setActive(undefined);
    this.#finder.forget();
    if (active.syncedSequence === active.header.baseSequence) {
      this.#factory.noteWorthless(active.path);
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

  #setActive(active: SegmentWriter | undefined): void {
    this.#active = active;
    this.#finder.follow(active);
  }

  /** The segment to write to; makes one, and makes room for it once, if there is none. @throws {MillraceError} */
  ensureActive(): SegmentWriter {
    if (this.#active !== undefined) return this.#active;
    let active: SegmentWriter;
    try {
      active = this.#createSegment();
    } catch (error) {
      if (!isFull(error) || !this.freeSpace()) throw this.#refuseSegment(error);
      try {
        active = this.#createSegment();
      } catch (second) {
        throw this.#refuseSegment(second);
      }
    }
    this.#setActive(active);
    this.#health.noteSuccess();
    this.#window.dropBelow(this.nextSequence, this.#clock.monotonicMs());
    this.#factory.dropWorthless();
    return active;
  }

  #createSegment(): SegmentWriter {
    const active = this.#factory.create({
      baseSequence: this.syncedEndSequence,
      blocks: this.#window.blocks,
      previous: this.#chain.newest,
      alignBytes: this.policy.commitAlignBytes,
    });
    this.#chain.directorySynced();
    return active;
  }

  #refuseSegment(error: unknown): MillraceError {
    if (isFull(error)) return full(error);
    this.#health.noteFailure(error);
    return readOnly(error);
  }

  /**
   * The next write must not touch a unit of the medium that holds synced bytes, which may be acknowledged or exported: a power
   * cut may destroy it.
   * @returns false when a failed write cost the segment
   */
  #pad(active: SegmentWriter): boolean {
    const padding = encodePadding(active.position, this.policy.commitAlignBytes);
    if (padding === undefined) return true;
    const outcome = active.writeFiller(padding);
    if (outcome.error === undefined) return true;
    active.isEnded = true;
    this.takeBack(active, outcome.error);
    return this.#active === active;
  }

  /**
   * Starts a sync of everything in the active segment. `done` hears whether its messages are durable now; if not, the segment
   * is gone and the window waits for a new one. @returns false when there is no segment to sync: nothing was started
   */
  startSync(done: (isDurable: boolean) => void): boolean {
    assert(this.#syncing === undefined, "one sync at a time");
    const active = this.#active;
    if (active === undefined || !this.#pad(active)) return false;
    const { position, endSequence } = active;
    this.#syncing = active;
    active.file.sync((error) => {
      this.#syncing = undefined;
      done(this.#endSync(active, { position, endSequence }, error));
    });
    return true;
  }

  #endSync(
    segment: SegmentWriter,
    covered: { readonly position: number; readonly endSequence: number },
    error: Error | undefined,
  ): boolean {
    if (this.#active !== segment) return true;
    if (error === undefined) {
      this.#markSynced(segment, covered.position, covered.endSequence);
      return true;
    }
    this.#health.noteFailure(error);
    this.#poison(segment);
    return false;
  }

  /** A sync that blocks, before the end. @returns false as `startSync` tells `done` */
  syncNow(): boolean {
    const active = this.#active;
    if (active === undefined || this.#window.isEmpty || !this.#pad(active)) return true;
    try {
      active.file.syncNow();
    } catch (error) {
      this.#health.noteFailure(error);
      this.#poison(active);
      return false;
    }
    // A sync that runs beside may have taken the verdict; then its callback decides.
    if (this.#syncing === undefined) this.#markSynced(active, active.position, active.endSequence);
    return true;
  }

  #markSynced(segment: SegmentWriter, position: number, sequence: number): void {
    segment.syncedPosition = Math.max(segment.syncedPosition, position);
    segment.syncedSequence = Math.max(segment.syncedSequence, sequence);
    this.#window.dropBelow(sequence, this.#clock.monotonicMs());
  }

  /** Deletes the oldest complete segment. @throws {MillraceError} STORAGE_READ_ONLY */
  dropOldest(reason: LogDrop["reason"]): void {
    let segment: SegmentInfo;
    try {
      segment = this.#chain.deleteOldest();
    } catch (error) {
      this.#health.noteFailure(error);
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

  /** Deletes oldest segments until one segment's size is free on the medium. @returns whether anything was deleted */
  freeSpace(): boolean {
    if (this.policy.strategyOnFull !== StrategyOnFull.OverwriteOldestData) return false;
    const wantedBytes = segmentSizeOf(this.policy);
    let isFreed = false;
    try {
      while (this.#chain.length > 1 && this.#storage.freeBytes(this.#directory) < wantedBytes) {
        this.dropOldest("OVERWRITTEN");
        isFreed = true;
      }
      if (isFreed) this.#chain.syncUnlinks();
    } catch {
      // What could be deleted may be enough; the retry tells.
    }
    return isFreed;
  }

  blockAt(sequence: number): FoundBlock {
    return this.#finder.blockAt(sequence, this.nextSequence);
  }

  close(): void {
    this.#active?.file.close();
    this.#chain.close();
  }
}
