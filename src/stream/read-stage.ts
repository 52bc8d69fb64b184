import type { Clock } from "../core/clock.ts";
import { MillraceError, asMillraceError } from "../core/errors.ts";
import {
  READ_CHUNK_BYTES_MAX,
  READ_REPLY_BYTES_HARD_MAX,
  READ_REPLY_MESSAGE_OVERHEAD_BYTES,
} from "../core/limits.ts";
import type { LogSlice } from "../log/decoded-block.ts";
import type { HandledSlot } from "./handled-slot.ts";
import type { OpenStream } from "./open-stream.ts";
import { GapReason } from "./stream-channel.ts";
import type { UpSender } from "./up-sender.ts";

export interface ReadRequest {
  readonly token: number;
  readonly fromSequence: number;
  readonly messageCountMin: number;
  readonly messageCountMax: number;
  readonly bytesMax: number;
  /** How long to wait for `messageCountMin`; 0 answers at once. */
  readonly timeoutMs: number;
}

interface WaitingRead extends ReadRequest {
  readonly stream: OpenStream;
  readonly deadlineMs: number;
}

interface Subscription {
  readonly token: number;
  readonly stream: OpenStream;
  nextSequence: number;
  creditBytes: number;
}

/** Serves reads, waiting reads and subscriptions of this worker's streams, a bounded piece at a time. */
export class ReadStage {
  readonly #up: UpSender;
  readonly #clock: Clock;
  readonly #handledSlot: HandledSlot;
  readonly #waiting = new Map<number, WaitingRead>();
  readonly #subscriptions = new Map<number, Subscription>();
  #isReadsTurn = false;

  constructor(options: { up: UpSender; clock: Clock; handledSlot: HandledSlot }) {
    this.#handledSlot = options.handledSlot;
    this.#up = options.up;
    this.#clock = options.clock;
  }

