import { unreachable } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { MillraceError, asMillraceError, systemCode } from "../core/errors.ts";
import { HELD_POLL_MS } from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import { Persistence, type StreamDefinition } from "../core/stream-definition.ts";
import { writeDurableFile } from "../log/durable-file.ts";
import type { LogPolicy } from "../log/log-policy.ts";
import type { SharedFile } from "../log/shared-memory-storage.ts";
import type { Storage } from "../log/storage.ts";
import { destroyStreamDirectory } from "../log/stream-deletion.ts";
import { StreamLog } from "../log/stream-log.ts";
import type { RingReader } from "../ring/ring-reader.ts";
import type { RingSender } from "../ring/ring-sender.ts";
import { AppendStage } from "./append-stage.ts";
import { definitionPath, encodeDefinition } from "./definition-file.ts";
import type { OpenStream } from "./open-stream.ts";
import { ReadStage } from "./read-stage.ts";
import {
  APPEND_HEAD_BYTES,
  type ControlReply,
  type ControlRequest,
  DownRecord,
  type StreamProgress,
  StreamState,
  type StreamWorkerSettings,
} from "./stream-channel.ts";
import { recoveryNotes } from "./recovery-notes.ts";
import { makeStreamDirectory } from "./store-directory.ts";
import { UpSender } from "./up-sender.ts";

/** Ring bytes handled before reads, pushes and control get their turn. */
const SLICE_BYTES_MAX = 256 * 1024;
const TICK_INTERVAL_MS = 100;
const TRICKLE_BYTES_MAX = 4096;

export interface StreamAgentOptions {
  readonly down: RingReader;
  readonly up: RingSender;
  /** Called after whatever was written to `up`; wakes the main thread if it sleeps. */
  readonly wakeMain: () => void;
  readonly reply: (message: ControlReply) => void;
  /** For File streams. */
  readonly storage: Storage;
  /** For a Memory stream; `files` is what a dead worker left of it. */
  readonly memoryStorage: (files: readonly SharedFile[]) => Storage;
  readonly clock: Clock;
  readonly random: Random;
  readonly settings: StreamWorkerSettings;
}

/** An end that was asked for and waits for the last outcomes. */
interface Closing {
  readonly id: number;
  /** Streams whose last sync runs; undefined before they were asked. */
  unsyncedCount: number | undefined;
  failure: MillraceError | undefined;
}

/** The work of one stream worker in bounded slices, without a thread: owns the logs of its streams and nothing else does. */
export class StreamAgent {
  readonly #options: StreamAgentOptions;
  readonly #streams: (OpenStream | undefined)[] = [];
  readonly #up: UpSender;
  readonly #appends: AppendStage;
  readonly #reads: ReadStage;
  /** Called once when the next sync of a flushOnWrite stream ends; set by whoever sleeps meanwhile. */
  onSyncSettled: (() => void) | undefined;
  #sliceMs = 0;
  #lastInputBytes = 0;
  #nextTickMs = 0;
  #closing: Closing | undefined;
  #isClosed = false;

