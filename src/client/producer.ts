import { asMillraceError, MillraceError } from "../core/errors.ts";
import {
  APPEND_BATCH_BYTES_MAX,
  APPEND_BATCH_MESSAGES_MAX,
  CLIENT_BATCH_BYTES_DEFAULT,
  CLIENT_IN_FLIGHT_BATCHES_DEFAULT,
  CLIENT_IN_FLIGHT_BATCHES_MAX,
  CLIENT_IN_FLIGHT_BYTES_MAX,
  CLIENT_REQUEST_TIMEOUT_MS,
  CLIENT_WAITING_APPENDS_MAX,
  MESSAGE_BYTES_MAX_DEFAULT,
} from "../core/limits.ts";
import { APPEND_BATCH_HEADER_BYTES, MESSAGE_LENGTH_BYTES } from "../wire/append-batch-layout.ts";
import { backoffMs } from "./backoff.ts";
import type { BatchOwner } from "./batch.ts";
import { Batch } from "./batch.ts";
import type { Environment } from "./environment.ts";
import { statusError } from "./status-error.ts";

export interface ProducerOptions {
  /** Messages are gathered up to this many bytes, lengths included: 1 KiB to 1 MiB, 64 KiB by default. */
  readonly batchBytes?: number;
  /** How long a batch that is not full waits for more; 0 sends it at the end of the current turn. 2 by default. */
  readonly lingerMs?: number;
  /** Batches that may be on their way unanswered, 16 by default; the bytes on their way are bounded as well, to 4 MiB. */
  readonly inFlightMax?: number;
  /**
   * Told of messages that the engine has refused for good and for which no promise waits. Without it the first refusal stops
   * the producer: the next `append` or `flush` throws it.
   */
  readonly onRejected?: (rejection: Rejection) => void;
}

export interface Rejection {
  readonly error: MillraceError;
  /** In order; the producer keeps no reference to them. */
  readonly messages: readonly Uint8Array[];
}

/** What a producer has done so far, in messages. */
export interface ProducerCounters {
  readonly appended: number;
  readonly acknowledged: number;
  readonly rejected: number;
  /** Messages sent again because their outcome was unknown: each may be stored twice. */
  readonly resent: number;
  readonly batches: number;
}

/** What a producer needs of its client. */
export interface ProducerLink {
  readonly environment: Environment;
  /** @throws {MillraceError} STREAM_NOT_FOUND, CONNECTION_CLOSED, … */
  openStream(name: string): Promise<{ readonly handle: number }>;
  /** Sends under a fresh request id; the answer comes to the batch's owner unless the connection breaks first. */
  sendBatch(batch: Batch, handle: number): void;
  /** Gives up the present connection and makes a new one. */
  dropConnection(reason: string): void;
  release(producer: Producer): void;
}

const BATCH_BYTES_MIN = 1024;
const LINGER_MS_DEFAULT = 2;
const LINGER_MS_MAX = 60_000;
/** Answers after which the same batch may succeed: it is sent again. */
const resendCodes = new Set(["UNKNOWN_OUTCOME", "SERVER_BUSY", "UNKNOWN_HANDLE"]);

/** An append for which there is no room yet. */
interface Waiting {
  /** Takes the messages in if there is room now. */
  tryPlace(): boolean;
  reject(error: Error): void;
}

interface FlushWaiter {
  /** Resolved when every batch up to this serial was answered. */
  readonly serial: number;
  resolve(): void;
}

const textEncoder = new TextEncoder();

/**
 * Appends to one stream at a high rate: messages are copied into batches, and a bounded window of batches is on its way.
 *
 * What was on its way when a connection broke, or was answered with "unknown outcome" or "busy", is sent again, in order, until
 * the engine says yes or no: every message is stored at least once, or reported. A message that the engine had stored before
 * the break is then stored twice; `counters.resent` says how many may be. A batch that is sent again over a connection that
 * did not break may come after batches that followed it.
 */
export class Producer implements BatchOwner {
  readonly stream: string;
  readonly #link: ProducerLink;
  readonly #batchBufferBytes: number;
  readonly #lingerMs: number;
  readonly #inFlightMax: number;
  readonly #onRejected: ((rejection: Rejection) => void) | undefined;

