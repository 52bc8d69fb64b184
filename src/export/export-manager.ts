import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { asMillraceError } from "../core/errors.ts";
import { EXPORT_THREADS_DEFAULT, EXPORT_THREADS_MAX_DEFAULT } from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import { Persistence, type ExportStatus, type StreamDefinition } from "../core/stream-definition.ts";
import type { SharedFile } from "../log/shared-memory-storage.ts";
import type { Storage } from "../log/storage.ts";
import { EventName } from "../observe/events.ts";
import type { Logger } from "../observe/logger.ts";
import { ArrivalMarks } from "./arrival-marks.ts";
import { CursorFile } from "./cursor-file.ts";
import { newCursor } from "./cursor-layout.ts";
import { EndpointBackoff } from "./endpoint-backoff.ts";
import { CursorKeeper } from "./cursor-keeper.ts";
import type { BatchResult, BatchTask, CursorPlace, ExportResult } from "./export-channel.ts";
import { ExportPool, type TaskPool } from "./export-pool.ts";
import { Exporter, type ExportedStream, type ExporterLedger, type StoredCursor } from "./exporter.ts";
import { exporterSettingsOf, type ExporterSettings } from "./exporter-settings.ts";
import { segmentsFrom } from "./memory-segments.ts";
import { RunningWork } from "./running-work.ts";
import { schedule } from "./scheduler.ts";

export interface Timers {
  /** Must not keep the process alive. */
  setTimer(action: () => void, delayMs: number): () => void;
}

export interface ExportManagerOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly storage: Storage;
  /** Batches at the same time. */
  readonly threadPoolSize?: number;
  /** Threads that they share: an upload mostly waits. */
  readonly threadsMax?: number;
  readonly logger: Logger;
  /** Of the export workers, for SDKs that read their configuration from it; this process's own by default. */
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
  readonly timers?: Timers;
  readonly pool?: TaskPool;
  /** Called after every batch of the stream. */
  readonly onStatusChange?: (streamId: string) => void;
}

/** A stream that exporters may read. */
export interface ExportSource {
  readonly streamId: string;
  readonly name: string;
  readonly directory: string;
  readonly definition: StreamDefinition;
  /** The files of a `Memory` stream as they are now; a batch takes the few that it needs. */
  readonly memory?: () => readonly SharedFile[];
}

interface SourceState {
  readonly stream: ExportedStream;
  readonly memory: (() => readonly SharedFile[]) | undefined;
  exporters: Exporter[];
  arrivals: ArrivalMarks | undefined;
}

