import type { Clock } from "../core/clock.ts";
import { MillraceError } from "../core/errors.ts";
import { ringQueuedBytesMax } from "../core/limits.ts";
import { MESSAGE_LENGTH_BYTES } from "../core/message-framing.ts";
import type { LedgerChange, LedgerSnapshot } from "../core/stream-ledger.ts";
import { AdaptiveSpin } from "../ring/adaptive-spin.ts";
import { Doorbell } from "../ring/doorbell.ts";
import { RingCounter, allocateRing } from "../ring/ring-layout.ts";
import { RingReader } from "../ring/ring-reader.ts";
import { RingSender } from "../ring/ring-sender.ts";
import { RingWriter } from "../ring/ring-writer.ts";
import type { StoredDefinition } from "./definition-file.ts";
import { PendingRequests, type StreamRequest } from "./pending-requests.ts";
import {
  APPENDED_ENTRY_BYTES,
  APPENDED_FLAG_REPEAT,
  APPENDED_HEAD_BYTES,
  APPEND_FLAG_PRODUCER,
  APPEND_HEAD_BYTES,
  APPEND_PRODUCER_BYTES,
  CANCEL_BYTES,
  CREDIT_BYTES,
  type ControlReply,
  type ControlBody,
  DownRecord,
  type MemoryChunk,
  READ_BYTES,
  SUBSCRIBE_BYTES,
  type StreamFacts,
  type StreamProgress,
  type StreamWorkerData,
  type StreamWorkerSettings,
  UpRecord,
  decodeFailed,
  decodeLoss,
  decodeProgress,
} from "./stream-channel.ts";
import type { HandledSlot } from "./handled-slot.ts";
import type { RecoveryNote } from "./recovery-notes.ts";
import { decodeGap, decodeRecords } from "./records-decoder.ts";
import type { StartStreamThread, StreamThread } from "./stream-thread.ts";

export interface StreamProxyOptions {
  readonly workerIndex: number;
  readonly ringBytes: number;
  readonly mainDoorbell: Doorbell;
  readonly handledSlot: HandledSlot;
  readonly settings: StreamWorkerSettings;
  readonly memoryBudget: SharedArrayBuffer;
  readonly clock: Clock;
  readonly startThread: StartStreamThread;
  /** The worker answered while this thread looked: drain it now. */
  readonly onAnswer: () => void;
  readonly onProgress: (slot: number, progress: StreamProgress) => void;
  /** Comes before the progress that includes it. */
  readonly onLoss: (slot: number, change: LedgerChange) => void;
  readonly onFacts: (slot: number, facts: StreamFacts) => void;
  readonly onMemoryChunk: (chunk: MemoryChunk) => void;
  readonly onMemoryUnlink: (path: string) => void;
  readonly onMemoryRename: (source: string, target: string) => void;
  /** The worker is gone and everything unanswered was told so. Not called after `close`. */
  readonly onDeath: (error: Error | undefined) => void;
}

export interface ControlDone {
  readonly progress: StreamProgress | undefined;
  readonly ledger: LedgerSnapshot | undefined;
  readonly facts: StreamFacts | undefined;
  readonly notes: readonly RecoveryNote[];
  readonly stored: StoredDefinition | undefined;
}

/** What the worker is told of a batch, beside whose it is. */
interface AppendHead {
  readonly slot: number;
  readonly flags: number;
  readonly rawBytes: number;
  readonly messageCount: number;
}

/** Requests under way with which a client may be waiting for each. */
const AWAITED_COUNT_MAX = 2;
/** Up-ring bytes handled per call, so that sockets get their turn. */
const DRAIN_BYTES_MAX = 1024 * 1024;

