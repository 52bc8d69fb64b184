import { asMillraceError, MillraceError } from "../core/errors.ts";
import { SUBSCRIPTION_CREDIT_BYTES_DEFAULT, SUBSCRIPTION_CREDIT_BYTES_MAX } from "../core/limits.ts";
import type { MessagesHeader } from "../wire/messages-layout.ts";
import { forEachMessage, GapReason } from "../wire/messages-layout.ts";
import type { OpenStreamResult } from "../wire/open-stream-layout.ts";
import type { Subscribe, SubscribeResult } from "../wire/subscribe-layout.ts";
import { backoffMs } from "./backoff.ts";
import type { SubscriptionSink } from "./connection.ts";
import type { Environment } from "./environment.ts";
import { statusError } from "./status-error.ts";

export interface SubscribeOptions {
  /** First sequence number wanted, 0 by default; older than the oldest means the oldest. "newest": only what is appended from now on. */
  readonly from?: number | "newest";
  /** Bytes that the engine may send ahead of the reader: 1 KiB to 16 MiB, 1 MiB by default. */
  readonly creditBytes?: number;
  /** Told of messages that are gone or unreadable, in order with the messages around them. */
  readonly onGap?: (gap: SubscriptionGap) => void;
}

export interface ReceivedMessage {
  readonly sequence: number;
  /** Unix milliseconds at which the engine took the message. */
  readonly ingestTimeMs: number;
  readonly payload: Uint8Array;
}

export interface SubscriptionGap {
  readonly firstSequence: number;
  readonly missingCount: number;
  readonly reason: GapReason;
}

/** What a subscription needs of its client. */
export interface SubscriptionLink {
  readonly environment: Environment;
  openStream(name: string): Promise<OpenStreamResult>;
  subscribe(request: Omit<Subscribe, "subscriptionId">, sink: SubscriptionSink): number;
  sendCredit(subscriptionId: number, creditBytes: number): void;
  unsubscribe(subscriptionId: number): void;
  release(subscription: Subscription): void;
}

const CREDIT_BYTES_MIN = 1024;

/**
 * The messages of a stream from a sequence number on, for ever: each once and in order, over as many connections as it takes.
 * Read it by one `for await`; leaving the loop ends it. The engine sends `creditBytes` ahead and no more.
 */
export class Subscription implements AsyncIterableIterator<ReceivedMessage>, SubscriptionSink {
  readonly stream: string;
  readonly #link: SubscriptionLink;
  readonly #creditBytes: number;
  readonly #onGap: ((gap: SubscriptionGap) => void) | undefined;

  /** First sequence number that was not received; "newest" until the stream was opened once. */
  #nextSequence: number | "newest";
  #subscriptionId: number | undefined;
  #epoch = 0;
  #attempt = 0;
  #cancelRetry: (() => void) | undefined;

  /** Frames received and not given out; bounded by the credit. */
  #frames: Uint8Array[] = [];
  /** Messages of the frame in front that are left to be given out. */
  #messages: ReceivedMessage[] = [];
  #messageIndex = 0;
  #frameBytes = 0;
  /** Bytes given out for which no credit was sent yet. */
  #consumedBytes = 0;
  /** Calls of `next` that wait for a frame. */
  #sleepers: (() => void)[] = [];
  #isEnded = false;
  #failure: MillraceError | undefined;

