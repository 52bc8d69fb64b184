import type { Clock } from "../core/clock.ts";
import { asMillraceError } from "../core/errors.ts";
import { OUTBOUND_BUFFERED_BYTES_MAX } from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import { Persistence } from "../core/stream-definition.ts";
import { EventName } from "../observe/events.ts";
import type { Logger } from "../observe/logger.ts";
import type { StoreContents, StoredStream } from "../stream/store-directory.ts";
import type { StreamProgress, StreamWorkerSettings } from "../stream/stream-channel.ts";
import { StreamWorkers } from "../stream/stream-workers.ts";
import { OWN_OPERATION_MIN, Operation, operationName } from "../wire/operation.ts";
import { findRequestId } from "../wire/reply.ts";
import { encodeUnknownOperationError } from "../wire/unknown-operation.ts";
import { Catalog } from "./catalog.ts";
import type { ClientSession } from "./client-session.ts";
import { ClientState } from "./client-state.ts";
import type { EngineContext, ExportOwner } from "./engine-context.ts";
import { isOfficialRequest, replyFailure } from "./failure-reply.ts";
import { handleAppendBatch } from "./handlers/append-batch.ts";
import { handleAppendMessage } from "./handlers/append-message.ts";
import { handleCreateMessageStream } from "./handlers/create-message-stream.ts";
import { handleDeleteMessageStream } from "./handlers/delete-message-stream.ts";
import { handleDescribeMessageStream } from "./handlers/describe-message-stream.ts";
import { handleListStreams } from "./handlers/list-streams.ts";
import { handleOpenStream } from "./handlers/open-stream.ts";
import { handleReadMessages } from "./handlers/read-messages.ts";
import { handleCredit, handleSubscribe, handleUnsubscribe } from "./handlers/subscribe.ts";
import { handleUpdateMessageStream } from "./handlers/update-message-stream.ts";
import { newStreamEntry, type StreamEntry } from "./stream-entry.ts";

export interface EngineOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly storeDirectory: string;
  readonly streamsMax: number;
  readonly messageBytesMax: number;
  readonly workerCountMax: number;
  readonly ringBytes: number;
  readonly worker: StreamWorkerSettings;
  readonly exports: ExportOwner;
  /** Up to where, exclusive, the stored cursors of a stream show that messages were exported. */
  readonly exportedEndSequence: (streamDirectory: string) => number;
}