  constructor(options: StreamAgentOptions) {
    this.#options = options;
    this.#up = new UpSender(options.up, {
      beforeOutcomes: () => this.#tellProgress(),
      wakeReader: options.wakeMain,
    });
    this.#appends = new AppendStage({
      up: this.#up,
      blockBytes: options.settings.blockBytes,
      onSyncSettled: () => this.onSyncSettled?.(),
    });
    this.#reads = new ReadStage({ up: this.#up, clock: options.clock });
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * Whether there is something to do, for a last look before sleep. What could not be sent is tried again here: room that was
   * made before the doorbell was armed rang it in vain.
   */
  hasInput(): boolean {
    if (!this.#up.isClear) return this.#up.flush();
    // Outcomes of a sync that ended since the last slice.
    if (this.#up.isFlushDue || this.#isClosed) return true;
    return !this.#options.down.isEmpty && !this.#appends.isHoldingTooMuch;
  }

  /** Whether the last input was little, as from clients that await each append. */
  get isTrickling(): boolean {
    return this.#lastInputBytes < TRICKLE_BYTES_MAX;
  }

  /** Whether a sync runs beside this thread, so that its event loop must turn. */
  get isSyncing(): boolean {
    return this.#streams.some((stream) => stream?.log.isSyncing === true);
  }

  /** One slice: append what arrived, commit, answer reads, tell progress. @returns whether there may be more to do at once. */
  doWork(): boolean {
    const { down, clock } = this.#options;
    this.#sliceMs = clock.nowMs();
    // With replies waiting, no more requests are taken: what waits stays bounded by what was asked for.
    const isClear = this.#up.flush();
    this.#appends.releaseHeld(this.#sliceMs);
    const mayRead = isClear && !this.#appends.isHoldingTooMuch;
    const consumedBytes = mayRead ? down.read(this.#onRecord, SLICE_BYTES_MAX) : 0;
    if (consumedBytes > 0) this.#lastInputBytes = consumedBytes;
    this.#appends.commitAll();
    if (clock.monotonicMs() >= this.#nextTickMs) this.#tick();
    const hasServed = this.#closing === undefined && this.#reads.serve();
    if (this.#up.isClear) this.#tellProgress();
    this.#up.flush();
    if (this.#closing !== undefined) this.#goOnClosing(this.#closing);
    return consumedBytes > 0 || hasServed;
  }

  /** Milliseconds this agent may sleep when `doWork` had nothing to do and nobody rings. */
  idleMs(): number {
    const untilTick = this.#nextTickMs - this.#options.clock.monotonicMs();
    const untilPoll = this.#appends.isHolding ? HELD_POLL_MS : Infinity;
    return Math.max(0, Math.min(untilTick, untilPoll, this.#reads.nextDeadlineMs()));
  }

  onControl(request: ControlRequest): void {
    try {
      this.#handleControl(request);
    } catch (thrown) {
      const error = asMillraceError(thrown);
      this.#options.reply({ kind: "failed", id: request.id, code: error.code, text: error.message });
    }
  }

  #handleControl(request: ControlRequest): void {
    switch (request.kind) {
      case "open":
        this.#open(request);
        return;
      case "destroy":
        this.#destroy(request);
        return;
      case "sync":
        this.#stream(request.slot).log.sync((error) => this.#replyDone(request.id, error, request.slot));
        return;
      case "close":
        this.#close(request.id);
        return;
      default:
        unreachable(request);
    }
  }

  #open(request: Extract<ControlRequest, { kind: "open" }>): void {
    const { definition, directory, streamId, create } = request;
    const { storage: fileStorage, memoryStorage, clock, random, settings } = this.#options;
    const isMemory = definition.persistence === Persistence.Memory;
    const storage = isMemory ? memoryStorage(request.memory) : fileStorage;
    const { knownEndSequence } = request;
    const base = { storage, directory, streamId, epoch: settings.epoch, clock, random, knownEndSequence };
    const options = { ...base, policy: policyOf(definition, settings) };
    let log: StreamLog;
    const notes: string[] = [];
    if (create) {
      log = StreamLog.create(options);
      if (isMemory) makeStreamDirectory(fileStorage, directory);
      writeDurableFile(fileStorage, definitionPath(directory), encodeDefinition(definition));
    } else if (!isThere(fileStorage, directory)) {
      throw new MillraceError("STREAM_NOT_FOUND", `The directory of stream "${definition.name}" is gone`);
    } else if (isMemory && request.memory.length === 0) {
      // After a restart of the process a Memory stream is there again, empty, and numbers from 0.
      log = StreamLog.create(options);
    } else {
      const opened = StreamLog.open(options);
      log = opened.log;
      notes.push(...recoveryNotes(opened.recovery));
    }
    this.#streams[request.slot] = {
      slot: request.slot,
      directory,
      isMemory,
      name: definition.name,
      log,
      flushOnWrite: definition.flushOnWrite && !isMemory,
      builder: undefined,
      gathered: [],
      gatheredCostBytes: 0,
      held: [],
      waiting: [],
      isSyncing: false,
      isProgressDue: false,
      told: progressOf(log),
    };
    this.#options.reply({ kind: "done", id: request.id, progress: progressOf(log), notes });
  }

  #destroy(request: Extract<ControlRequest, { kind: "destroy" }>): void {
    const stream = this.#stream(request.slot);
    this.#appends.commit(stream);
    this.#appends.refuseHeld(stream, new MillraceError("STREAM_NOT_FOUND", "The stream was deleted"));
    this.#reads.endStream(stream);
    this.#streams[request.slot] = undefined;
    stream.log.destroy();
    if (stream.isMemory) destroyStreamDirectory(this.#options.storage, stream.directory);
    this.#options.reply({ kind: "done", id: request.id, notes: [] });
  }

  /** Nothing more is sent down after this: what lies in the ring is committed and answered before the thread ends. */
  #close(id: number): void {
    this.#closing = { id, unsyncedCount: undefined, failure: undefined };
    this.doWork();
  }

  #goOnClosing(closing: Closing): void {
    const open = this.#streams.filter((stream) => stream !== undefined);
    for (const stream of open) {
      // A sync that its held batches wait for may never come.
      if (stream.log.state === "ok") continue;
      this.#appends.refuseHeld(stream, new MillraceError("SHUTTING_DOWN", "The engine is stopping"));
    }
    const owesOutcomes = open.some((stream) => this.#appends.owesOutcomes(stream));
    if (this.#hasClosed() || owesOutcomes || !this.#options.down.isEmpty) return;
    if (closing.unsyncedCount === undefined) {
      closing.unsyncedCount = open.length;
      for (const stream of open) this.#syncBeforeClose(stream, closing);
    }
    // The main thread takes what fills the ring and wakes this one, which would take it along unsent.
    if (this.#hasClosed() || closing.unsyncedCount > 0 || !this.#up.flush()) return;
    for (const stream of open) stream.log.close();
    this.#isClosed = true;
    this.#replyDone(closing.id, closing.failure);
  }

  /** A sync that ends at once closes from within. */
  #hasClosed(): boolean {
    return this.#isClosed;
  }

  #syncBeforeClose(stream: OpenStream, closing: Closing): void {
    stream.log.sync((error) => {
      closing.failure ??= error;
      closing.unsyncedCount! -= 1;
      this.#goOnClosing(closing);
      this.onSyncSettled?.();
    });
  }

  #replyDone(id: number, error: MillraceError | undefined, slot?: number): void {
    if (error !== undefined) {
      this.#options.reply({ kind: "failed", id, code: error.code, text: error.message });
      return;
    }
    const stream = slot === undefined ? undefined : this.#streams[slot];
    const progress = stream === undefined ? undefined : progressOf(stream.log);
    this.#options.reply({ kind: "done", id, notes: [], ...(progress === undefined ? {} : { progress }) });
  }

  #stream(slot: number): OpenStream {
    const stream = this.#streams[slot];
    if (stream === undefined) throw new MillraceError("STREAM_NOT_FOUND", `No stream in slot ${slot}`);
    return stream;
  }

  readonly #onRecord = (type: number, bytes: Buffer, start: number, end: number): void => {
    const token = bytes.readUInt32LE(start);
    if (type === DownRecord.Credit) this.#reads.credit(token, bytes.readUInt32LE(start + 4));
    else if (type === DownRecord.Cancel) this.#reads.cancel(token);
    else this.#onStreamRecord(type as DownRecord, token, { bytes, start, end });
  };

  #onStreamRecord(
    type: DownRecord,
    token: number,
    record: { bytes: Buffer; start: number; end: number },
  ): void {
    const { bytes, start, end } = record;
    const slot = bytes.readUInt32LE(start + 4);
    const stream = this.#streams[slot];
    if (stream === undefined) {
      this.#up.failed(token, new MillraceError("STREAM_NOT_FOUND", "The stream was deleted"));
    } else if (type === DownRecord.Append) {
      const request = {
        token,
        flags: bytes.readUInt32LE(start + 8),
        rawBytes: bytes.readUInt32LE(start + 12),
        messageCount: bytes.readUInt32LE(start + 16),
        bytes,
        start: start + APPEND_HEAD_BYTES,
        end,
      };
      this.#appends.gather(stream, request, this.#sliceMs);
    } else if (type === DownRecord.Read) {
      this.#reads.read(stream, {
        token,
        fromSequence: bytes.readDoubleLE(start + 8),
        messageCountMin: bytes.readUInt32LE(start + 16),
        messageCountMax: bytes.readUInt32LE(start + 20),
        bytesMax: bytes.readUInt32LE(start + 24),
        timeoutMs: bytes.readUInt32LE(start + 28),
      });
    } else {
      const fromSequence = bytes.readDoubleLE(start + 8);
      this.#reads.subscribe(stream, { token, fromSequence, creditBytes: bytes.readUInt32LE(start + 16) });
    }
  }

  #tick(): void {
    this.#nextTickMs = this.#options.clock.monotonicMs() + TICK_INTERVAL_MS;
    for (const stream of this.#streams) {
      if (stream === undefined) continue;
      stream.log.tick();
      if (hasMoved(stream)) stream.isProgressDue = true;
    }
  }

  /** A stream's numbers go out before the outcomes that they include, so that describe never lags behind an acknowledgement. */
  #tellProgress(): void {
    for (const stream of this.#streams) {
      if (stream?.isProgressDue !== true) continue;
      stream.isProgressDue = false;
      stream.told = progressOf(stream.log);
      this.#up.progress(stream.slot, stream.told);
    }
  }
}

