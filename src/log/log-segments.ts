import path from "node:path";

import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { MillraceError } from "../core/errors.ts";
import { SEGMENT_OVERSHOOT_MAX } from "../core/limits.ts";
import { StrategyOnFull } from "../core/stream-definition.ts";
import { type AgePoint, earlierOf, UNKNOWN_AGE } from "./age-point.ts";
import { LossReason, type StreamPlace } from "../core/stream-ledger.ts";
import { full, isFull, readOnly } from "./append-refusals.ts";
import { BlockKind, payloadBytesOf } from "./block-layout.ts";
import { BlockFinder } from "./block-finder.ts";
import type { DirectoryFence } from "./directory-fence.ts";
import type { LogLedger } from "./log-ledger.ts";
import { type LogPolicy, segmentSizeOf, wasteBytesOf } from "./log-policy.ts";
import type { RecoveredChain } from "./log-recovery.ts";
import type { ProducerKeeper } from "./producer-keeper.ts";
import type { FoundBlock } from "./read-slices.ts";
import type { SequenceRange } from "./recovery-report.ts";
import { SegmentChain } from "./segment-chain.ts";
import { SegmentFactory, type SegmentFactoryOptions } from "./segment-factory.ts";
import { createRewrites, type RewriteOptions, type SegmentRewrites } from "./segment-rewrites.ts";
import { accountedBytes } from "./segment-summary.ts";
import { SegmentSyncs } from "./segment-syncs.ts";
import { SegmentWriter, type StoredBlock } from "./segment-writer.ts";
import type { Storage } from "./storage.ts";
import type { StorageHealth } from "./storage-health.ts";
import type { StreamClock } from "./stream-clock.ts";
import { basePlace } from "./stream-places.ts";
import type { RecoveredTail } from "./tail-recovery.ts";
import { isRenewed } from "./tail-renewal.ts";
import { UnsyncedWindow } from "./unsynced-window.ts";

type FactoryOptions = Omit<SegmentFactoryOptions, "generations" | "leftovers" | "writes">;
export interface LogSegmentsOptions extends FactoryOptions, RewriteOptions {
  readonly clock: Clock;
  readonly health: StorageHealth;
  readonly fence: DirectoryFence;
  readonly isNameDurable?: boolean;
  readonly policy: LogPolicy;
  readonly ledger: LogLedger;
  readonly producers: ProducerKeeper;
}

/**
 * Where a stream's messages are: in complete segments, in the active one that grows, and, until a sync has covered them, in
 * the window in memory too. Moves them from one to the next; when to do so is the log's decision.
 */
export class LogSegments {
  readonly #storage: Storage;
  readonly #isNameDurable: boolean;
  readonly #directory: string;
  readonly #clock: Clock;
  readonly #time: StreamClock;
  readonly #health: StorageHealth;
  readonly #fence: DirectoryFence;
  readonly #ledger: LogLedger;
  readonly #factory: SegmentFactory;
  readonly #chain: SegmentChain;
  readonly #window = new UnsyncedWindow();
  readonly #finder: BlockFinder;
  readonly #producers: ProducerKeeper;
  readonly syncs: SegmentSyncs;
  readonly rewrites: SegmentRewrites | undefined;
  #active: SegmentWriter | undefined;
  policy: LogPolicy;
  /** The number that the next message gets. */
  nextSequence: number;
  /** Payload bytes of all messages before that one. */
  nextPayloadOffset: number;