  /** Batch that takes messages now. */
  #filling: Batch | undefined;
  /** Sealed and not sent, in order of serial. */
  #queue: Batch[] = [];
  /** Sent and not answered. */
  readonly #inFlight = new Set<Batch>();
  /** Bytes of the batches in #queue and #inFlight. */
  #windowBytes = 0;
  readonly #freeBuffers: Uint8Array[] = [];
  #waiting: Waiting[] = [];
  #flushWaiters: FlushWaiter[] = [];

  #handle: number | undefined;
  #isOpening = false;
  #isConnected = false;
  /** The reason why nothing more is taken. */
  #failure: MillraceError | undefined;
  /** Nothing more is sent either. */
  #isOver = false;
  /** Counts connections, so that a handle that arrives late is not taken for one of the next connection. */
  #epoch = 0;
  #isClosed = false;
  #lastSerial = 0;
  #retryAttempt = 0;
  #answers = 0;
  #cancelLinger: (() => void) | undefined;
  #cancelRetry: (() => void) | undefined;
  #cancelAnswerTimer: (() => void) | undefined;
  #isSealScheduled = false;

  #appended = 0;
  #acknowledged = 0;
  #rejected = 0;
  #resent = 0;

  /** Use `client.producer()`. */
  constructor(link: ProducerLink, { stream, ...options }: ProducerOptions & { stream: string }) {
    this.#link = link;
    this.stream = stream;
    const batchBytes = inRange("batchBytes", options.batchBytes ?? CLIENT_BATCH_BYTES_DEFAULT, {
      min: BATCH_BYTES_MIN,
      max: APPEND_BATCH_BYTES_MAX,
    });
    this.#batchBufferBytes = APPEND_BATCH_HEADER_BYTES + batchBytes;
    this.#lingerMs = inRange("lingerMs", options.lingerMs ?? LINGER_MS_DEFAULT, {
      min: 0,
      max: LINGER_MS_MAX,
    });
    this.#inFlightMax = inRange("inFlightMax", options.inFlightMax ?? CLIENT_IN_FLIGHT_BATCHES_DEFAULT, {
      min: 1,
      max: CLIENT_IN_FLIGHT_BATCHES_MAX,
    });
    this.#onRejected = options.onRejected;
  }

  get counters(): ProducerCounters {
    return {
      appended: this.#appended,
      acknowledged: this.#acknowledged,
      rejected: this.#rejected,
      resent: this.#resent,
      batches: this.#lastSerial,
    };
  }

  /**
   * Takes one message, text as UTF-8. Returns undefined when it was copied, so that a loop pays for no promise; when the window
   * is full, a promise that resolves once it was copied: wait for it before the next append, and do not change the
   * payload until then. Taken does not mean stored: see `flush`.
   * @throws {MillraceError} the refusal that stopped the producer; INVALID_REQUEST, MESSAGE_TOO_LARGE, SERVER_BUSY
   */
  append(payload: Uint8Array | string): Promise<void> | undefined {
    const bytes = toBytes(payload);
    this.#checkUsable(bytes);
    if (this.#waiting.length === 0 && this.#reserve(bytes.length)) {
      this.#addToFilling(bytes);
      return undefined;
    }
    return new Promise((resolve, reject) => {
      this.#wait({
        tryPlace: () => {
          if (!this.#reserve(bytes.length)) return false;
          this.#addToFilling(bytes);
          resolve();
          return true;
        },
        reject,
      });
    });
  }

  /**
   * Appends one message and waits for its sequence number. Appends of one turn travel in one batch, without lingering.
   * @throws {MillraceError} what the engine answered
   */
  appendAwaited(payload: Uint8Array | string): Promise<number> {
    return new Promise((resolve, reject) => {
      const bytes = toBytes(payload);
      this.#checkUsable(bytes);
      this.#placeOrWait({
        tryPlace: () => {
          if (!this.#reserve(bytes.length)) return false;
          const filling = this.#addToFilling(bytes);
          filling.waiters.push({ index: filling.messageCount - 1, resolve, reject });
          this.#scheduleSeal();
          return true;
        },
        reject,
      });
    });
  }

  /**
   * Appends messages as one batch of their own, stored all or none, and waits for the sequence number of the first; the others
   * follow it. At most 16,384 messages and 1 MiB with 4 bytes for each.
   * @throws {MillraceError} what the engine answered
   */
  send(messages: readonly (Uint8Array | string)[]): Promise<number> {
    return new Promise((resolve, reject) => {
      const payloads = messages.map(toBytes);
      let payloadBytes = 0;
      for (const payload of payloads) {
        this.#checkUsable(payload);
        payloadBytes += payload.length;
      }
      const bufferBytes = Batch.bytesFor(payloadBytes, payloads.length);
      checkBatchSize(payloads.length, bufferBytes);
      this.#placeOrWait({
        tryPlace: () => {
          this.#seal();
          if (this.#isWindowFull()) return false;
          const batch = new Batch(this, new Uint8Array(bufferBytes));
          for (const payload of payloads) batch.add(payload);
          this.#appended += payloads.length;
          batch.waiters.push({ index: 0, resolve, reject });
          // The other messages hang on the same promise: a refusal is reported by it, not once more by onRejected.
          for (let index = 1; index < payloads.length; index++) batch.waiters.push(silentWaiter(index));
          this.#enqueue(batch);
          return true;
        },
        reject,
      });
    });
  }

  /**
   * Sends what was taken and resolves when all of it was answered.
   * @throws {MillraceError} the first refusal for which there was no promise and no `onRejected`
   */
  async flush(): Promise<void> {
    this.#seal();
    if (this.#queue.length > 0 || this.#inFlight.size > 0) {
      await new Promise<void>((resolve) => {
        this.#flushWaiters.push({ serial: this.#lastSerial, resolve });
      });
    }
    if (this.#failure) throw this.#failure;
  }

  /** Flushes and gives the producer up. @throws {MillraceError} as `flush` does; the producer is closed all the same */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    try {
      await this.flush();
    } finally {
      this.#stopTimers();
      this.#link.release(this);
    }
  }

  /** For the client: the stream is open on the present connection. */
  onOpened(handle: number): void {
    this.#isConnected = true;
    this.#handle = handle;
    this.#pump();
  }

  /** For the client: the connection is gone, and everything on its way with it. */
  onDisconnected(): void {
    this.#isConnected = false;
    this.#epoch++;
    this.#handle = undefined;
    this.#cancelAnswerTimer?.();
    this.#cancelAnswerTimer = undefined;
    this.#queue = [...this.#inFlight, ...this.#queue].sort((one, other) => one.serial - other.serial);
    this.#inFlight.clear();
  }

  /** For the client: there is a connection again. */
  onConnected(): void {
    this.#isConnected = true;
    this.#pump();
  }

  /** For the client: there will be no connection any more. */
  onClosed(error: MillraceError): void {
    this.onDisconnected();
    this.#fail(error);
  }

  /** For the client: the engine's answer to one batch. */
  onResult(batch: Batch, status: number, firstSequence: number, errorMessage: string): void {
    this.#inFlight.delete(batch);
    this.#answers++;
    if (status === 0) {
      this.#retryAttempt = 0;
      this.#acknowledged += batch.messageCount;
      for (const waiter of batch.waiters) waiter.resolve(firstSequence + waiter.index);
      this.#settle(batch);
      this.#recycle(batch);
    } else {
      const error = statusError(status, errorMessage);
      if (resendCodes.has(error.code)) this.#resend(batch, error);
      else this.#reject(batch, error);
    }
    this.#pump();
    this.#admitWaiting();
  }

  #checkUsable(payload: Uint8Array): void {
    if (this.#failure) throw this.#failure;
    if (this.#isClosed) {
      throw new MillraceError("INVALID_REQUEST", `Cannot append to "${this.stream}": the producer is closed`);
    }
    if (payload.length === 0) {
      throw new MillraceError("INVALID_REQUEST", `Cannot append to "${this.stream}": a message of 0 bytes`);
    }
    if (payload.length > MESSAGE_BYTES_MAX_DEFAULT) {
      throw new MillraceError(
        "MESSAGE_TOO_LARGE",
        `Cannot append to "${this.stream}": a message of ${payload.length} bytes, the maximum is ${MESSAGE_BYTES_MAX_DEFAULT}`,
      );
    }
  }

  #isWindowFull(): boolean {
    return (
      this.#queue.length + this.#inFlight.size >= this.#inFlightMax ||
      this.#windowBytes >= CLIENT_IN_FLIGHT_BYTES_MAX
    );
  }

  /** Makes the batch that is being filled one with room for the message. @returns false when the window is full */
  #reserve(payloadBytes: number): boolean {
    const filling = this.#filling;
    if (filling?.hasRoom(payloadBytes) && filling.messageCount < APPEND_BATCH_MESSAGES_MAX) return true;
    this.#seal();
    if (this.#isWindowFull()) return false;
    this.#filling = new Batch(this, this.#takeBuffer(Batch.bytesFor(payloadBytes, 1)));
    return true;
  }

  #takeBuffer(bytes: number): Uint8Array {
    if (bytes > this.#batchBufferBytes) return new Uint8Array(bytes);
    return this.#freeBuffers.pop() ?? new Uint8Array(this.#batchBufferBytes);
  }

  #addToFilling(payload: Uint8Array): Batch {
    const filling = this.#filling!;
    filling.add(payload);
    this.#appended++;
    if (filling.messageCount === 1) this.#startLinger();
    return filling;
  }

  #startLinger(): void {
    if (this.#lingerMs === 0) {
      this.#scheduleSeal();
      return;
    }
    this.#cancelLinger = this.#link.environment.after(this.#lingerMs, () => {
      this.#cancelLinger = undefined;
      this.#seal();
    });
  }

  #scheduleSeal(): void {
    if (this.#isSealScheduled) return;
    this.#isSealScheduled = true;
    queueMicrotask(() => {
      this.#isSealScheduled = false;
      this.#seal();
    });
  }

  #seal(): void {
    const filling = this.#filling;
    if (!filling || filling.messageCount === 0) return;
    this.#filling = undefined;
    this.#cancelLinger?.();
    this.#cancelLinger = undefined;
    this.#enqueue(filling);
  }

  #enqueue(batch: Batch): void {
    batch.serial = ++this.#lastSerial;
    this.#windowBytes += batch.usedBytes;
    this.#queue.push(batch);
    this.#pump();
  }

  /** Sends what may be sent. */
  #pump(): void {
    if (!this.#isConnected || this.#cancelRetry || this.#isOver) return;
    if (this.#handle === undefined) {
      if (this.#queue.length > 0) void this.#open();
      return;
    }
    while (this.#queue.length > 0 && this.#inFlight.size < this.#inFlightMax) {
      const batch = this.#queue.shift()!;
      if (batch.sentCount++ > 0) this.#resent += batch.messageCount;
      this.#inFlight.add(batch);
      this.#link.sendBatch(batch, this.#handle);
    }
    if (this.#inFlight.size > 0) this.#startAnswerTimer();
  }

  /** Opens the stream on a new connection, or again after the engine has forgotten the handle. */
  async #open(): Promise<void> {
    if (this.#isOpening) return;
    this.#isOpening = true;
    const epoch = this.#epoch;
    try {
      const { handle } = await this.#link.openStream(this.stream);
      if (epoch === this.#epoch) this.#handle = handle;
    } catch (thrown) {
      const error = asMillraceError(thrown);
      // A broken connection is followed by onConnected, which comes back here.
      if (error.code === "CONNECTION_CLOSED") return;
      if (error.retryable) this.#retryLater();
      else this.#fail(error);
      return;
    } finally {
      this.#isOpening = false;
    }
    this.#pump();
  }

  #resend(batch: Batch, error: MillraceError): void {
    if (error.code === "UNKNOWN_HANDLE") this.#handle = undefined;
    const index = this.#queue.findIndex((queued) => queued.serial > batch.serial);
    this.#queue.splice(index < 0 ? this.#queue.length : index, 0, batch);
    this.#retryLater();
  }

  #retryLater(): void {
    if (this.#cancelRetry) return;
    const { environment } = this.#link;
    const delayMs = backoffMs(this.#retryAttempt++, environment.fraction());
    this.#cancelRetry = environment.after(delayMs, () => {
      this.#cancelRetry = undefined;
      this.#pump();
    });
  }

  /** A connection on which nothing is answered any more is as good as broken: a peer can vanish without a word. */
  #startAnswerTimer(): void {
    if (this.#cancelAnswerTimer) return;
    const answers = this.#answers;
    this.#cancelAnswerTimer = this.#link.environment.after(CLIENT_REQUEST_TIMEOUT_MS, () => {
      this.#cancelAnswerTimer = undefined;
      if (this.#inFlight.size === 0) return;
      if (answers === this.#answers) {
        this.#link.dropConnection(`no answer to an append within ${CLIENT_REQUEST_TIMEOUT_MS} ms`);
      } else {
        this.#startAnswerTimer();
      }
    });
  }

  /** Reports a batch that will not be sent again: to those who wait for it, else to onRejected, else by stopping. */
  #reject(batch: Batch, error: MillraceError): void {
    this.#rejected += batch.messageCount;
    const messages = batch.unawaitedMessages();
    // Whatever was taken before is still sent and answered; only new messages are refused.
    if (messages.length > 0 && !this.#onRejected) this.#failure ??= error;
    this.#settle(batch);
    for (const waiter of batch.waiters) waiter.reject(error);
    if (messages.length > 0) this.#onRejected?.({ error, messages });
    if (this.#failure) this.#refuseWaiting(this.#failure);
  }

  /** Nothing more will be sent: what is left is reported, each message once. */
  #fail(error: MillraceError): void {
    this.#failure ??= error;
    this.#isOver = true;
    this.#stopTimers();
    const filling = this.#filling;
    this.#filling = undefined;
    if (filling) this.#windowBytes += filling.usedBytes;
    const left = [...this.#inFlight, ...this.#queue, ...(filling ? [filling] : [])];
    this.#queue = [];
    this.#inFlight.clear();
    for (const batch of left) this.#reject(batch, error);
    this.#refuseWaiting(error);
  }

  #refuseWaiting(error: MillraceError): void {
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }

  #settle(batch: Batch): void {
    this.#windowBytes -= batch.usedBytes;
    if (this.#flushWaiters.length === 0) return;
    let lowest = Infinity;
    for (const { serial } of this.#inFlight) lowest = Math.min(lowest, serial);
    for (const { serial } of this.#queue) lowest = Math.min(lowest, serial);
    const done = this.#flushWaiters.filter((waiter) => waiter.serial < lowest);
    if (done.length === 0) return;
    this.#flushWaiters = this.#flushWaiters.filter((waiter) => waiter.serial >= lowest);
    for (const waiter of done) waiter.resolve();
  }

  #recycle(batch: Batch): void {
    const isUsual = batch.buffer.length === this.#batchBufferBytes;
    if (isUsual && this.#freeBuffers.length <= this.#inFlightMax) this.#freeBuffers.push(batch.buffer);
  }

  #placeOrWait(waiting: Waiting): void {
    if (this.#waiting.length > 0 || !waiting.tryPlace()) this.#wait(waiting);
  }

  #wait(waiting: Waiting): void {
    if (this.#waiting.length < CLIENT_WAITING_APPENDS_MAX) {
      this.#waiting.push(waiting);
      return;
    }
    waiting.reject(
      new MillraceError(
        "SERVER_BUSY",
        `Cannot append to "${this.stream}": ${this.#waiting.length} appends wait for room already; await append's promise`,
      ),
    );
  }

  #admitWaiting(): void {
    let placed = 0;
    while (placed < this.#waiting.length && this.#waiting[placed]!.tryPlace()) placed++;
    if (placed > 0) this.#waiting.splice(0, placed);
  }

  #stopTimers(): void {
    this.#cancelLinger?.();
    this.#cancelRetry?.();
    this.#cancelAnswerTimer?.();
    this.#cancelLinger = undefined;
    this.#cancelRetry = undefined;
    this.#cancelAnswerTimer = undefined;
  }
}

