import { asMillraceError, MillraceError } from "../core/errors.ts";
import { CLIENT_REQUEST_TIMEOUT_MS } from "../core/limits.ts";
import { StatusCode } from "../core/status-code.ts";
import { AppendWindow } from "./append-window.ts";
import { backoffMs } from "./backoff.ts";
import { Batch, type BatchOwner, silentWaiter } from "./batch.ts";
import { BatchNumbers } from "./batch-numbers.ts";
import type { BatchPacker } from "./batch-packer.ts";
import type { OpenedStream, ProducerLink } from "./producer-link.ts";
import type { ProducerCounters, ProducerOptions, Rejection } from "./producer-options.ts";
import { checkProducerOptions } from "./producer-options.ts";
import { checkPayload, closedProducer, toBytes } from "./payload.ts";
import { notStoredCodes, resendCodes, statusError } from "./status-error.ts";
import { type WaitingAppend, WaitingAppends } from "./waiting-appends.ts";

/**
 * Appends to one stream at a high rate: messages are copied into batches, and a bounded window of batches is on its way.
 *
 * What was on its way when a connection broke, or was answered with "unknown outcome" or "busy", is sent again until the engine
 * says yes or no. The engine knows each batch by its producer and its number, over connections and restarts, so every message
 * is stored exactly once and in order, or reported. A report says whether the messages may be stored: that is so where the client was
 * closed, or the stream deleted, before an answer came, and where the engine does not remember the producer any more.
 */
export class Producer implements BatchOwner {
  readonly stream: string;
  readonly #link: ProducerLink;
  readonly #lingerMs: number;
  readonly #onRejected: ((rejection: Rejection) => void) | undefined;
  readonly #window: AppendWindow;
  readonly #numbers: BatchNumbers;
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
  constructor(
    link: ProducerLink,
    options: ProducerOptions & { stream: string; packer: BatchPacker | undefined },
  ) {
    const { lingerMs, ...sizes } = checkProducerOptions(options);
    this.#link = link;
    this.stream = options.stream;
    this.#lingerMs = lingerMs;
    this.#onRejected = options.onRejected;
    this.#window = new AppendWindow(this, { ...sizes, packer: options.packer });
    this.#numbers = new BatchNumbers(() => link.environment.uniqueId());
  }

  get counters(): ProducerCounters {
    return {
      appended: this.#appended,
      acknowledged: this.#acknowledged,
      rejected: this.#rejected,
      resent: this.#resent,
      batches: this.#window.lastSerial,
      sentBytes: this.#window.sentBytes,
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
    this.#waiting.refuse(closedProducer(this.stream));
    try {
      await this.flush();
    } finally {
      this.#isOver = true;
      this.#stopTimers();
      this.#link.release(this);
    }
  }

  /** For the client: the stream is open on the present connection. */
  onOpened({ handle, nextSequence }: OpenedStream): void {
    this.#isConnected = true;
    this.#handle = handle;
    this.#numbers.noteOpened(nextSequence);
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
    this.#numbers.noteDisconnected();
    this.#window.putBackAll();
    this.#endRound();
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
      this.#numbers.noteAcknowledged(batch, firstSequence);
      for (const waiter of batch.waiters) waiter.resolve(firstSequence + waiter.index);
      this.#window.settle(batch);
      this.#window.recycle(batch);
    } else {
      const error = statusError(status, errorMessage);
      if (resendCodes.has(error.code)) this.#resend(batch, error);
      else if (status === StatusCode.SequenceGap && this.#numbers.noteGap(batch, firstSequence)) {
        this.#window.putBack(batch);
      } else this.#giveUp(batch, error);
    }
    this.#pump();
    this.#waiting.admit();
  }

  #checkUsable(payload: Uint8Array): void {
    if (this.#failure) throw this.#failure;
    if (this.#isClosed) throw closedProducer(this.stream);
    checkPayload(payload, this.stream);
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
    if (this.#numbers.isRoundOver) {
      if (this.#window.inFlightCount > 0) return;
      if (this.#numbers.needsEnd) return void this.#open();
      this.#endRound();
    }
    if (this.#handle === undefined) {
      if (!this.#window.isQueueEmpty) void this.#open();
      return;
    }
    for (;;) {
      if (this.#numbers.isSuspect && this.#window.inFlightCount > 0) break;
      const batch = this.#window.takeNext();
      if (!batch) break;
      if (batch.sentCount++ > 0) this.#resent += batch.messageCount;
      this.#numbers.number(batch);
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
      const opened = await this.#link.openStream(this.stream);
      if (epoch !== this.#epoch) return;
      this.#isOpening = false;
      this.onOpened(opened);
    } catch (thrown) {
      // A broken connection is followed by onConnected, which opens anew.
      if (epoch !== this.#epoch) return;
      this.#isOpening = false;
      const error = asMillraceError(thrown);
      if (error.retryable) this.#retryLater();
      else this.#fail(error);
    }
  }

  #resend(batch: Batch, error: MillraceError): void {
    if (error.code === "UNKNOWN_HANDLE") this.#handle = undefined;
    if (error.code === "UNKNOWN_OUTCOME") batch.doubt = "unknown";
    this.#numbers.noteFailed(batch);
    this.#window.putBack(batch);
    this.#retryLater();
  }

  #giveUp(batch: Batch, error: MillraceError): void {
    if (notStoredCodes.has(error.code)) batch.doubt = "none";
    this.#numbers.noteGivenUp(batch);
    this.#reject(batch, error);
  }

  /** What failed is to be sent again; of what cannot be, nobody can tell any more whether it is stored. */
  #endRound(): void {
    const unsendable = this.#numbers.endRound(this.#window.queue);
    for (const batch of unsendable) {
      const text = `Cannot tell whether messages are stored in "${this.stream}": it does not know their producer any more`;
      this.#reject(batch, new MillraceError("SEQUENCE_GAP", text));
    }
    if (unsendable.length > 0) this.#waiting.admit();
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
    const mayBeStored = batch.doubt !== "none";
    if (messages.length > 0) this.#onRejected?.({ error, messages, mayBeStored });
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