  constructor(options: LogSegmentsOptions, recovered: RecoveredChain | undefined) {
    this.#storage = options.storage;
    this.#isNameDurable = options.isNameDurable === true;
    this.#directory = options.directory;
    this.#clock = options.clock;
    this.#time = options.time;
    this.#health = options.health;
    this.#fence = options.fence;
    this.#ledger = options.ledger;
    this.#producers = options.producers;
    this.policy = options.policy;
    const { generations = new Map<number, number>(), leftovers = [], tail } = recovered ?? {};
    this.#factory = new SegmentFactory({ ...options, generations, leftovers });
    this.#chain = new SegmentChain(options.storage, recovered?.segments ?? []);
    this.#finder = new BlockFinder(this.#chain, this.#window);
    this.syncs = new SegmentSyncs({
      ...options,
      window: this.#window,
      log: this,
      poison: (active) => this.#poison(active),
    });
    this.nextSequence = recovered?.nextSequence ?? 0;
    this.nextPayloadOffset = recovered?.nextPayloadOffset ?? 0;
    this.rewrites = createRewrites(options, { chain: this.#chain, factory: this.#factory, log: this });
    if (tail) this.#setActive(new SegmentWriter(tail.file, tail.header, { ...tail, writes: options.writes }));
    for (const block of tail?.unproven ?? []) this.#window.push(block, this.#clock.monotonicMs());
  }

  /**
   * What recovery decided becomes true on the medium before anything builds on it. What nothing proves to be durable is written
   * again, to a new segment where there is room: a sync of the old one alone would succeed, whatever the medium has of it. While
   * the medium takes neither, it waits in the window and can be read from there.
   */
  makeRecoveredDurable(chain: RecoveredChain): void {
    const active = this.#active;
    const { tail, report } = chain;
    this.nextSequence = report.dataLoss?.toSequence ?? this.nextSequence;
    this.nextPayloadOffset = report.dataLoss?.toPayloadOffset ?? this.nextPayloadOffset;
    try {
      if (!this.#isNameDurable) this.#storage.syncDirectory(path.dirname(this.#directory));
      // Without a segment there is no name to lose: the first one is synced with its directory before it counts.
      if (active !== undefined || this.#chain.length > 0) this.#storage.syncDirectory(this.#directory);
      this.#removeUnneeded(chain);
      if (active === undefined || tail === undefined) return;
      const isDurable = tail.isHeadProven && (this.#window.isEmpty || isRenewed(active, this.#storage));
      if (isDurable) this.#resumeTail(active, tail);
      else this.#replaceTail(active, tail);
    } catch (error) {
      this.#health.noteFailure(error);
      if (active !== undefined) this.#poison(active);
      return;
    }
    if (this.#active !== undefined && report.dataLoss !== undefined) this.#retire(this.#active);
  }

  /** All messages in it are durable: a torn tail is cut, and what else was written without a sync is synced. */
  #resumeTail(active: SegmentWriter, tail: RecoveredTail): void {
    if (tail.mustTruncate) {
      active.truncate();
      // Before anything is written there: over a cut that a crash undoes, what was cut off would be valid again.
      active.file.syncNow();
    }
    if (!tail.isSealed && !this.syncs.pad(active)) return;
    active.file.syncNow();
    this.syncs.note(active, active);
    if (tail.isSealed) this.#retire(active);
  }

  /** The tail ends at its synced end. One of which nothing is durable waits to be removed, until the next append if it is empty. */
  #replaceTail(active: SegmentWriter, tail: RecoveredTail): void {
    const isEmpty = this.#window.isEmpty;
    if (isEmpty && tail.mustTruncate) active.truncate();
    this.#poison(active);
    if (isEmpty) return;
    try {
      this.ensureActive();
    } catch (error) {
      this.#health.noteRefusal(error);
    }
  }

  /** The names of what counts are durable by now. What stays is tried again later, or found again by the next start. */
  #removeUnneeded({ dropped }: RecoveredChain): void {
    this.#factory.dropWorthless();
    if (dropped.length === 0) return;
    try {
      this.#ledger.confirm();
      this.#factory.remove(dropped);
    } catch (error) {
      this.#health.noteFault(error);
    }
  }

  get active(): SegmentWriter | undefined {
    return this.#active;
  }
  get window(): Readonly<Pick<UnsyncedWindow, "isEmpty" | "sinceMs" | "storedBytes">> {
    return this.#window;
  }
  capAges(point: AgePoint): void {
    this.#chain.capAges(point);
    this.#active?.capAge(point);
  }
  get complete(): Pick<SegmentChain, "countFor" | "countBelow" | "countWhile" | "length"> {
    return this.#chain;
  }
  /** Of the newest message in the segment that retention would delete next, or earlier. */
  get oldestAge(): AgePoint {
    return earlierOf(this.#chain.oldestAge, this.#active?.lastAge ?? UNKNOWN_AGE);
  }
  /** Everything below is durable. */
  get syncedEnd(): StreamPlace {
    return this.#window.place ?? this.#nextPlace;
  }
  get #nextPlace(): StreamPlace {
    return { sequence: this.nextSequence, payloadOffset: this.nextPayloadOffset };
  }
  get oldestPlace(): StreamPlace {
    return this.#placeBehind(0);
  }
  get totalBytes(): number {
    return this.#chain.accountedBytes + accountedBytes(this.#active ?? this.#window.messageTotals());
  }
  get storedBytes(): number {
    return this.#chain.storedBytes + (this.#active?.position ?? 0);
  }
  get atRisk(): SequenceRange | undefined {
    const fromSequence = this.#active === undefined ? this.#window.firstSequence : undefined;
    return fromSequence === undefined ? undefined : { fromSequence, toSequence: this.nextSequence };
  }

  get mustRoll(): boolean {
    const active = this.#active;
    if (active === undefined || active.messageCount === 0) return active?.takesMessages === false;
    const isWaste = this.rewrites !== undefined && active.isWasteful(wasteBytesOf(this.policy));
    return !active.takesMessages || isWaste || active.isOver(segmentSizeOf(this.policy));
  }

  /** A sync holds up the roll, and nothing more may be written meanwhile. */
  get rollIsOverdue(): boolean {
    const active = this.#active;
    if (active === undefined || !this.syncs.isRunning || active.messageCount === 0) return false;
    return !active.takesMessages || active.isOver(SEGMENT_OVERSHOOT_MAX * segmentSizeOf(this.policy));
  }

  /** `block` was written to the active segment; its messages count from now on. */
  accept(block: StoredBlock, monotonicMs: number): void {
    this.nextSequence += block.header.messageCount;
    this.nextPayloadOffset += payloadBytesOf(block.header);
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

  /**
   * Completes the active segment and makes it durable. No sync runs on it: its verdict could reach either caller.
   * @throws {MillraceError} STREAM_FENCED
   */
  roll(): void {
    assert(!this.syncs.isRunning, "a roll waits for the sync in progress");
    const active = this.#active;
    if (active === undefined) return;
    this.#assertInPlace();
    if (active.endSequence === active.header.baseSequence) {
      this.#discard(active);
      return;
    }
    try {
      // The seal saves time at the next start and nothing else: without it the successor still says the end.
      if (!active.isEnded && active.writeMark(BlockKind.Seal, this.#time.mark).error !== undefined)
        active.truncate();
      active.file.syncNow();
    } catch (error) {
      this.#health.noteFailure(error);
      this.#poison(active);
      return;
    }
    this.syncs.note(active, active);
    this.#retire(active);
    this.#producers.saveAfterRoll(active.endSequence);
  }

  #assertInPlace(): void {
    if (!this.#fence.holds()) throw this.#health.refusal;
  }

  /** The active segment, all of it durable, joins the complete ones. */
  #retire(active: SegmentWriter): void {
    active.file.close();
    this.#setActive(undefined);
    this.#chain.push(active.info);
  }

  /**
   * After a failed sync nothing above the synced end can be trusted, not even what reads back: the segment ends there, takes
   * no write and no second sync. The window waits for a new segment.
   */
  #poison(active: SegmentWriter): void {
    this.#finder.forget();
    active.file.close();
    this.#setActive(undefined);
    if (active.syncedSequence === active.header.baseSequence) this.#factory.noteWorthless(active.path);
    else this.#chain.push(active.syncedInfo(this.#window.messageTotals()));
  }

  #discard(active: SegmentWriter): void {
    active.file.close();
    this.#setActive(undefined);
    this.#factory.noteWorthless(active.path);
  }

  #setActive(active: SegmentWriter | undefined): void {
    this.#active = active;
    this.#fence.follow(active?.path);
    this.#finder.follow(active);
  }

  /** The segment to write to; makes one, and makes room for it once, if there is none. @throws {MillraceError} */
  ensureActive(): SegmentWriter {
    if (this.#active !== undefined) return this.#active;
    this.#assertInPlace();
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
    if (this.#chain.length > 0) this.#ledger.prepare();
    return active;
  }

  #createSegment(): SegmentWriter {
    return this.#factory.create({
      baseSequence: this.syncedEnd.sequence,
      basePayloadOffset: this.syncedEnd.payloadOffset,
      blocks: this.#window.blocks,
      previous: this.#chain.newest,
      alignBytes: this.policy.commitAlignBytes,
    });
  }

  #refuseSegment(error: unknown): MillraceError {
    if (isFull(error)) return full(error);
    this.#health.noteFailure(error);
    return readOnly(error);
  }