function isThere(storage: Storage, directory: string): boolean {
  try {
    storage.list(directory);
    return true;
  } catch (thrown) {
    if (systemCode(thrown) === "ENOENT") return false;
    throw thrown;
  }
}

function progressOf(log: StreamLog): StreamProgress {
  const { oldestSequence, nextSequence, syncedEndSequence, totalBytes, storedBytes } = log;
  const state =
    log.state === "ok"
      ? StreamState.Ok
      : log.state === "read-only"
        ? StreamState.ReadOnly
        : StreamState.Fenced;
  return { state, oldestSequence, nextSequence, syncedEndSequence, totalBytes, storedBytes };
}

/** Whether retention or a sync of the log's own changed what the main thread was told last. */
function hasMoved({ log, told }: OpenStream): boolean {
  const { oldestSequence, syncedEndSequence, storedBytes, state } = progressOf(log);
  return (
    told.syncedEndSequence !== syncedEndSequence ||
    told.oldestSequence !== oldestSequence ||
    told.storedBytes !== storedBytes ||
    told.state !== state
  );
}

function policyOf(definition: StreamDefinition, settings: StreamWorkerSettings): LogPolicy {
  const isMemory = definition.persistence === Persistence.Memory;
  return {
    maxSize: definition.maxSize,
    segmentSize: definition.streamSegmentSize,
    strategyOnFull: definition.strategyOnFull,
    flushOnWrite: definition.flushOnWrite && !isMemory,
    commitAlignBytes: isMemory ? 0 : settings.commitAlignBytes,
    syncBytesMax: settings.syncBytes,
    syncIntervalMs: settings.syncIntervalMs,
    ...(definition.timeToLiveMillis === undefined ? {} : { timeToLiveMs: definition.timeToLiveMillis }),
  };
}
