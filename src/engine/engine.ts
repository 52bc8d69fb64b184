import type { Clock } from "../core/clock.ts";
import { asMillraceError } from "../core/errors.ts";
import { OUTBOUND_BUFFERED_BYTES_MAX } from "../core/limits.ts";
import { WORKER_DEATHS_MAX } from "../core/thread-limits.ts";
import type { Random } from "../core/random.ts";
import { Persistence } from "../core/stream-definition.ts";
import { STREAM_START, type StreamPlace } from "../core/stream-ledger.ts";
import type { Timers } from "../core/timers.ts";
import { EventName } from "../observe/events.ts";
import type { Logger } from "../observe/logger.ts";
import type { StoredDefinition } from "../stream/definition-file.ts";
import type { StoreContents, StoredStream } from "../stream/store-directory.ts";
import { type StreamProgress, StreamState, type StreamWorkerSettings } from "../stream/stream-channel.ts";
import { StorageDelay } from "../stream/storage-watch.ts";
import { StreamWorkers, threadPlatform, type WorkerPlatform } from "../stream/stream-workers.ts";
import { Operation, operationName } from "../wire/operation.ts";
import { findRequestId } from "../wire/reply.ts";
import { Catalog } from "./catalog.ts";
import type { ClientSession } from "./client-session.ts";
import { ClientState } from "./client-state.ts";
import { CompanionStreams } from "./companion-streams.ts";
import { dispatch } from "./dispatch.ts";
import type { EngineContext, ExportOwner } from "./engine-context.ts";
import { tellRelease } from "./export-release.ts";
import { isOfficialRequest, replyFailure } from "./failure-reply.ts";
import { handleAppendBatch } from "./handlers/append-batch.ts";
import { followLedger, lookAtGap, tellRecovery } from "./ledger-news.ts";
import { newStreamEntry, type StreamEntry } from "./stream-entry.ts";

export interface EngineOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly storeDirectory: string;
  readonly streamsMax: number;
  readonly messageBytesMax: number;
  readonly fileDirectories: readonly string[];
  readonly workerCountMax: number;
  readonly ringBytes: number;
  readonly worker: StreamWorkerSettings;
  /** Storage makes appends wait, or does so no more; clients that send have been stopped already. */
  readonly onStorageDelay?: (delay: StorageDelay) => void;
  /** Threads and waiting of this machine by default. */
  readonly platform?: WorkerPlatform;
  readonly exports: ExportOwner;
  /** Without it the disk is never foreseen to be full. */
  readonly disk?: EngineContext["disk"];
  /** Up to where, exclusive, the stored cursors of a stream show that messages were exported. */
  readonly exportedEnd: (streamDirectory: string) => StreamPlace;
}

