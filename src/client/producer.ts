import { asMillraceError, MillraceError } from "../core/errors.ts";
import { CLIENT_REQUEST_TIMEOUT_MS, MESSAGE_BYTES_MAX_DEFAULT } from "../core/limits.ts";
import { AppendWindow } from "./append-window.ts";
import { backoffMs } from "./backoff.ts";
import type { BatchOwner } from "./batch.ts";
import { Batch } from "./batch.ts";
import type { Environment } from "./environment.ts";
import type { ProducerCounters, ProducerOptions, Rejection } from "./producer-options.ts";
import { checkProducerOptions } from "./producer-options.ts";
import { statusError } from "./status-error.ts";
import type { WaitingAppend } from "./waiting-appends.ts";
import { WaitingAppends } from "./waiting-appends.ts";

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

/** Answers after which the same batch may succeed: it is sent again. */
const resendCodes = new Set(["UNKNOWN_OUTCOME", "SERVER_BUSY", "UNKNOWN_HANDLE"]);

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
  readonly #lingerMs: number;
  readonly #onRejected: ((rejection: Rejection) => void) | undefined;
  readonly #window: AppendWindow;
  readonly #waiting = new WaitingAppends();

  /** Of the stream on the present connection, if it is open. */
  #handle: number | undefined;
  #isConnected = false;
  #isOpening = false;
  /** Counts connections, so that a handle that arrives late is not taken for one of the next connection. */
  #epoch = 0;
  /** The reason why nothing more is taken. */
  #failure: MillraceError | undefined;
  /** Nothing more is sent either. */
  #isOver = false;
  #isClosed = false;
  #retryAttempt = 0;
  #answers = 0;
  #isSealScheduled = false;
  #cancelLinger: (() => void) | undefined;
  #cancelRetry: (() => void) | undefined;
  #cancelAnswerTimer: (() => void) | undefined;

  #appended = 0;
  #acknowledged = 0;
  #rejected = 0;
  #resent = 0;

  /** Use `client.producer()`. */
  constructor(link: ProducerLink, { stream, ...options }: ProducerOptions & { stream: string }) {
    const { lingerMs, ...sizes } = checkProducerOptions(options);
    this.#link = link;
    this.stream = stream;
    this.#lingerMs = lingerMs;
    this.#onRejected = options.onRejected;
    this.#window = new AppendWindow(this, sizes);
  }

  get counters(): ProducerCounters {
    return {
      appended: this.#appended,
      acknowledged: this.#acknowledged,
      rejected: this.#rejected,
      resent: this.#resent,
      batches: this.#window.lastSerial,
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
    if (this.#waiting.isEmpty && this.#tryAdd(bytes)) return undefined;
    return new Promise((resolve, reject) => {
      this.#waiting.add({
        tryPlace: () => {
          if (!this.#tryAdd(bytes)) return false;
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
          const batch = this.#tryAdd(bytes);
          if (!batch) return false;
          batch.waiters.push({ index: batch.messageCount - 1, resolve, reject });
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
      for (const payload of payloads) this.#checkUsable(payload);
      const batch = Batch.of(this, payloads);
      batch.waiters.push({ index: 0, resolve, reject });
      // The other messages hang on the same promise: a refusal is reported by it, not once more by onRejected.
      for (let index = 1; index < payloads.length; index++) batch.waiters.push(silentWaiter(index));
      this.#placeOrWait({
        tryPlace: () => {
          this.#seal();
          if (this.#window.isFull) return false;
          this.#appended += payloads.length;
          this.#window.enqueue(batch);
          this.#pump();
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
    await this.#window.whenSettled();
    if (this.#failure) throw this.#failure;
  }

  /** Flushes and gives the producer up. @throws {MillraceError} as `flush` does; the producer is closed all the same */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const text = `Cannot append to "${this.stream}": the producer was closed`;
    this.#waiting.refuse(new MillraceError("INVALID_REQUEST", text));
    try {
      await this.flush();
    } finally {
      this.#isOver = true;
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
    this.#isOpening = false;
    this.#cancelAnswerTimer?.();
    this.#cancelAnswerTimer = undefined;
    this.#window.putBackAll();
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
    this.#answers++;
    if (status === 0) {
      this.#retryAttempt = 0;
      this.#acknowledged += batch.messageCount;
      for (const waiter of batch.waiters) waiter.resolve(firstSequence + waiter.index);
      this.#window.settle(batch);
      this.#window.recycle(batch);
    } else {
      const error = statusError(status, errorMessage);
      if (resendCodes.has(error.code)) this.#resend(batch, error);
      else this.#reject(batch, error);
    }
    this.#pump();
    this.#waiting.admit();
  }

  #checkUsable(payload: Uint8Array): void {
    const { length } = payload;
    if (length > 0 && length <= MESSAGE_BYTES_MAX_DEFAULT && !this.#isClosed && !this.#failure) return;
    if (this.#failure) throw this.#failure;
    const action = `Cannot append to "${this.stream}"`;
    if (this.#isClosed) throw new MillraceError("INVALID_REQUEST", `${action}: the producer was closed`);
    throw new MillraceError(
      length === 0 ? "INVALID_REQUEST" : "MESSAGE_TOO_LARGE",
      `${action}: a message of ${length} bytes, must be 1 to ${MESSAGE_BYTES_MAX_DEFAULT}`,
    );
  }

  /** Copies a message into a batch. @returns undefined when the window is full */
  #tryAdd(payload: Uint8Array): Batch | undefined {
    let batch = this.#window.batchWithRoom(payload.length);
    if (!batch) {
      this.#seal();
      if (this.#window.isFull) return undefined;
      batch = this.#window.begin(payload.length);
      this.#startLinger();
    }
    batch.add(payload);
    this.#appended++;
    return batch;
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
    this.#cancelLinger?.();
    this.#cancelLinger = undefined;
    if (this.#window.seal()) this.#pump();
  }

  /** Sends what may be sent. */
  #pump(): void {
    if (!this.#isConnected || this.#cancelRetry || this.#isOver) return;
    if (this.#handle === undefined) {
      if (!this.#window.isQueueEmpty) void this.#open();
      return;
    }
    for (;;) {
      const batch = this.#window.takeNext();
      if (!batch) break;
      if (batch.sentCount++ > 0) this.#resent += batch.messageCount;
      this.#link.sendBatch(batch, this.#handle);
    }
    if (this.#window.inFlightCount > 0) this.#startAnswerTimer();
  }

  /** Opens the stream on a new connection, or again after the engine has forgotten the handle. */
  async #open(): Promise<void> {
    if (this.#isOpening) return;
    this.#isOpening = true;
    const epoch = this.#epoch;
    try {
      const { handle } = await this.#link.openStream(this.stream);
      if (epoch !== this.#epoch) return;
      this.#isOpening = false;
      this.#handle = handle;
    } catch (thrown) {
      // A broken connection is followed by onConnected, which opens anew.
      if (epoch !== this.#epoch) return;
      this.#isOpening = false;
      const error = asMillraceError(thrown);
      if (error.retryable) this.#retryLater();
      else this.#fail(error);
      return;
    }
    this.#pump();
  }

  #resend(batch: Batch, error: MillraceError): void {
    if (error.code === "UNKNOWN_HANDLE") this.#handle = undefined;
    this.#window.putBack(batch);
    this.#retryLater();
  }

  #retryLater(): void {
    if (this.#cancelRetry || this.#isOver) return;
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
      if (this.#window.inFlightCount === 0) return;
      if (answers !== this.#answers) this.#startAnswerTimer();
      else this.#link.dropConnection(`no answer to an append within ${CLIENT_REQUEST_TIMEOUT_MS} ms`);
    });
  }

  /** Reports a batch that will not be sent again: to those who wait for it, else to onRejected, else by stopping. */
  #reject(batch: Batch, error: MillraceError): void {
    this.#rejected += batch.messageCount;
    const messages = batch.unawaitedMessages();
    // Whatever was taken before is still sent and answered; only new messages are refused.
    if (messages.length > 0 && !this.#onRejected) this.#failure ??= error;
    this.#window.settle(batch);
    for (const waiter of batch.waiters) waiter.reject(error);
    if (messages.length > 0) this.#onRejected?.({ error, messages });
    if (this.#failure) this.#waiting.refuse(this.#failure);
  }

  /** Nothing more will be sent: what is left is reported, each message once. */
  #fail(error: MillraceError): void {
    this.#failure ??= error;
    this.#isOver = true;
    this.#stopTimers();
    for (const batch of this.#window.drain()) this.#reject(batch, error);
    this.#waiting.refuse(error);
  }

  #placeOrWait(waiting: WaitingAppend): void {
    if (!this.#waiting.isEmpty || !waiting.tryPlace()) this.#waiting.add(waiting);
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
