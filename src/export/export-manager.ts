import { assert } from "../core/assert.ts";
import { wallMs } from "../core/clock.ts";
import { asMillraceError } from "../core/errors.ts";
import { EXPORT_THREADS_DEFAULT } from "../core/limits.ts";
import { EXPORT_POOL_THREADS_DEFAULT } from "../core/thread-limits.ts";
import { systemTimers, type Timers } from "../core/timers.ts";
import type { ExportStatus } from "../core/stream-definition.ts";
import { EventName } from "../observe/events.ts";
import { isSamePlace } from "./cursor-file.ts";
import type { CursorRecord } from "./cursor-layout.ts";
import { CancelKeeper } from "./cancel-keeper.ts";
import { CursorKeeper } from "./cursor-keeper.ts";
import type { BatchTask, ExportResult } from "./export-channel.ts";
import { exportPoolFor, type TaskPool } from "./export-pool.ts";
import type { ExportedStream } from "./exported-stream.ts";
import type { TaskEnd, TaskStart } from "./export-flight.ts";
import type { ExportManagerOptions } from "./export-manager-options.ts";
import { Exporter } from "./exporter.ts";
import { ExporterLeftovers } from "./exporter-leftovers.ts";
import type { ExporterLedger } from "./exporter-ledger.ts";
import type { ExporterState } from "./exporter-state.ts";
import { ExportTurns } from "./export-turns.ts";
import { beginAnew } from "./exporter-beginning.ts";
import { exporterSettingsOf, type ExporterSettings } from "./exporter-settings.ts";
import type { ExportProgress } from "./live-account.ts";
import { IdleWaiters } from "./idle-waiters.ts";
import { segmentsFrom } from "./memory-segments.ts";
import type { ExportSource, SourceState } from "./export-source.ts";
import { durablePositionOf, exportersNamed, newSource, noteProgress, statesOf } from "./export-source.ts";
import { NoticeKeeper } from "./notice-keeper.ts";
import { logMapped, logOutcome } from "./outcome-log.ts";
import { Redrives } from "./redrives.ts";
import { RunningWork, settledWithin } from "./running-work.ts";
import type { Schedule } from "./scheduler.ts";
import { SetAsideKeeper } from "./set-aside-keeper.ts";
import { StuckWatch } from "./stuck-watch.ts";
import { TendKeeper } from "./tend-keeper.ts";

/** Decides on the main thread which exporter sends when, and keeps what is known of each; export workers do the rest. */
export class ExportManager {
  /** Send what was set aside again, by command. */
  readonly redrives: Redrives;
  readonly #options: ExportManagerOptions;
  readonly #slots: number;
  readonly #pool: TaskPool;
  readonly #timers: Timers;
  readonly #sources = new Map<string, SourceState>();
  readonly #exporters = new Map<string, Exporter>();
  readonly #turns: ExportTurns;
  readonly #stuck: StuckWatch;
  readonly #running = new RunningWork();
  readonly #keeper: CursorKeeper;
  readonly #notices: NoticeKeeper;
  readonly #aside: SetAsideKeeper;
  readonly #cancels: CancelKeeper;
  readonly #tends: TendKeeper;
  readonly #leftovers: ExporterLeftovers;
  #batchesInFlight = 0;
  #cancelTimer: (() => void) | undefined;
  #wakeIsQueued = false;
  #isClosing = false;
  readonly #idle = new IdleWaiters();