/** The router: one handler per operation, between the sessions and the stream workers. Net calls it, it never calls net. */
export class Engine implements EngineContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly timers: Timers;
  readonly storeDirectory: string;
  readonly messageBytesMax: number;
  readonly fileDirectories: readonly string[];
  readonly workerSettings: StreamWorkerSettings;
  readonly catalog: Catalog;
  readonly workers: StreamWorkers;
  readonly exports: ExportOwner;
  readonly disk: EngineContext["disk"];
  readonly companions: CompanionStreams;
  readonly #logger: Logger;
  readonly #exportedEnd: (streamDirectory: string) => StreamPlace;
  readonly #clients = new Map<number, ClientState>();
  readonly #inFlightBytesMax: number;
  readonly #slots: Map<number, StreamEntry>[];
  /** Connections with results to send at the end of this round. */
  readonly #replying = new Set<ClientState>();
  readonly #waitingForRoom: Set<ClientState>[];
  readonly #onStorageDelay: (delay: StorageDelay) => void;
  #isStorageDegraded = false;
  #isFlushDue = false;

  constructor(options: EngineOptions) {
    this.clock = options.clock;
    this.random = options.random;
    const platform = options.platform ?? threadPlatform();
    this.timers = platform.timers;
    this.storeDirectory = options.storeDirectory;
    this.messageBytesMax = options.messageBytesMax;
    this.fileDirectories = options.fileDirectories;
    this.workerSettings = options.worker;
    this.exports = options.exports;
    this.disk = options.disk ?? { fullInMs: () => undefined };
    this.#logger = options.logger;
    this.companions = new CompanionStreams(this, options.logger);
    this.#onStorageDelay = options.onStorageDelay ?? (() => undefined);
    this.#exportedEnd = options.exportedEnd;
    this.catalog = new Catalog({ streamsMax: options.streamsMax });
    // One client may hold at most a quarter of a ring, so that a flood of one leaves room for the others.
    this.#inFlightBytesMax = options.ringBytes / 4;
    this.#slots = Array.from({ length: options.workerCountMax }, () => new Map<number, StreamEntry>());
    this.#waitingForRoom = Array.from({ length: options.workerCountMax }, () => new Set<ClientState>());
    this.workers = new StreamWorkers({
      workerCountMax: options.workerCountMax,
      ringBytes: options.ringBytes,
      settings: options.worker,
      platform,
      clock: options.clock,
      logger: options.logger,
      onProgress: (workerIndex, slot, progress) => this.#onProgress(workerIndex, slot, progress),
      onLoss: (worker, slot, change) => followLedger(this.#slots[worker]?.get(slot), change, this.#logger),
      onFacts: (workerIndex, slot, facts) => this.#slots[workerIndex]?.get(slot)?.account.onFacts(facts),
      onStorageDelay: (delay, waitedMs) => this.#noteStorageDelay(delay, waitedMs),
      onDrained: () => this.#sendResults(),
      onRoom: (workerIndex) => this.#onRoom(workerIndex),
      onDown: (workerIndex) => this.#onWorkerDown(workerIndex),
      onPoisonous: (workerIndex, slot) => this.#fence(workerIndex, slot),
      onRestarted: (workerIndex) => void this.#reopen(workerIndex),
    });
  }

  /** Opens what the store holds. A stream that cannot be opened is left out and named; the others start. */
  async recover(contents: StoreContents): Promise<void> {
    for (const { directory: path, reason } of contents.fenced)
      this.#logger.warn(EventName.StreamFenced, { path, reason });
    await Promise.all(contents.streams.map((stored) => this.#recoverStream(stored, contents)));
  }

  onOpen(session: ClientSession): void {
    const options = { inFlightBytesMax: this.#inFlightBytesMax, timers: this.timers };
    this.#clients.set(session.id, new ClientState(session, options));
  }

  onFrame(session: ClientSession, frame: Uint8Array): void {
    const client = this.#clients.get(session.id);
    if (client === undefined) return;
    const operation = frame[0] ?? Operation.Unknown;
    if (operation === Operation.AppendBatch) {
      handleAppendBatch(this, client, frame);
      this.#pauseIfDegraded(client);
      return;
    }
    try {
      const done = dispatch(this, client, { operation, frame });
      if (done !== undefined) {
        // The frame is there during this call only: what fails later is answered by the id that it has now.
        const requestId = requestIdOf(operation, frame);
        done.catch((thrown: unknown) => this.#fail(client, { operation, requestId }, thrown));
      }
      if (session.bufferedBytes > OUTBOUND_BUFFERED_BYTES_MAX) session.pause("outbound");
      this.#pauseIfDegraded(client);
    } catch (thrown) {
      this.#fail(client, { operation, requestId: requestIdOf(operation, frame) }, thrown);
    }
  }

  /** What a producer has sent is taken; nothing more is read from it until storage answers again. */
  #pauseIfDegraded(client: ClientState): void {
    if (this.#isStorageDegraded && client.inFlightBytes > 0) client.session.pause("storage");
  }

  onDrain(session: ClientSession): void {
    session.resume("outbound");
    this.#clients.get(session.id)?.onDrain();
  }

  onClose(session: ClientSession): void {
    const client = this.#clients.get(session.id);
    if (client === undefined) return;
    this.#clients.delete(session.id);
    this.#replying.delete(client);
    for (const waiting of this.#waitingForRoom) waiting.delete(client);
    client.close();
  }

  markReplying(client: ClientState): void {
    this.#replying.add(client);
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    queueMicrotask(() => this.#sendResults());
  }

  waitForRoom(client: ClientState, workerIndex: number): void {
    client.session.pause("ring-full");
    this.#waitingForRoom[workerIndex]!.add(client);
  }

  /** Commits and syncs everything that was taken. Sessions must be closed to new requests before. */
  async close(): Promise<void> {
    await this.workers.close();
  }

  reopenAfterDeletion(entry: StreamEntry): void {
    entry.lifecycle = "recovering";
    entry.isDeletionInDoubt = true;
    void this.#open(entry);
  }

  adoptChange(entry: StreamEntry, { definition, options }: StoredDefinition): void {
    entry.definition = definition;
    entry.options = options;
    delete entry.isDefinitionInDoubt;
    entry.release.toldSequence = 0;
    if (entry.isExported) this.exports.updateStream(entry.streamId, definition, options);
  }

  startExports(entry: StreamEntry): void {
    const { streamId, directory, definition, options } = entry;
    if (!entry.isExported) {
      const drops = () => entry.ledger.snapshot.drops;
      const source = { streamId, name: definition.name, directory, definition, options, drops };
      const isMemory = definition.persistence === Persistence.Memory;
      const memory = () => this.workers.memoryOf(directory);
      this.exports.addStream(isMemory ? { ...source, memory } : source);
      entry.isExported = true;
    }
    entry.traffic.note(entry.progress, this.clock.monotonicMs());
    this.exports.onProgress(streamId, entry.progress);
    entry.release.toldSequence = 0;
    void tellRelease(this, entry);
  }

  /** An exporter of the stream got further. */
  onExportStatus(streamId: string): void {
    const entry = this.catalog.withId(streamId);
    if (entry?.options.freeExported === true) void tellRelease(this, entry);
  }

  /** An exporter found nothing readable there. */
  onExportGap(streamId: string, sequence: number): void {
    const entry = this.catalog.withId(streamId);
    if (entry?.lifecycle === "open") lookAtGap(this.workers.proxy(entry.workerIndex), entry.slot, sequence);
  }

  #fail(
    client: ClientState,
    { operation, requestId }: { readonly operation: number; readonly requestId: string | undefined },
    thrown: unknown,
  ): void {
    const error = asMillraceError(thrown);
    if (error.code === "INTERNAL") this.noteFailedRequest(operation, thrown);
    if (requestId === undefined) client.session.close(error.message);
    else replyFailure(client, { operation, requestId }, error);
  }

  noteFailedRequest(operation: number, thrown: unknown): void {
    this.#logger.error(EventName.RequestFailed, { operation: operationName(operation) }, thrown);
  }

  #sendResults(): void {
    this.#isFlushDue = false;
    for (const client of this.#replying) {
      if (client.results.count === 0) continue;
      client.session.send(client.results.take());
      if (client.session.bufferedBytes > OUTBOUND_BUFFERED_BYTES_MAX) client.session.pause("outbound");
    }
    this.#replying.clear();
  }

  #noteStorageDelay(delay: StorageDelay, waitedMs: number): void {
    const fields = { durationMs: Math.round(waitedMs) };
    if (delay === StorageDelay.None) this.#logger.info(EventName.StorageAnswers, fields);
    else if (delay === StorageDelay.Hung) this.#logger.error(EventName.StorageHung, fields);
    else this.#logger.warn(EventName.StorageSlow, fields);
    this.#isStorageDegraded = delay >= StorageDelay.Degraded;
    for (const client of this.#clients.values()) {
      if (!this.#isStorageDegraded) client.session.resume("storage");
      else this.#pauseIfDegraded(client);
    }
    if (delay === StorageDelay.Hung) {
      this.workers.failWaiting();
      this.#sendResults();
    }
    this.#onStorageDelay(delay);
  }

  #onRoom(workerIndex: number): void {
    const waiting = this.#waitingForRoom[workerIndex]!;
    const clients = [...waiting];
    waiting.clear();
    for (const client of clients) client.session.resume("ring-full");
  }

  #onProgress(workerIndex: number, slot: number, progress: StreamProgress): void {
    const entry = this.#slots[workerIndex]?.get(slot);
    if (entry === undefined) return;
    const { state } = entry.progress;
    entry.account.onProgress(progress);
    entry.traffic.note(entry.progress, this.clock.monotonicMs());
    if (state !== entry.progress.state) this.#noteState(entry, state);
    if (entry.isExported) this.exports.onProgress(entry.streamId, entry.progress);
  }

  #noteState({ definition, directory: path, progress }: StreamEntry, before: StreamState): void {
    const fields = { stream: definition.name, path };
    if (progress.state === StreamState.Fenced) {
      const reason = "its files are not where they were: the directory was removed, replaced or unmounted";
      this.#logger.error(EventName.StreamFenced, { ...fields, reason });
    } else if (progress.state === StreamState.ReadOnly) {
      const reason = "its storage takes no writes; it is tried again, and reads and exports go on";
      this.#logger.error(EventName.StreamReadOnly, { ...fields, reason });
    } else if (before !== progress.state) {
      this.#logger.warn(EventName.StreamRestored, fields);
    }
  }

  registerSlot(entry: StreamEntry): void {
    this.#slots[entry.workerIndex]!.set(entry.slot, entry);
    entry.account.opening();
  }

  /** No number of a slot is given twice, so what still comes about it is about nobody. */
  releaseSlot({ workerIndex, slot }: StreamEntry): void {
    this.#slots[workerIndex]!.delete(slot);
  }

  async #recoverStream(stored: StoredStream, { endedCleanly }: StoreContents): Promise<void> {
    const workerIndex = this.workers.place();
    const slot = this.workers.nextSlot(workerIndex);
    const entry = newStreamEntry({ ...stored, workerIndex, slot }, "recovering");
    if (!endedCleanly && stored.definition.persistence === Persistence.File)
      entry.account.isEndUnclean = true;
    try {
      this.catalog.addStored(entry);
    } catch (thrown) {
      this.workers.unplace(workerIndex, entry.directory);
      const { message } = asMillraceError(thrown);
      this.#logger.error(EventName.StreamFenced, { path: entry.directory, reason: message });
      return;
    }
    await this.#open(entry);
  }

  async #open(entry: StreamEntry): Promise<void> {
    const { slot, streamId, directory, definition, options, workerIndex } = entry;
    this.registerSlot(entry);
    try {
      const memory = this.workers.memoryOf(directory);
      const isFile = definition.persistence === Persistence.File;
      const open = {
        kind: "open",
        slot,
        streamId,
        directory,
        definition,
        options,
        create: false,
        isDefinitionInDoubt: entry.isDefinitionInDoubt === true,
        memory,
        knownEnd: isFile ? this.#exportedEnd(directory) : STREAM_START,
        isEndUnclean: entry.account.isEndUnclean,
      } as const;
      const opened = await this.workers.proxy(workerIndex).control(open);
      tellRecovery(entry, opened.notes, this.#logger);
      entry.account.opened(opened);
      if (opened.stored !== undefined) this.adoptChange(entry, opened.stored);
      delete entry.isDeletionInDoubt;
      entry.lifecycle = "open";
      this.startExports(entry);
    } catch (thrown) {
      const error = asMillraceError(thrown);
      // The worker ended meanwhile, which says nothing about the stream: its successor opens it.
      if (error.code === "UNKNOWN_OUTCOME" || error.code === "SERVER_BUSY") return;
      if (error.code === "STREAM_NOT_FOUND" && entry.isDeletionInDoubt === true) {
        entry.lifecycle = "gone";
        this.catalog.remove(entry);
        this.releaseSlot(entry);
        this.workers.unplace(workerIndex, directory);
        return;
      }
      entry.lifecycle = "fenced";
      entry.fault = error.message;
      const fields = { stream: definition.name, path: directory, reason: entry.fault };
      this.#logger.error(EventName.StreamFenced, fields, thrown);
    }
  }

  #onWorkerDown(workerIndex: number): void {
    for (const entry of this.catalog.entries) {
      if (entry.workerIndex === workerIndex && entry.lifecycle === "open") entry.lifecycle = "recovering";
    }
    this.#onRoom(workerIndex);
  }

  #fence(workerIndex: number, slot: number): void {
    const entry = this.#slots[workerIndex]?.get(slot);
    if (entry?.lifecycle !== "recovering") return;
    entry.lifecycle = "fenced";
    entry.fault = `its worker died ${WORKER_DEATHS_MAX} times in a minute over it`;
    const fields = { stream: entry.definition.name, path: entry.directory, reason: entry.fault };
    this.#logger.error(EventName.StreamFenced, fields);
  }

  async #reopen(workerIndex: number): Promise<void> {
    const entries = [...this.catalog.entries].filter(
      (entry) => entry.workerIndex === workerIndex && entry.lifecycle === "recovering",
    );
    await Promise.all(entries.map((entry) => this.#open(entry)));
  }
}

/** The id by which a failure of this request is answered; undefined where there is no such answer. */
function requestIdOf(operation: number, frame: Uint8Array): string | undefined {
  return isOfficialRequest(operation) ? findRequestId(frame) : undefined;
}