  /**
   * Deletes the oldest complete segments. They are gone once the account says so: a file that stays is removed later.
   * @throws {MillraceError} STORAGE_READ_ONLY, STREAM_FENCED, STREAM_FULL
   */
  dropOldest(reason: LossReason, wanted: number): void {
    this.#assertInPlace();
    const completeCount = this.#chain.length;
    // The sequence numbers live on in the name of a successor. To make one may have taken some segments for its room.
    if (wanted === completeCount) this.ensureActive();
    const count = wanted - (completeCount - this.#chain.length);
    if (count <= 0) return;
    try {
      this.#producers.saveBeforeDrop(this.#chain.at(count - 1)!.endSequence, this.syncedEnd.sequence);
      this.#ledger.drop(reason, this.#placeBehind(count));
      const dropped = Array.from({ length: count }, () => this.#chain.shift().path);
      this.#factory.remove(dropped);
    } catch (error) {
      this.#health.noteFailure(error);
      throw new MillraceError("STORAGE_READ_ONLY", "Cannot delete the oldest segments", { cause: error });
    }
  }

  /** Where the stream begins once `count` complete segments are gone. */
  #placeBehind(count: number): StreamPlace {
    const header = this.#chain.at(count)?.header ?? this.#active?.header;
    return header === undefined ? this.syncedEnd : basePlace(header);
  }

  /** Deletes oldest segments until one segment's size is free on the medium. @returns whether anything was deleted */
  freeSpace(): boolean {
    if (this.policy.strategyOnFull !== StrategyOnFull.OverwriteOldestData) return false;
    let isFreed = false;
    try {
      for (;;) {
        const storedBytes = segmentSizeOf(this.policy) - this.#storage.freeBytes(this.#directory);
        const most = this.#chain.length - (this.#active === undefined ? 1 : 0);
        const count = Math.min(this.#chain.countFor({ storedBytes }), most);
        if (count <= 0) break;
        this.dropOldest(LossReason.Overwritten, count);
        isFreed = true;
      }
      if (isFreed) this.#storage.syncDirectory(this.#directory);
    } catch {
      // What could be deleted may be enough; the retry tells.
    }
    return isFreed;
  }

  /** What stands at `sequence`, with note taken of what cannot be read. @throws {MillraceError} STREAM_FENCED */
  blockAt(sequence: number): FoundBlock {
    const found = this.#finder.blockAt(sequence, this.#nextPlace);
    // It may come back with its directory: to nobody it is a gap.
    if (found.kind === "gap") this.#assertInPlace();
    this.#ledger.noteRead(sequence, found, (at) => this.#finder.gapAround(at, this.#nextPlace));
    return found;
  }

  close(): void {
    this.rewrites?.close();
    this.#active?.file.close();
    this.#chain.close();
  }
}