/** The router: one handler per operation, between the sessions and the stream workers. Net calls it, it never calls net. */
export class Engine implements EngineContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly storeDirectory: string;
  readonly messageBytesMax: number;
  readonly catalog: Catalog;
  readonly workers: StreamWorkers;
  readonly exports: ExportOwner;
  readonly #logger: Logger;
  readonly #exportedEndSequence: (streamDirectory: string) => number;
  readonly #clients = new Map<number, ClientState>();
  readonly #inFlightBytesMax: number;
  readonly #slots: StreamEntry[][];
  /** Connections with results to send at the end of this round. */
  readonly #replying = new Set<ClientState>();
  readonly #waitingForRoom: Set<ClientState>[];
  #isFlushDue = false;

  constructor(options: EngineOptions) {
    this.clock = options.clock;
    this.random = options.random;
    this.storeDirectory = options.storeDirectory;
    this.messageBytesMax = options.messageBytesMax;
    this.exports = options.exports;
    this.#logger = options.logger;
    this.#exportedEndSequence = options.exportedEndSequence;
    this.catalog = new Catalog({ streamsMax: options.streamsMax });
    // One client may hold at most a quarter of a ring, so that a flood of one leaves room for the others.
    this.#inFlightBytesMax = options.ringBytes / 4;
    this.#slots = Array.from({ length: options.workerCountMax }, () => []);
    this.#waitingForRoom = Array.from({ length: options.workerCountMax }, () => new Set<ClientState>());
    this.workers = new StreamWorkers({
      workerCountMax: options.workerCountMax,
      ringBytes: options.ringBytes,
      settings: options.worker,
      clock: options.clock,
      logger: options.logger,
      onProgress: (workerIndex, slot, progress) => this.#onProgress(workerIndex, slot, progress),
      onDrained: () => this.#sendResults(),
      onRoom: (workerIndex) => this.#onRoom(workerIndex),
      onDown: (workerIndex) => this.#onWorkerDown(workerIndex),
      onRestarted: (workerIndex) => void this.#reopen(workerIndex),
    });
  }

  /** Opens what the store holds. A stream that cannot be opened is left out and named; the others start. */
  async recover(contents: StoreContents): Promise<void> {
    for (const { directory, reason } of contents.fenced) {
      this.#logger.warn(EventName.StreamFenced, { path: directory, reason });
    }
    await Promise.all(contents.streams.map((stored) => this.#recoverStream(stored)));
  }

  onOpen(session: ClientSession): void {
    this.#clients.set(session.id, new ClientState(session, { inFlightBytesMax: this.#inFlightBytesMax }));
  }

  onFrame(session: ClientSession, frame: Uint8Array): void {
    const client = this.#clients.get(session.id);
    if (client === undefined) return;
    const operation = frame[0] ?? Operation.Unknown;
    if (operation === Operation.AppendBatch) {
      handleAppendBatch(this, client, frame);
      return;
    }
    try {
      const done = this.#dispatch(operation, client, frame);
      done?.catch((thrown: unknown) => this.#fail(client, operation, frame, thrown));
      if (session.bufferedBytes > OUTBOUND_BUFFERED_BYTES_MAX) session.pause("outbound");
    } catch (thrown) {
      this.#fail(client, operation, frame, thrown);
    }
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

  startExports(entry: StreamEntry): void {
    const { streamId, directory, definition } = entry;
    if (!entry.isExported) {
      const source = { streamId, name: definition.name, directory, definition };
      const isMemory = definition.persistence === Persistence.Memory;
      const memory = () => this.workers.memoryOf(directory);
      this.exports.addStream(isMemory ? { ...source, memory } : source);
      entry.isExported = true;
    }
    this.exports.onProgress(streamId, entry.progress);
  }

  #dispatch(operation: number, client: ClientState, frame: Uint8Array): Promise<void> | undefined {
    switch (operation) {
      case Operation.AppendMessage:
        handleAppendMessage(this, client, frame);
        return undefined;
      case Operation.ReadMessages:
        handleReadMessages(this, client, frame);
        return undefined;
      case Operation.CreateMessageStream:
        return handleCreateMessageStream(this, client, frame);
      case Operation.DeleteMessageStream:
        return handleDeleteMessageStream(this, client, frame);
      case Operation.DescribeMessageStream:
        handleDescribeMessageStream(this, client, frame);
        return undefined;
      case Operation.ListStreams:
        handleListStreams(this, client, frame);
        return undefined;
      case Operation.UpdateMessageStream:
        return handleUpdateMessageStream(this, frame);
      case Operation.OpenStream:
        handleOpenStream(this, client, frame);
        return undefined;
      case Operation.Subscribe:
        handleSubscribe(this, client, frame);
        return undefined;
      case Operation.Credit:
        handleCredit(client, frame);
        return undefined;
      case Operation.Unsubscribe:
        handleUnsubscribe(client, frame);
        return undefined;
      default:
        this.#answerUnknown(operation, client, frame);
        return undefined;
    }
  }

  #answerUnknown(operation: number, client: ClientState, frame: Uint8Array): void {
    const requestId = operation < OWN_OPERATION_MIN ? findRequestId(frame) : undefined;
    if (requestId === undefined) {
      client.session.close(`operation ${operation} is not known`);
      return;
    }
    client.session.send(encodeUnknownOperationError({ requestId, operation }));
  }

  #fail(client: ClientState, operation: number, frame: Uint8Array, thrown: unknown): void {
    const error = asMillraceError(thrown);
    if (error.code === "INTERNAL") {
      this.#logger.error(EventName.RequestFailed, { operation: operationName(operation) }, thrown);
    }
    const requestId = isOfficialRequest(operation) ? findRequestId(frame) : undefined;
    if (requestId === undefined) client.session.close(error.message);
    else replyFailure(client, { operation, requestId }, error);
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

  #onRoom(workerIndex: number): void {
    const waiting = this.#waitingForRoom[workerIndex]!;
    if (waiting.size === 0) return;
    const clients = [...waiting];
    waiting.clear();
    for (const client of clients) client.session.resume("ring-full");
  }

  #onProgress(workerIndex: number, slot: number, progress: StreamProgress): void {
    const entry = this.#slots[workerIndex]?.[slot];
    if (entry === undefined) return;
    entry.progress = progress;
    if (entry.isExported) this.exports.onProgress(entry.streamId, progress);
  }

  registerSlot(entry: StreamEntry): void {
    this.#slots[entry.workerIndex]![entry.slot] = entry;
  }

  async #recoverStream(stored: StoredStream): Promise<void> {
    const workerIndex = this.workers.place();
    const slot = this.workers.nextSlot(workerIndex);
    const entry = newStreamEntry({ ...stored, workerIndex, slot }, "recovering");
    try {
      this.catalog.addStored(entry);
    } catch (thrown) {
      this.workers.unplace(workerIndex);
      const { message } = asMillraceError(thrown);
      this.#logger.error(EventName.StreamFenced, { path: entry.directory, reason: message });
      return;
    }
    await this.#open(entry);
  }

  async #open(entry: StreamEntry): Promise<void> {
    const { slot, streamId, directory, definition, workerIndex } = entry;
    this.registerSlot(entry);
    try {
      const memory = this.workers.memoryOf(directory);
      const isMemory = definition.persistence === Persistence.Memory;
      const knownEndSequence = isMemory ? 0 : this.#exportedEndSequence(directory);
      const open = {
        kind: "open",
        slot,
        streamId,
        directory,
        definition,
        create: false,
        memory,
        knownEndSequence,
      } as const;
      const { progress, notes } = await this.workers.proxy(workerIndex).control(open);
      for (const reason of notes) {
        this.#logger.warn(EventName.StreamRecovered, { stream: definition.name, streamId, reason });
      }
      if (progress !== undefined) entry.progress = progress;
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
        this.workers.unplace(workerIndex);
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

  async #reopen(workerIndex: number): Promise<void> {
    const entries = [...this.catalog.entries].filter(
      (entry) => entry.workerIndex === workerIndex && entry.lifecycle === "recovering",
    );
    await Promise.all(entries.map((entry) => this.#open(entry)));
  }
}