/** The main thread's half of one stream worker: sends requests down, hands what comes up to whoever asked. */
export class StreamProxy {
  readonly pending = new PendingRequests();
  readonly #options: StreamProxyOptions;
  readonly #spin: AdaptiveSpin;
  readonly #thread: StreamThread;
  readonly #workerDoorbell = new Doorbell();
  readonly #down: RingSender;
  readonly #up: RingReader;
  readonly #controls = new Map<
    number,
    { resolve: (done: ControlDone) => void; reject: (error: Error) => void }
  >();
  /** With the producer's fields; one view each for a batch without and for a single message with its length. */
  readonly #head = Buffer.alloc(APPEND_HEAD_BYTES + APPEND_PRODUCER_BYTES);
  readonly #plainHead = this.#head.subarray(0, APPEND_HEAD_BYTES);
  readonly #framedHead = this.#head.subarray(0, APPEND_HEAD_BYTES + MESSAGE_LENGTH_BYTES);
  #nextControlId = 1;
  #isRingDue = false;
  #askedMs = 0;
  #isClosing = false;
  #isDead = false;
  /** Called when the down ring has taken everything, or never will. */
  #onFlushed: () => void = () => undefined;
  #onExited: () => void = () => undefined;

  constructor(options: StreamProxyOptions) {
    this.#options = options;
    this.#spin = new AdaptiveSpin(options.clock);
    const downRing = allocateRing(options.ringBytes);
    const upRing = allocateRing(options.ringBytes);
    this.#down = new RingSender(new RingWriter(downRing, { ring: () => this.#ringAtEndOfTurn() }));
    this.#up = new RingReader(upRing, this.#workerDoorbell);
    const workerData: StreamWorkerData = {
      workerIndex: options.workerIndex,
      downRing,
      upRing,
      workerDoorbell: this.#workerDoorbell.memory,
      mainDoorbell: options.mainDoorbell.memory,
      handledSlot: options.handledSlot.memory,
      memoryBudget: options.memoryBudget,
      settings: options.settings,
    };
    this.#thread = options.startThread(workerData, {
      onReply: (message) => this.#onControlReply(message),
      onExit: (failure) => this.#onExit(failure),
    });
  }

  /** Whether the ring takes requests; false means that `onRoom` work waits for the worker. */
  get isClear(): boolean {
    return this.#down.isClear;
  }

  /** @throws {MillraceError} SERVER_BUSY when too much waits for the ring already */
  assertRoom(): void {
    const { queuedBytes } = this.#down;
    if (queuedBytes <= ringQueuedBytesMax(this.#options.ringBytes)) return;
    throw new MillraceError("SERVER_BUSY", `${queuedBytes} bytes wait for the stream's worker: retry`);
  }

  /** For a last look before sleep: something came up, or the ring has room that rang the doorbell before it was armed. */
  hasWork(): boolean {
    return this.hasUpward || (!this.#down.isClear && this.#down.flush());
  }

  get hasUpward(): boolean {
    return !this.#up.isEmpty;
  }

  /** For metrics. */
  get downRingFigures(): {
    usedBytes: number;
    capacityBytes: number;
    stallCount: number;
    wakeUpCount: number;
  } {
    const { writer } = this.#down;
    return {
      usedBytes: writer.usedBytes,
      capacityBytes: this.#options.ringBytes,
      stallCount: writer.counter(RingCounter.Stalls),
      wakeUpCount: this.#workerDoorbell.wakeUpCount,
    };
  }

  /** Sends framed messages. `batch` is copied. @returns false when the ring is full and the source should stop. */
  append(
    request: StreamRequest,
    to: AppendHead & { producerId: number; producerSequence: number },
    batch: Uint8Array,
  ): boolean {
    this.#writeAppendHead(this.pending.add(request), to);
    if ((to.flags & APPEND_FLAG_PRODUCER) === 0) {
      return this.#down.send(DownRecord.Append, this.#plainHead, batch);
    }
    this.#head.writeDoubleLE(to.producerId, APPEND_HEAD_BYTES);
    this.#head.writeDoubleLE(to.producerSequence, APPEND_HEAD_BYTES + 8);
    return this.#down.send(DownRecord.Append, this.#head, batch);
  }

  /** Sends one message, framing it on the way. */
  appendOne(request: StreamRequest, slot: number, payload: Uint8Array): boolean {
    const rawBytes = MESSAGE_LENGTH_BYTES + payload.length;
    this.#writeAppendHead(this.pending.add(request), { slot, flags: 0, rawBytes, messageCount: 1 });
    this.#head.writeUInt32LE(payload.length, APPEND_HEAD_BYTES);
    return this.#down.send(DownRecord.Append, this.#framedHead, payload);
  }

  read(
    request: StreamRequest,
    what: {
      slot: number;
      fromSequence: number;
      min: number;
      max: number;
      bytesMax: number;
      timeoutMs: number;
    },
  ): number {
    const token = this.pending.add(request);
    const record = Buffer.alloc(READ_BYTES);
    record.writeUInt32LE(token, 0);
    record.writeUInt32LE(what.slot, 4);
    record.writeDoubleLE(what.fromSequence, 8);
    record.writeUInt32LE(what.min, 16);
    record.writeUInt32LE(what.max, 20);
    record.writeUInt32LE(what.bytesMax, 24);
    record.writeUInt32LE(what.timeoutMs, 28);
    this.#down.send(DownRecord.Read, record);
    return token;
  }

  subscribe(
    request: StreamRequest,
    what: { slot: number; fromSequence: number; creditBytes: number },
  ): number {
    const token = this.pending.add(request);
    const record = Buffer.alloc(SUBSCRIBE_BYTES);
    record.writeUInt32LE(token, 0);
    record.writeUInt32LE(what.slot, 4);
    record.writeDoubleLE(what.fromSequence, 8);
    record.writeUInt32LE(what.creditBytes, 16);
    this.#down.send(DownRecord.Subscribe, record);
    return token;
  }

  credit(token: number, bytes: number): void {
    const record = Buffer.alloc(CREDIT_BYTES);
    record.writeUInt32LE(token, 0);
    record.writeUInt32LE(bytes, 4);
    this.#down.send(DownRecord.Credit, record);
  }

  /** Ends a read or subscription whose asker is gone; what is on its way up for it is dropped. */
  cancel(token: number): void {
    const record = Buffer.alloc(CANCEL_BYTES);
    record.writeUInt32LE(token, 0);
    this.pending.abandon(token);
    this.#down.send(DownRecord.Cancel, record);
  }

  /** Asks the worker something over its port. @throws {MillraceError} what the worker answered, or UNKNOWN_OUTCOME if it died */
  control(body: ControlBody): Promise<ControlDone> {
    if (this.#isDead) return Promise.reject(workerDied());
    const id = this.#nextControlId++;
    return new Promise((resolve, reject) => {
      this.#controls.set(id, { resolve, reject });
      this.#thread.post({ ...body, id });
      // A worker asleep on its doorbell sees no port messages.
      this.#workerDoorbell.ringAlways();
    });
  }

  /** Hands out what the worker sent, up to a bound. @returns true when the down ring has room again for those who wait. */
  drain(): boolean {
    const readBytes = this.#up.read(this.#onRecord, DRAIN_BYTES_MAX);
    if (readBytes > 0 && this.#askedMs !== 0) {
      this.#spin.observe(this.#options.clock.monotonicMs() - this.#askedMs);
      this.#askedMs = 0;
    }
    const isClear = this.#down.flush();
    if (isClear) this.#onFlushed();
    return isClear;
  }

  /**
   * Commits and syncs everything that was sent, hands out the answers, then ends the thread. Call `drain` as before until it
   * resolves. @throws {MillraceError} what the worker answered, or UNKNOWN_OUTCOME if it died
   */
  async close(): Promise<void> {
    this.#isClosing = true;
    if (this.#isDead) return;
    const exited = new Promise<void>((resolve) => (this.#onExited = resolve));
    const flushed = new Promise<void>((resolve) => (this.#onFlushed = resolve));
    if (!this.#down.flush()) await flushed;
    try {
      await this.control({ kind: "close" });
    } finally {
      await exited;
    }
  }

  /** Ends the thread at once; for a worker that does not answer. */
  async terminate(): Promise<void> {
    await this.#thread.terminate();
  }

  /**
   * A chunk from a socket holds hundreds of small frames. A worker awake sees each of them at once; one asleep is woken when
   * all of them are in the ring, by one system call, and makes one block of them.
   */
  #ringAtEndOfTurn(): void {
    if (this.#isRingDue) return;
    this.#isRingDue = true;
    queueMicrotask(() => {
      this.#isRingDue = false;
      this.#workerDoorbell.ring();
      this.#awaitAnswer();
    });
  }

  /** A lone request is often answered sooner than this thread could be woken for it. */
  #awaitAnswer(): void {
    if (this.pending.count > AWAITED_COUNT_MAX) return;
    this.#askedMs = this.#options.clock.monotonicMs();
    if (this.#spin.poll(this.#hasUpward)) this.#options.onAnswer();
  }

  readonly #hasUpward = (): boolean => !this.#up.isEmpty;

  #writeAppendHead(token: number, to: AppendHead): void {
    const head = this.#head;
    head.writeUInt32LE(token, 0);
    head.writeUInt32LE(to.slot, 4);
    head.writeUInt32LE(to.flags, 8);
    head.writeUInt32LE(to.rawBytes, 12);
    head.writeUInt32LE(to.messageCount, 16);
  }

  readonly #onRecord = (type: number, bytes: Buffer, start: number, end: number): void => {
    switch (type as UpRecord) {
      case UpRecord.Appended:
        this.#onAppended(bytes, start);
        return;
      case UpRecord.Failed: {
        const { token, error } = decodeFailed(bytes, start, end);
        this.pending.take(token)?.onFailed(error);
        return;
      }
      case UpRecord.Records: {
        const records = decodeRecords(bytes, start, end);
        const request = records.isLast ? this.pending.take(records.token) : this.pending.get(records.token);
        request?.onRecords?.(records);
        return;
      }
      case UpRecord.Gap: {
        const gap = decodeGap(bytes, start);
        this.pending.get(gap.token)?.onGap?.(gap);
        return;
      }
      case UpRecord.Progress:
        this.#options.onProgress(bytes.readUInt32LE(start), decodeProgress(bytes, start));
        return;
      case UpRecord.Loss:
        this.#options.onLoss(bytes.readUInt32LE(start), decodeLoss(bytes, start));
        return;
    }
  };

  #onAppended(bytes: Buffer, start: number): void {
    const end = start + APPENDED_HEAD_BYTES + bytes.readUInt32LE(start) * APPENDED_ENTRY_BYTES;
    for (let at = start + APPENDED_HEAD_BYTES; at < end; at += APPENDED_ENTRY_BYTES) {
      const isRepeat = (bytes.readUInt32LE(at + 4) & APPENDED_FLAG_REPEAT) !== 0;
      this.pending.take(bytes.readUInt32LE(at))?.onAppended?.(bytes.readDoubleLE(at + 8), isRepeat);
    }
  }

  #onControlReply(message: ControlReply): void {
    if (message.kind === "memory-chunk") {
      this.#options.onMemoryChunk(message.chunk);
    } else if (message.kind === "memory-unlink") {
      this.#options.onMemoryUnlink(message.path);
    } else if (message.kind === "facts") {
      this.#options.onFacts(message.slot, message.facts);
    } else if (message.kind === "memory-rename") {
      this.#options.onMemoryRename(message.source, message.target);
    } else {
      const asker = this.#controls.get(message.id);
      this.#controls.delete(message.id);
      if (message.kind === "failed") asker?.reject(new MillraceError(message.code, message.text));
      else {
        const { progress, ledger, facts, notes, stored } = message;
        asker?.resolve({ progress, ledger, facts, notes, stored });
      }
    }
  }

  #onExit(failure: Error | undefined): void {
    this.#isDead = true;
    this.#onFlushed();
    // What the worker finished before it died is told as it was; only the rest is in doubt.
    while (this.hasUpward) this.#up.read(this.#onRecord, DRAIN_BYTES_MAX);
    const error = workerDied();
    for (const asker of this.#controls.values()) asker.reject(error);
    this.#controls.clear();
    this.pending.failAll(error);
    this.#onExited();
    if (!this.#isClosing) this.#options.onDeath(failure);
  }
}

function workerDied(): MillraceError {
  return new MillraceError("UNKNOWN_OUTCOME", "The stream's worker ended before it answered");
}