  /** Milliseconds until the next waiting read must be answered; Infinity when none waits. */
  nextDeadlineMs(): number {
    let nearest = Infinity;
    for (const read of this.#waiting.values()) nearest = Math.min(nearest, read.deadlineMs);
    return nearest === Infinity ? Infinity : Math.max(0, nearest - this.#clock.monotonicMs());
  }

  read(stream: OpenStream, request: ReadRequest): void {
    const deadlineMs = this.#clock.monotonicMs() + request.timeoutMs;
    this.#waiting.set(request.token, { ...request, stream, deadlineMs });
  }

  subscribe(stream: OpenStream, request: { token: number; fromSequence: number; creditBytes: number }): void {
    const { token, creditBytes } = request;
    this.#subscriptions.set(token, { token, stream, nextSequence: request.fromSequence, creditBytes });
  }

  credit(token: number, bytes: number): void {
    const subscription = this.#subscriptions.get(token);
    if (subscription !== undefined) subscription.creditBytes += bytes;
  }

  /** Answers a cancelled token once, so that the main thread may give it out again. */
  cancel(token: number): void {
    const isKnown = this.#waiting.delete(token) || this.#subscriptions.delete(token);
    if (isKnown) this.#up.failed(token, new MillraceError("CONNECTION_CLOSED", "Cancelled by its asker"));
  }

  /** Ends every read and subscription of a stream that goes away. */
  endStream(stream: OpenStream): void {
    const error = new MillraceError("STREAM_NOT_FOUND", `Stream "${stream.name}" was deleted`);
    for (const table of [this.#waiting, this.#subscriptions]) {
      for (const [token, entry] of table) {
        if (entry.stream !== stream) continue;
        table.delete(token);
        this.#up.failed(token, error);
      }
    }
  }

  /** Answers what can be answered and pushes one piece to each subscription with credit. @returns whether anything was sent. */
  serve(): boolean {
    // By turns, for either kind alone can keep the ring full.
    this.#isReadsTurn = !this.#isReadsTurn;
    const isBusy = this.#isReadsTurn ? this.#answerAll() : this.#pushAll();
    return (this.#isReadsTurn ? this.#pushAll() : this.#answerAll()) || isBusy;
  }

  #answerAll(): boolean {
    let isBusy = false;
    for (const read of this.#waiting.values()) {
      if (!this.#up.isClear) return isBusy;
      if (this.#answer(read)) {
        this.#waiting.delete(read.token);
        isBusy = true;
      }
    }
    return isBusy;
  }

  #pushAll(): boolean {
    const pushed: Subscription[] = [];
    for (const subscription of this.#subscriptions.values()) {
      if (!this.#up.isClear) break;
      if (this.#push(subscription)) pushed.push(subscription);
    }
    // They go to the end: where the ring has no room for all, the others come first the next time.
    for (const subscription of pushed) {
      const { token } = subscription;
      if (this.#subscriptions.delete(token)) this.#subscriptions.set(token, subscription);
    }
    return pushed.length > 0;
  }

  #answer(read: WaitingRead): boolean {
    const { log } = read.stream;
    this.#handledSlot.enter(read.stream.slot);
    const fromSequence = Math.max(read.fromSequence, log.oldestSequence);
    const availableCount = log.nextSequence - fromSequence;
    const isDue = this.#clock.monotonicMs() >= read.deadlineMs;
    if (availableCount < read.messageCountMin && !isDue) return false;
    try {
      if (availableCount < read.messageCountMin) throw notEnough(read, availableCount);
      this.#sendRead(read, fromSequence);
    } catch (thrown) {
      this.#up.failed(read.token, asMillraceError(thrown));
    }
    return true;
  }

  /** Collects before it sends: a reply has either its minimum of messages or a status. */
  #sendRead(read: WaitingRead, fromSequence: number): void {
    const { log } = read.stream;
    const slices: MessageSlice[] = [];
    const collected = { messageCount: 0, sizeBytes: 0 };
    let next = fromSequence;
    while (collected.messageCount < read.messageCountMax && next < log.nextSequence) {
      const messageCountMax = read.messageCountMax - collected.messageCount;
      const bytesMax = Math.min(READ_CHUNK_BYTES_MAX, Math.max(1, read.bytesMax - collected.sizeBytes));
      const found = log.read({ fromSequence: next, messageCountMax, bytesMax });
      const isFull = found.some(
        (slice) => slice.kind === "messages" && !collect(read, slice, slices, collected),
      );
      if (isFull || found.length === 0) break;
      next = endOf(found.at(-1)!);
    }
    if (collected.messageCount < read.messageCountMin) throw notEnough(read, collected.messageCount);
    slices.forEach((slice, index) => this.#send(read.token, read.stream, slice, index === slices.length - 1));
  }

  #push(subscription: Subscription): boolean {
    const { stream, token } = subscription;
    const { log } = stream;
    if (subscription.creditBytes <= 0 || subscription.nextSequence >= log.nextSequence) return false;
    this.#handledSlot.enter(stream.slot);
    try {
      const { oldestSequence } = log;
      if (subscription.nextSequence < oldestSequence) {
        this.#up.gap(token, GapReason.Overwritten, subscription.nextSequence, oldestSequence);
        subscription.nextSequence = oldestSequence;
        return true;
      }
      const bytesMax = Math.min(READ_CHUNK_BYTES_MAX, subscription.creditBytes);
      const fromSequence = subscription.nextSequence;
      const found = log.read({ fromSequence, messageCountMax: MESSAGES_PER_PUSH_MAX, bytesMax });
      for (const slice of found) {
        subscription.nextSequence = endOf(slice);
        if (slice.kind === "gap") {
          const reason = slice.reason === "CORRUPT" ? GapReason.Corrupt : GapReason.Missing;
          this.#up.gap(token, reason, slice.fromSequence, slice.toSequence);
        } else {
          subscription.creditBytes -= slice.raw.length;
          this.#send(token, stream, slice, false);
        }
      }
      return found.length > 0;
    } catch (thrown) {
      const error = asMillraceError(thrown);
      // It may succeed soon, and a subscriber waits anyway.
      if (error.code === "SERVER_BUSY") return false;
      this.#subscriptions.delete(token);
      this.#up.failed(token, error);
      return true;
    }
  }

  #send(token: number, stream: OpenStream, slice: MessageSlice, isLast: boolean): void {
    const { firstSequence, messageCount, runs } = slice;
    const durableEnd = stream.log.syncedEndSequence;
    this.#up.records({ token, isLast, firstSequence, durableEnd, messageCount, runs }, slice.raw);
  }
}

type MessageSlice = Extract<LogSlice, { kind: "messages" }>;

const MESSAGES_PER_PUSH_MAX = 65_536;

/** Takes a slice, unless the reply has its minimum and would grow too large. @returns false when it is full */
function collect(
  read: WaitingRead,
  slice: MessageSlice,
  into: MessageSlice[],
  collected: { messageCount: number; sizeBytes: number },
): boolean {
  const overheadBytes = READ_REPLY_MESSAGE_OVERHEAD_BYTES + Buffer.byteLength(read.stream.name);
  const sizeBytes = collected.sizeBytes + slice.raw.length + slice.messageCount * overheadBytes;
  const hasMinimum = collected.messageCount >= read.messageCountMin;
  if (hasMinimum && sizeBytes > read.bytesMax) return false;
  if (sizeBytes > READ_REPLY_BYTES_HARD_MAX) throw tooLarge(read, sizeBytes);
  into.push(slice);
  collected.messageCount += slice.messageCount;
  collected.sizeBytes = sizeBytes;
  return true;
}

function endOf(slice: LogSlice): number {
  return slice.kind === "gap" ? slice.toSequence : slice.firstSequence + slice.messageCount;
}

function notEnough(read: WaitingRead, availableCount: number): MillraceError {
  const { log, name } = read.stream;
  const lastSequence = log.nextSequence - 1;
  if (read.fromSequence > lastSequence) {
    const text = `sequence number ${read.fromSequence} is greater than the last sequence number ${lastSequence}`;
    return new MillraceError("NOT_ENOUGH_MESSAGES", `Cannot read stream "${name}": ${text}`);
  }
  const text = `${Math.max(0, availableCount)} messages, at least ${read.messageCountMin} asked for`;
  return new MillraceError("NOT_ENOUGH_MESSAGES", `Cannot read stream "${name}": ${text}`);
}

function tooLarge(read: WaitingRead, sizeBytes: number): MillraceError {
  const text = `${read.messageCountMin} messages have more than ${sizeBytes} bytes, at most ${READ_REPLY_BYTES_HARD_MAX}`;
  return new MillraceError(
    "RESPONSE_TOO_LARGE",
    `Cannot read stream "${read.stream.name}" in one reply: ${text}`,
  );
}