  /** Use `client.subscribe()`. */
  constructor(link: SubscriptionLink, options: SubscribeOptions & { stream: string }) {
    this.#link = link;
    this.stream = options.stream;
    this.#creditBytes = options.creditBytes ?? SUBSCRIPTION_CREDIT_BYTES_DEFAULT;
    this.#onGap = options.onGap;
    const from = options.from ?? 0;
    if (from !== "newest" && !(Number.isSafeInteger(from) && from >= 0)) {
      throw new MillraceError(
        "INVALID_SETTING",
        `Cannot subscribe: from is ${from}, must be an integer from 0`,
      );
    }
    this.#nextSequence = from;
    if (!(this.#creditBytes >= CREDIT_BYTES_MIN && this.#creditBytes <= SUBSCRIPTION_CREDIT_BYTES_MAX)) {
      throw new MillraceError(
        "INVALID_SETTING",
        `Cannot subscribe: creditBytes is ${this.#creditBytes}, must be ${CREDIT_BYTES_MIN} to ${SUBSCRIPTION_CREDIT_BYTES_MAX}`,
      );
    }
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** @throws {MillraceError} the reason why the engine ended the subscription */
  async next(): Promise<IteratorResult<ReceivedMessage, undefined>> {
    // Asked again after each wait: another call of next may have been faster.
    while (this.#messageIndex === this.#messages.length) {
      if (!(await this.#fill())) return { done: true, value: undefined };
    }
    return { done: false, value: this.#messages[this.#messageIndex++]! };
  }

  /**
   * All messages of the next frame at once, undefined at the end: for a reader to whom a promise for each message is too
   * dear. May be mixed with `next`. @throws {MillraceError} as `next` does
   */
  async nextBatch(): Promise<readonly ReceivedMessage[] | undefined> {
    while (this.#messageIndex === this.#messages.length) if (!(await this.#fill())) return undefined;
    const batch = this.#messageIndex === 0 ? this.#messages : this.#messages.slice(this.#messageIndex);
    this.#messages = [];
    this.#messageIndex = 0;
    return batch;
  }

  /** Waits until there are messages to give out. @returns false at the end */
  async #fill(): Promise<boolean> {
    while (this.#messageIndex === this.#messages.length) {
      this.#finishFrame();
      const frame = this.#frames.shift();
      if (frame) {
        this.#openFrame(frame);
        continue;
      }
      if (this.#failure) throw this.#failure;
      if (this.#isEnded) return false;
      await new Promise<void>((resolve) => this.#sleepers.push(resolve));
    }
    return true;
  }

  /** Ends the subscription; a `next` that waits resolves as done. */
  return(): Promise<IteratorResult<ReceivedMessage, undefined>> {
    this.#end();
    return Promise.resolve({ done: true, value: undefined });
  }

  close(): void {
    this.#end();
  }

  /** For the client: the stream is open on the present connection. */
  onOpened(opened: OpenStreamResult): void {
    this.#start(opened);
  }

  /** For the client. */
  onConnected(): void {
    void this.#reopen();
  }

  /** For the client. */
  onDisconnected(): void {
    this.#epoch++;
    this.#subscriptionId = undefined;
  }

  /** For the client. */
  onClosed(error: MillraceError): void {
    this.#fail(error);
  }

  onSubscribeResult(result: SubscribeResult): void {
    if (result.status !== 0) {
      const error = statusError(result.status, result.errorMessage);
      this.#subscriptionId = undefined;
      if (error.retryable || error.code === "UNKNOWN_HANDLE") this.#retryLater();
      else this.#fail(error);
      return;
    }
    this.#attempt = 0;
    const firstSequence = this.#nextSequence as number;
    const missingCount = result.firstSequence - firstSequence;
    if (missingCount > 0) {
      this.#onGap?.({ firstSequence, missingCount, reason: GapReason.Overwritten });
      this.#nextSequence = result.firstSequence;
    }
  }

  onMessages(header: MessagesHeader, frame: Uint8Array): void {
    if (header.firstSequence !== this.#nextSequence) {
      // Asking again would bring the same: the reader is told instead of a connection made anew for ever.
      const text = `Messages of "${this.stream}" begin at ${header.firstSequence}, expected ${this.#nextSequence}`;
      this.#fail(new MillraceError("MALFORMED_FRAME", text));
      return;
    }
    this.#nextSequence = header.endSequence;
    this.#frames.push(frame);
    this.#wakeReader();
  }

  #openFrame(frame: Uint8Array): void {
    this.#frameBytes = frame.length;
    this.#messages = [];
    this.#messageIndex = 0;
    forEachMessage(frame, {
      onMessage: (sequence, ingestTimeMs, payload) =>
        this.#messages.push({ sequence, ingestTimeMs, payload }),
      onGap: (firstSequence, missingCount, reason) =>
        this.#onGap?.({ firstSequence, missingCount, reason: reason as GapReason }),
    });
  }

  /** Gives credit back for a frame that was given out whole; in halves of the window, so that it is few frames. */
  #finishFrame(): void {
    this.#consumedBytes += this.#frameBytes;
    this.#frameBytes = 0;
    if (this.#subscriptionId === undefined || this.#consumedBytes * 2 < this.#creditBytes) return;
    this.#link.sendCredit(this.#subscriptionId, this.#consumedBytes);
    this.#consumedBytes = 0;
  }

  #start(opened: OpenStreamResult): void {
    if (this.#nextSequence === "newest") this.#nextSequence = opened.nextSequence;
    // Credit belongs to a subscription of one connection: each begins with what is not filled by frames that wait here.
    this.#consumedBytes = 0;
    const waitingBytes = this.#frames.reduce((sum, frame) => sum + frame.length, this.#frameBytes);
    this.#subscriptionId = this.#link.subscribe(
      {
        handle: opened.handle,
        fromSequence: this.#nextSequence,
        creditBytes: Math.max(0, this.#creditBytes - waitingBytes),
      },
      this,
    );
  }

  async #reopen(): Promise<void> {
    if (this.#isEnded) return;
    const epoch = this.#epoch;
    try {
      const opened = await this.#link.openStream(this.stream);
      if (epoch === this.#epoch && !this.#hasEnded()) this.#start(opened);
    } catch (thrown) {
      const error = asMillraceError(thrown);
      // A broken connection is followed by onConnected, which comes back here.
      if (error.code === "CONNECTION_CLOSED") return;
      if (error.retryable) this.#retryLater();
      else this.#fail(error);
    }
  }

  #hasEnded(): boolean {
    return this.#isEnded;
  }

  #retryLater(): void {
    if (this.#cancelRetry || this.#isEnded) return;
    const { environment } = this.#link;
    this.#cancelRetry = environment.after(backoffMs(this.#attempt++, environment.fraction()), () => {
      this.#cancelRetry = undefined;
      if (this.#subscriptionId === undefined) void this.#reopen();
    });
  }

  #fail(error: MillraceError): void {
    if (this.#isEnded) return;
    this.#failure = error;
    this.#end();
  }

  #end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#cancelRetry?.();
    if (this.#subscriptionId !== undefined) this.#link.unsubscribe(this.#subscriptionId);
    this.#subscriptionId = undefined;
    this.#link.release(this);
    if (!this.#failure) {
      this.#frames = [];
      this.#messages = [];
      this.#messageIndex = 0;
    }
    this.#wakeReader();
  }

  #wakeReader(): void {
    for (const wake of this.#sleepers.splice(0)) wake();
  }
}