  constructor(options: ExportManagerOptions) {
    const { threadPoolSize = EXPORT_THREADS_DEFAULT, threadsMax = EXPORT_POOL_THREADS_DEFAULT } = options;
    assert(threadPoolSize >= 1 && threadsMax >= 1, "an export pool has a slot and a thread");
    this.#options = options;
    this.#slots = threadPoolSize;
    this.#timers = options.timers ?? systemTimers;
    this.#pool = options.pool ?? exportPoolFor({ ...options, threadPoolSize, threadsMax });
    const { clock, random, storage, kbitPerSecondMax, logger, appendNotice } = options;
    this.#stuck = new StuckWatch(logger);
    this.#turns = new ExportTurns({ random, kbitPerSecondMax, nowMs: clock.monotonicMs() });
    this.#aside = new SetAsideKeeper({ keep: options.keepAside, clock });
    this.#notices = new NoticeKeeper({ append: appendNotice, timers: this.#timers, logger });
    const work = { pool: this.#pool, logger, onDone: () => this.#queueWake() };
    this.#tends = new TendKeeper({ ...options, ...work, timers: this.#timers, running: this.#running });
    this.#cancels = new CancelKeeper({
      ...{ ...work, notices: this.#notices, timers: this.#timers },
      isTaken: (place) => [...this.#exporters.values()].some((one) => isSamePlace(one.place, place)),
      onEnded: (place) => this.#leftovers.forget(place),
    });
    const onSynced = ({ stream }: Exporter): void => options.onStatusChange?.(stream.streamId);
    this.#keeper = new CursorKeeper({ ...work, storage, clock, onSynced });
    const keepers = { keeper: this.#keeper, cancels: this.#cancels, tends: this.#tends };
    this.#leftovers = new ExporterLeftovers({ ...keepers, running: this.#running });
    this.redrives = new Redrives({
      sourceOf: (streamId) => this.#sources.get(streamId),
      readCursor: (place) => this.#keeper.read(place),
      onAdded: (exporter) => this.#exporters.set(exporter.key, exporter),
      onRemoved: (exporter) => this.#leftovers.end([this.#remove(exporter)], exporter.stream.streamId),
      onStarted: () => this.#queueWake(),
    });
  }

  /** Reads the stream's cursors, or begins new ones. Nothing is sent before the first `onProgress`. */
  addStream(given: ExportSource): void {
    const { streamId, directory, definition, options } = given;
    assert(!this.#sources.has(streamId), `stream ${streamId} was added before`);
    const source = newSource(given);
    this.#sources.set(streamId, source);
    const settings = exporterSettingsOf(definition, options, this.#options.exportMap);
    source.exporters = settings.map((one) => {
      // What a Memory stream held is gone after a restart, so a position in it means nothing.
      const place = { streamDirectory: directory, exporterId: one.exporterId };
      const stored = source.stream.isMemory ? undefined : this.#keeper.read(place);
      return this.#addExporter(source.stream, one, stored);
    });
    this.#leftovers.clearOrphans(source.stream, source.exporters);
    this.#leftovers.clearRedrives(source, this.#sources.values());
  }

  /**
   * Kept exporters (same kind and identifier) keep their position unless their start is another; new ones begin, the others
   * end and lose theirs.
   */
  updateStream(
    streamId: string,
    definition: ExportSource["definition"],
    options: ExportSource["options"],
  ): void {
    const source = this.#source(streamId);
    const before = new Map(source.exporters.map((exporter) => [exporter.settings.exporterId, exporter]));
    source.exporters = exporterSettingsOf(definition, options, this.#options.exportMap).map((settings) => {
      const kept = before.get(settings.exporterId);
      // Whatever a file holds belonged to another exporter of that name.
      if (kept === undefined) return this.#addNew(source.stream, settings);
      before.delete(settings.exporterId);
      kept.configure(settings);
      return kept;
    });
    const removed = [...before.values()];
    for (const exporter of removed) this.#remove(exporter);
    this.#leftovers.clear(source.stream, removed);
    this.redrives.follow(streamId);
    this.#leftovers.clearRedrives(source, this.#sources.values());
    this.#queueWake();
  }

  /** Stops the stream's exporters. Resolves when no export worker reads or writes in its directory any more. */
  async removeStream(streamId: string): Promise<void> {
    const source = this.#source(streamId);
    for (const exporter of source.exporters) this.#remove(exporter);
    const redriven = this.redrives.forget(streamId);
    this.#sources.delete(streamId);
    await this.#leftovers.endStream(source, redriven);
    this.#queueWake();
  }

  /** Exporters may read messages from the oldest up to, not including, the synced end. */
  onProgress(streamId: string, progress: ExportProgress): void {
    noteProgress(this.#source(streamId), progress, this.#nowMs());
    this.redrives.noteProgress(streamId);
    this.#queueWake();
  }

  /** In the order of the definition (PROTOCOL 3.6). */
  statuses(streamId: string): ExportStatus[] {
    return this.#source(streamId).exporters.map((exporter) => exporter.status());
  }

  /** How the stream's exporters stand, in the order of the definition. */
  states(streamId: string): ExporterState[] {
    return statesOf(this.#source(streamId), this.#plan(this.#nowMs()), this.#now());
  }

  /** As `states`, of all streams by their ids. */
  allStates(): Map<string, ExporterState[]> {
    const plan = this.#plan(this.#nowMs());
    const now = this.#now();
    return new Map([...this.#sources].map(([streamId, source]) => [streamId, statesOf(source, plan, now)]));
  }

  /**
   * Ends the delays of the stream's exporters, or of the one with the identifier, and of their endpoints: what failed is
   * tried at once. @returns identifiers of those it is about
   */
  retry(streamId: string, identifier?: string): string[] {
    const exporters = exportersNamed(this.#source(streamId), identifier);
    for (const exporter of exporters) {
      exporter.retryNow();
      this.#turns.retry(exporter);
    }
    this.#queueWake();
    return exporters.map(({ settings }) => settings.identifier);
  }

  /** The accounts of the stream's exporters, in the order of the definition. */
  ledgers(streamId: string): ExporterLedger[] {
    const { wallMs } = this.#now();
    return this.#source(streamId).exporters.map((exporter) => exporter.ledger(wallMs));
  }

  /** The account of every exporter. */
  snapshot(): ExporterLedger[] {
    const { wallMs } = this.#now();
    return [...this.#exporters.values()]
      .filter(({ settings }) => settings.isRedrive !== true)
      .map((exporter) => exporter.ledger(wallMs));
  }

  /** Notices that no stream has taken. */
  get droppedNoticeCount(): number {
    return this.#notices.droppedCount;
  }

  /** Below it no enabled exporter of the stream needs a message again, whatever happens; undefined where there is none. */
  durablePosition(streamId: string): number | undefined {
    return durablePositionOf(this.#source(streamId));
  }

  /** Resolves when every message that exporters were told of is settled, but for those disabled. */
  idle(): Promise<void> {
    this.#queueWake();
    return this.#idle.wait();
  }

  /** Starts nothing more, waits for what is in flight, makes the cursors durable, ends the threads; all within the deadline. */
  async close({ deadlineMs }: { deadlineMs: number }): Promise<void> {
    this.#isClosing = true;
    this.#cancelTimer?.();
    const drained = (async () => {
      await this.#running.all();
      await this.#keeper.settled();
      await this.#keeper.syncAll([...this.#exporters.values()]);
    })();
    await settledWithin(drained, deadlineMs);
    await this.#pool.close();
  }

  #addExporter(stream: ExportedStream, settings: ExporterSettings, stored?: CursorRecord): Exporter {
    const exporter = new Exporter(stream, settings, stored);
    this.#exporters.set(exporter.key, exporter);
    logMapped(this.#options.logger, stream, settings);
    return exporter;
  }

  #addNew(stream: ExportedStream, settings: ExporterSettings): Exporter {
    const exporter = this.#addExporter(stream, settings);
    beginAnew(exporter, this.#keeper, () => this.#queueWake());
    return exporter;
  }

  #remove(exporter: Exporter): Exporter {
    exporter.remove();
    this.#exporters.delete(exporter.key);
    this.#turns.forget(exporter);
    this.#stuck.forget(exporter.key);
    return exporter;
  }

  /** Several events of one turn of the event loop are looked at once. */
  #queueWake(): void {
    if (this.#wakeIsQueued) return;
    this.#wakeIsQueued = true;
    queueMicrotask(() => {
      this.#wakeIsQueued = false;
      this.#wake();
    });
  }

  #wake(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    if (this.#isClosing) return;
    const nowMs = this.#nowMs();
    const tendAtMs = this.#tends.look(this.#exporters.values());
    const settleAtMs = this.#settleStarts(nowMs);
    const startAtMs = this.#startBatches(nowMs);
    this.#cancels.look(this.#exporters.values());
    const syncAtMs = this.#keeper.syncWhenDue([...this.#exporters.values()], nowMs);
    const stuckAtMs = this.#stuck.look(this.#exporters.values(), nowMs);
    const wakeAtMs = Math.min(tendAtMs, settleAtMs, startAtMs, syncAtMs, stuckAtMs);
    if (Number.isFinite(wakeAtMs)) {
      const delayMs = Math.max(1, Math.ceil(wakeAtMs - nowMs));
      this.#cancelTimer = this.#timers.setTimer(() => this.#queueWake(), delayMs);
    }
    this.#idle.look(() => this.#isIdle());
  }

  /** Those that send nothing follow their start too: the account says what they will skip. @returns as `#startBatches` */
  #settleStarts(nowMs: number): number {
    let wakeAtMs = Infinity;
    for (const exporter of this.#exporters.values()) {
      if (!this.#mustSettle(exporter)) continue;
      const startAtMs = exporter.mayStartAtMs();
      if (startAtMs > nowMs) wakeAtMs = Math.min(wakeAtMs, startAtMs);
      else if (this.#slotsFree > 0)
        this.#start(exporter, exporter.startSettlement(this.#taskStart(exporter)));
    }
    return wakeAtMs;
  }

  #mustSettle({ stream, needsSettlement }: Exporter): boolean {
    return needsSettlement && this.#source(stream.streamId).arrivals !== undefined;
  }

  /** @returns when to look again, Infinity if only an event can change anything. */
  #startBatches(nowMs: number): number {
    if (this.#slotsFree <= 0) return Infinity;
    const { start, wakeAtMs } = this.#plan(nowMs);
    for (const key of start) {
      const exporter = this.#exporters.get(key)!;
      const expectedBytes = exporter.expectedBytes(this.#turns.kbitPerSecondMax);
      const ticket = this.#turns.begin(exporter, expectedBytes, nowMs);
      const now = { ...this.#taskStart(exporter), windowsMax: this.#turns.windowsMax(exporter) };
      this.#start(exporter, exporter.start({ ticket, expectedBytes }, now));
    }
    return wakeAtMs ?? Infinity;
  }

  #plan(nowMs: number): Schedule {
    const able = [...this.#exporters.values()].filter(
      ({ canSend, needsSettlement }) => canSend && !needsSettlement,
    );
    return this.#turns.plan(able, {
      slotsFree: this.#slotsFree,
      nowMs,
      // A stream with messages to send has told of them.
      arrivalsOf: ({ stream: { streamId } }) => this.#source(streamId).arrivals!,
    });
  }

  get #slotsFree(): number {
    return this.#slots - this.#batchesInFlight;
  }

  #taskStart({ stream, nextSequence }: Exporter): TaskStart {
    const files = this.#source(stream.streamId).memory?.();
    return {
      ...this.#now(),
      kbitPerSecondMax: this.#turns.kbitPerSecondMax,
      memory: files && segmentsFrom(files, nextSequence),
    };
  }

  #start(exporter: Exporter, task: BatchTask): void {
    this.#batchesInFlight += 1;
    const ended = this.#runBatch(exporter, task).finally(() => {
      this.#batchesInFlight -= 1;
      this.#queueWake();
    });
    this.#running.add(exporter.stream.streamId, ended);
  }

  async #runBatch(exporter: Exporter, task: BatchTask): Promise<void> {
    const { logger, onStatusChange, onGap } = this.#options;
    const before = exporter.status().errorMessage;
    let result: ExportResult;
    try {
      result = await this.#pool.run(task);
    } catch (error) {
      // Its thread died; at the end of the process they all do.
      const end = this.#taskEnd();
      const flight = exporter.lose(asMillraceError(error).message, end);
      this.#turns.end(exporter, flight, { result: undefined, nowMs: end.nowMs });
      this.#tends.note(exporter, undefined);
      if (!this.#isClosing) logger.warn(EventName.WorkerDied, { stream: exporter.stream.name }, error);
      return;
    }
    assert(result.kind === "batch", "a batch task has a batch result");
    // Before the next step of the work that they tell of.
    if (result.notices !== undefined) {
      await this.#notices.deliver(result.notices, () => this.#isClosing || exporter.isRemoved);
    }
    if (!this.#isClosing && !exporter.isRemoved) result = await this.#aside.settle(exporter, result);
    const end = this.#taskEnd();
    this.#turns.end(exporter, exporter.finish(result, end), { result, nowMs: end.nowMs });
    this.#tends.note(exporter, result);
    logOutcome(logger, exporter, { result, before });
    if (result.outcome.kind === "gap") onGap?.(exporter.stream.streamId, result.outcome.fromSequence);
    if (!exporter.isRemoved) onStatusChange?.(exporter.stream.streamId);
  }

  #taskEnd(): TaskEnd {
    return { ...this.#now(), random: this.#options.random };
  }

  #isIdle(): boolean {
    if (this.#batchesInFlight > 0) return false;
    return [...this.#exporters.values()].every(
      (exporter) => !this.#mustSettle(exporter) && (!exporter.canSend || exporter.pendingMessages === 0),
    );
  }

  #source(streamId: string): SourceState {
    const source = this.#sources.get(streamId);
    assert(source !== undefined, `stream ${streamId} was not added`);
    return source;
  }

  #now(): { readonly nowMs: number; readonly wallMs: number } {
    return { nowMs: this.#nowMs(), wallMs: wallMs(this.#options.clock) };
  }

  #nowMs(): number {
    return this.#options.clock.monotonicMs();
  }
}
