import { SUBSCRIPTION_CREDIT_BYTES_DEFAULT } from "../../src/core/limits.ts";
import { MESSAGE_LENGTH_BYTES } from "../../src/core/message-framing.ts";
import { readU16, readU32 } from "../../src/wire/little-endian.ts";
import {
  decodeMessagesHeader,
  MESSAGES_RUN_BYTES,
  MESSAGES_RUNS_AT,
  type MessagesHeader,
} from "../../src/wire/messages-layout.ts";
import { Operation } from "../../src/wire/operation.ts";
import {
  decodeSubscribeResult,
  encodeCredit,
  encodeSubscribe,
  encodeUnsubscribe,
} from "../../src/wire/subscribe-layout.ts";
import type { FrameSocket } from "./frame-socket.ts";

const STALL_DEADLINE_MS = 30_000;

export interface ReplayReaderOptions {
  readonly socket: FrameSocket;
  readonly handle: number;
  /** The message that must stand at a sequence number: the first of each frame is compared. */
  readonly messageAt?: (sequence: number) => Uint8Array;
  readonly onMessages?: (header: MessagesHeader) => void;
}

export interface ReplayCounts {
  readonly messageCount: number;
  readonly payloadBytes: number;
}

/**
 * Reads a stream by subscription with credit, as the client does but without objects for messages. Every frame must be well
 * formed and go on where the one before ended; a gap is a failure.
 */
export class ReplayReader {
  readonly #options: ReplayReaderOptions;
  #subscriptionId = 0;
  #nextSequence = 0;
  #consumedBytes = 0;
  #messageCount = 0;
  #payloadBytes = 0;

  constructor(options: ReplayReaderOptions) {
    this.#options = options;
  }

  /** Reads from `from` to `end - 1`, or until `untilMs` on the clock of `performance`. `onStarted` is told when the engine has agreed. */
  async read({
    from,
    end,
    untilMs = Infinity,
    onStarted,
  }: {
    readonly from: number;
    readonly end: number;
    readonly untilMs?: number;
    readonly onStarted?: () => void;
  }): Promise<ReplayCounts> {
    const { socket, handle } = this.#options;
    this.#subscriptionId += 1;
    this.#nextSequence = from;
    this.#consumedBytes = 0;
    this.#messageCount = 0;
    this.#payloadBytes = 0;
    let watchdog: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        if (socket.failure) throw socket.failure;
        socket.onFailure = reject;
        socket.onMessage = (frame) => {
          try {
            if (frame[0] === Operation.SubscribeResult) this.#onResult(frame, from, onStarted);
            else this.#onMessages(frame);
            if (this.#nextSequence >= end || performance.now() >= untilMs) resolve();
          } catch (error) {
            reject(error instanceof Error ? error : new Error(String(error)));
          }
        };
        let seen = -1;
        watchdog = setInterval(() => {
          if (seen === this.#nextSequence)
            reject(new Error(`nothing was pushed for ${STALL_DEADLINE_MS} ms, next is ${seen} of ${end}`));
          seen = this.#nextSequence;
        }, STALL_DEADLINE_MS);
        const subscriptionId = this.#subscriptionId;
        const creditBytes = SUBSCRIPTION_CREDIT_BYTES_DEFAULT;
        socket.send(encodeSubscribe({ handle, subscriptionId, fromSequence: from, creditBytes }));
      });
    } finally {
      clearInterval(watchdog);
      socket.onMessage = () => undefined;
      socket.onFailure = () => undefined;
    }
    socket.send(encodeUnsubscribe(this.#subscriptionId));
    return { messageCount: this.#messageCount, payloadBytes: this.#payloadBytes };
  }

  #onResult(frame: Buffer, from: number, onStarted: (() => void) | undefined): void {
    const { subscriptionId, status, firstSequence, errorMessage } = decodeSubscribeResult(frame);
    if (subscriptionId !== this.#subscriptionId) return;
    if (status !== 0) throw new Error(`the subscription failed with status ${status}: ${errorMessage}`);
    if (firstSequence !== from) throw new Error(`the stream begins at ${firstSequence}, not at ${from}`);
    onStarted?.();
  }

  #onMessages(frame: Buffer): void {
    if (frame[0] !== Operation.Messages) throw new Error(`unexpected operation ${frame[0] ?? "none"}`);
    const header = decodeMessagesHeader(frame);
    // What was on its way when the subscription before ended.
    if (header.subscriptionId !== this.#subscriptionId) return;
    const { firstSequence, endSequence, messageCount } = header;
    if (firstSequence !== this.#nextSequence) {
      throw new Error(`a frame begins at ${firstSequence}, expected ${this.#nextSequence}`);
    }
    if (endSequence - firstSequence !== messageCount) {
      throw new Error(`messages are missing between ${firstSequence} and ${endSequence}`);
    }
    const messagesAt = MESSAGES_RUNS_AT + readU16(frame, 2) * MESSAGES_RUN_BYTES;
    this.#checkFirst(frame, messagesAt, firstSequence);
    this.#nextSequence = endSequence;
    this.#messageCount += messageCount;
    this.#payloadBytes += frame.length - messagesAt - messageCount * MESSAGE_LENGTH_BYTES;
    this.#options.onMessages?.(header);
    this.#consumedBytes += frame.length;
    if (this.#consumedBytes * 2 < SUBSCRIPTION_CREDIT_BYTES_DEFAULT) return;
    const subscriptionId = this.#subscriptionId;
    this.#options.socket.send(encodeCredit({ subscriptionId, creditBytes: this.#consumedBytes }));
    this.#consumedBytes = 0;
  }

  #checkFirst(frame: Buffer, messagesAt: number, sequence: number): void {
    const expected = this.#options.messageAt?.(sequence);
    if (expected === undefined) return;
    const at = messagesAt + MESSAGE_LENGTH_BYTES;
    const found = frame.subarray(at, at + readU32(frame, messagesAt));
    if (!found.equals(expected)) throw new Error(`message ${sequence} is not the one that was appended`);
  }
}