const realTimers: Timers = {
  setTimer(action, delayMs) {
    const timer = setTimeout(action, delayMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
};

/** Timers of Node.js wrap to 1 ms above this. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Decides on the main thread which exporter sends when, and keeps what is known of each; export workers do the rest. */
export class ExportManager {
  readonly #options: ExportManagerOptions;
  readonly #slots: number;
  readonly #pool: TaskPool;
  readonly #timers: Timers;
  readonly #sources = new Map<string, SourceState>();
  readonly #exporters = new Map<string, Exporter>();
  readonly #endpoints = new Map<string, EndpointBackoff>();
  readonly #batches = new RunningWork();
  readonly #keeper: CursorKeeper;
  #batchesInFlight = 0;
  #cancelTimer: (() => void) | undefined;
  #wakeIsQueued = false;
  #isClosing = false;
  #idleWaiters: (() => void)[] = [];

  constructor(options: ExportManagerOptions) {
    const {
      threadPoolSize = EXPORT_THREADS_DEFAULT,
      threadsMax = EXPORT_THREADS_MAX_DEFAULT,
      environment,
    } = options;
    assert(threadPoolSize >= 1 && threadsMax >= 1, "an export pool has a slot and a thread");
    this.#options = options;
    this.#slots = threadPoolSize;
    this.#timers = options.timers ?? realTimers;
    // One task more than slots: the sync of cursors must not wait for an upload.
    this.#pool =
      options.pool ??
      new ExportPool({
        threadsMax: Math.min(threadsMax, threadPoolSize),
        tasksMax: threadPoolSize + 1,
        environment,
      });
    const { clock, logger } = options;
    this.#keeper = new CursorKeeper({ pool: this.#pool, clock, logger, onDone: () => this.#queueWake() });
  }

  /** Reads the stream's cursors, or begins new ones. Nothing is sent before the first `onProgress`. */
  addStream({ streamId, name, directory, definition, memory }: ExportSource): void {
    assert(!this.#sources.has(streamId), `stream ${streamId} was added before`);
    const isMemory = definition.persistence === Persistence.Memory;
    assert(isMemory === (memory !== undefined), "a Memory stream, and no other, gives its chunks");
    const stream = { streamId, name, directory, isMemory, oldestSequence: 0, syncedEndSequence: 0 };
    const source: SourceState = { stream, memory, exporters: [], arrivals: undefined };
    this.#sources.set(streamId, source);
    source.exporters = exporterSettingsOf(definition).map((settings) => this.#addExporter(stream, settings));
  }

  /** Kept exporters (same kind and identifier) keep their position, new ones start, the others end and lose theirs. */
  updateStream(streamId: string, definition: StreamDefinition): void {
    const source = this.#source(streamId);
    const before = new Map(source.exporters.map((exporter) => [exporter.settings.exporterId, exporter]));
    source.exporters = exporterSettingsOf(definition).map((settings) => {
      const kept = before.get(settings.exporterId);
      if (kept === undefined) return this.#addExporter(source.stream, settings);
      before.delete(settings.exporterId);
      kept.configure(settings);
      return kept;
    });
    const places = [...before.values()].map((exporter) => this.#remove(exporter));
    if (places.length > 0 && !source.stream.isMemory) {
      void this.#keeper.forget(places, this.#batches.ofStream(streamId));
    }
    this.#queueWake();
  }

  /** Stops the stream's exporters. Resolves when no export worker reads or writes in its directory any more. */
  async removeStream(streamId: string): Promise<void> {
    const source = this.#source(streamId);
    for (const exporter of source.exporters) this.#remove(exporter);
    this.#sources.delete(streamId);
    await this.#batches.ofStream(streamId);
    await this.#keeper.settled();
    this.#queueWake();
  }

  /** Exporters may read messages from `oldestSequence` up to, not including, `syncedEndSequence`. */
  onProgress(
    streamId: string,
    { oldestSequence, syncedEndSequence }: { oldestSequence: number; syncedEndSequence: number },
  ): void {
    const source = this.#source(streamId);
    source.stream.oldestSequence = oldestSequence;
    source.stream.syncedEndSequence = syncedEndSequence;
    if (source.arrivals === undefined) source.arrivals = new ArrivalMarks(syncedEndSequence);
    else source.arrivals.add(syncedEndSequence, this.#nowMs());
    this.#queueWake();
  }

  /** In the order of the definition (PROTOCOL 3.6). */
  statuses(streamId: string): ExportStatus[] {
    return this.#source(streamId).exporters.map((exporter) => exporter.status());
  }

  /** The ledger of every exporter. */
  snapshot(): ExporterLedger[] {
    return [...this.#exporters.values()].map((exporter) => exporter.ledger());
  }

  /** Resolves when every message that exporters were told of is settled, but for those disabled or not available. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      this.#idleWaiters.push(resolve);
      this.#queueWake();
    });
  }

  /** Starts nothing more, waits for what is in flight, makes the cursors durable, ends the threads; all within the deadline. */
  async close({ deadlineMs }: { deadlineMs: number }): Promise<void> {
    this.#isClosing = true;
    this.#cancelTimer?.();
    const drained = (async () => {
      await this.#batches.all();
      await this.#keeper.settled();
      await this.#keeper.syncAll(this.#exporters.values());
    })();
    let cancel: () => void = () => undefined;
    const deadline = new Promise<void>((resolve) => {
      // Not the injected timers: those may let the process end, and this wait has to end.
      const timer = setTimeout(resolve, deadlineMs);
      cancel = () => clearTimeout(timer);
    });
    await Promise.race([drained, deadline]);
    cancel();
    await this.#pool.close();
  }

  #addExporter(stream: ExportedStream, settings: ExporterSettings): Exporter {
    const exporter = new Exporter(stream, settings, this.#readCursor(stream, settings));
    this.#exporters.set(exporter.key, exporter);
    return exporter;
  }

  #readCursor(
    stream: ExportedStream,
    { exporterId, startSequence, identifier }: ExporterSettings,
  ): StoredCursor {
    const fresh = { cursor: newCursor(startSequence), slot: undefined };
    // What a Memory stream held is gone after a restart, so a position in it means nothing.
    if (stream.isMemory) return fresh;
    try {
      const file = new CursorFile(this.#options.storage, { streamDirectory: stream.directory, exporterId });
      file.close();
      return file.record === undefined ? fresh : { cursor: file.record, slot: file.slot };
    } catch (error) {
      // Metadata never costs data: what cannot be read is sent again.
      const reason = "cannot read the position: exporting from the start";
      this.#warn(stream, { exporter: identifier, reason }, error);
      return fresh;
    }
  }

  #remove(exporter: Exporter): CursorPlace {
    exporter.isRemoved = true;
    this.#exporters.delete(exporter.key);
    return exporter.place;
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
    const startAtMs = this.#startBatches(nowMs);
    const syncAtMs = this.#keeper.syncWhenDue(this.#exporters.values(), nowMs);
    const wakeAtMs = Math.min(startAtMs, syncAtMs);
    if (Number.isFinite(wakeAtMs)) {
      const delayMs = Math.min(TIMER_MS_MAX, Math.max(1, Math.ceil(wakeAtMs - nowMs)));
      this.#cancelTimer = this.#timers.setTimer(() => this.#queueWake(), delayMs);
    }
    if (this.#idleWaiters.length > 0 && this.#isIdle()) {
      for (const resolve of this.#idleWaiters.splice(0)) resolve();
    }
  }

  /** @returns when to look again, Infinity if only an event can change anything. */
  #startBatches(nowMs: number): number {
    const slotsFree = this.#slots - this.#batchesInFlight;
    if (slotsFree <= 0) return Infinity;
    const waiting = [...this.#exporters.values()].filter(
      ({ canSend, pendingMessages }) => canSend && pendingMessages > 0,
    );
    const { start, wakeAtMs } = schedule({
      exporters: waiting.map((exporter) => exporter.schedulerView(this.#arrivalsOf(exporter))),
      endpoints: this.#endpoints,
      slotsFree,
      nowMs,
    });
    for (const key of start) this.#startBatch(this.#exporters.get(key)!, nowMs);
    return wakeAtMs ?? Infinity;
  }

  #startBatch(exporter: Exporter, nowMs: number): void {
    const { stream } = exporter;
    const ticket = this.#endpoint(exporter).start();
    const files = this.#source(stream.streamId).memory?.();
    const task = exporter.start(ticket, {
      nowMs,
      wallMs: Math.max(0, Math.floor(this.#options.clock.nowMs())),
      memory: files && segmentsFrom(files, Math.max(exporter.position, stream.oldestSequence)),
    });
    this.#batchesInFlight += 1;
    const ended = this.#runBatch(exporter, task).finally(() => {
      this.#batchesInFlight -= 1;
      this.#queueWake();
    });
    this.#batches.add(stream.streamId, ended);
  }

  async #runBatch(exporter: Exporter, task: BatchTask): Promise<void> {
    const { random, logger, onStatusChange } = this.#options;
    const before = exporter.status().errorMessage;
    let result: ExportResult;
    try {
      result = await this.#pool.run(task);
    } catch (error) {
      // Its thread died; at the end of the process they all do.
      const ticket = exporter.lose(asMillraceError(error).message, { nowMs: this.#nowMs(), random });
      this.#endpoint(exporter).abandon(ticket);
      if (!this.#isClosing) logger.warn(EventName.WorkerDied, { stream: exporter.stream.name }, error);
      return;
    }
    assert(result.kind === "batch", "a batch task has a batch result");
    this.#finishBatch(exporter, result);
    this.#tell(exporter, result, before);
    if (!exporter.isRemoved) onStatusChange?.(exporter.stream.streamId);
  }

  #finishBatch(exporter: Exporter, result: BatchResult): void {
    const nowMs = this.#nowMs();
    const endpoint = this.#endpoint(exporter);
    const ticket = exporter.finish(result, { nowMs, random: this.#options.random });
    const { outcome } = result;
    switch (outcome.kind) {
      case "sent":
      case "refused":
        endpoint.succeed();
        return;
      case "failed":
        if (outcome.scope === "exporter") endpoint.succeed();
        else endpoint.fail(ticket, { pace: outcome.pace, nowMs });
        return;
      case "passed":
      case "unreadable":
      case "gap":
        endpoint.abandon(ticket);
        return;
    }
  }

  /** An error that lasts is told once, and its end too. */
  #tell(exporter: Exporter, { setAside, setAsideError }: BatchResult, before: string): void {
    const { logger } = this.#options;
    const { errorMessage, exportConfigIdentifier } = exporter.status();
    const fields = { stream: exporter.stream.name, exporter: exportConfigIdentifier };
    if (setAside.length > 0) {
      const [sequence = 0] = setAside;
      logger.warn(EventName.ExportSetAside, {
        ...fields,
        sequence,
        count: setAside.length,
        reason: setAsideError,
      });
    } else if (errorMessage !== "" && errorMessage !== before) {
      logger.warn(EventName.ExportFailed, { ...fields, reason: errorMessage });
    } else if (errorMessage === "" && before !== "") logger.info(EventName.ExportRestored, fields);
  }

  #isIdle(): boolean {
    if (this.#batchesInFlight > 0) return false;
    return [...this.#exporters.values()].every(
      ({ canSend, pendingMessages }) => !canSend || pendingMessages === 0,
    );
  }

  #endpoint({ settings: { endpoint } }: Exporter): EndpointBackoff {
    let backoff = this.#endpoints.get(endpoint);
    if (backoff === undefined) {
      backoff = new EndpointBackoff(this.#options.random);
      this.#endpoints.set(endpoint, backoff);
    }
    return backoff;
  }

  #arrivalsOf({ stream: { streamId } }: Exporter): ArrivalMarks {
    const { arrivals } = this.#source(streamId);
    assert(arrivals !== undefined, "a stream with messages to send has told of them");
    return arrivals;
  }

  #source(streamId: string): SourceState {
    const source = this.#sources.get(streamId);
    assert(source !== undefined, `stream ${streamId} was not added`);
    return source;
  }

  #nowMs(): number {
    return this.#options.clock.monotonicMs();
  }

  #warn({ name }: ExportedStream, fields: { exporter?: string; reason: string }, error?: unknown): void {
    this.#options.logger.warn(EventName.ExportFailed, { stream: name, ...fields }, error);
  }
}