function toBytes(payload: Uint8Array | string): Uint8Array {
  return typeof payload === "string" ? textEncoder.encode(payload) : payload;
}

function silentWaiter(index: number) {
  return { index, resolve: () => undefined, reject: () => undefined };
}

function checkBatchSize(messageCount: number, bufferBytes: number): void {
  const rawSizeBytes = bufferBytes - APPEND_BATCH_HEADER_BYTES;
  if (messageCount < 1 || messageCount > APPEND_BATCH_MESSAGES_MAX) {
    throw new MillraceError(
      "INVALID_REQUEST",
      `Cannot send batch: ${messageCount} messages, must be 1 to ${APPEND_BATCH_MESSAGES_MAX}`,
    );
  }
  if (messageCount > 1 && rawSizeBytes > APPEND_BATCH_BYTES_MAX) {
    throw new MillraceError(
      "MESSAGE_TOO_LARGE",
      `Cannot send batch: ${rawSizeBytes} bytes with ${MESSAGE_LENGTH_BYTES} for each message, the maximum is ${APPEND_BATCH_BYTES_MAX}`,
    );
  }
}

function inRange(name: string, value: number, { min, max }: { min: number; max: number }): number {
  if (value >= min && value <= max) return value;
  throw new MillraceError(
    "INVALID_SETTING",
    `Cannot make producer: ${name} is ${value}, must be ${min} to ${max}`,
  );
}
