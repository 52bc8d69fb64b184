import { decodeAppendBatchResult } from "../../src/wire/append-batch-result-layout.ts";
import { encodeAppendBatch } from "../../src/wire/append-batch-layout.ts";
import { Operation } from "../../src/wire/operation.ts";
import type { DataSet } from "../data-set.ts";
import { LatencyHistogram, latencyValues } from "../latency-histogram.ts";
import { roundTo } from "../statistics.ts";
import type { FrameSocket } from "./frame-socket.ts";
import type { Slice } from "./slice.ts";

/** Timers of Node.js have this grain. */
const TICK_MS = 1;
/** A driver that was held up sends what is due in frames no larger than this. */
const MESSAGES_PER_FRAME_MAX = 1024;
/** An engine this far behind does not keep up at all: the driver would only fill its own memory. */
const BEHIND_S_MAX = 30;
const BEHIND_MESSAGES_MIN = 100_000;
const STALL_DEADLINE_MS = 30_000;
const WAITING_FRAMES_DONE_MAX = 4096;
/** Latencies over these are counted exactly. */
const OVER_MS = 5;
const FAR_OVER_MS = 50;

export interface OpenLoopOptions {
  readonly socket: FrameSocket;
  readonly handle: number;
  /** The number that the first message must get. */
  readonly nextSequence: number;
  readonly dataSet: DataSet;
  readonly messagesPerSecond: number;
  /** Told of each message just before it leaves: its number, and when it was to be sent. */
  readonly onSend?: (sequence: number, intendedMs: number) => void;
}

/** What one run of the schedule gave. Latencies are from when a message was to be sent, whatever the driver did. */
export interface OpenLoopSlice extends Slice {
  /** How late the driver itself was: from the intended time of the oldest message of a frame to its sending. */
  readonly driverLags: LatencyHistogram;
  /** Messages that took longer. */
  readonly over5MsCount: number;
  readonly over50MsCount: number;
}

/**
 * Sends messages on a schedule that does not know of the answers: the message with index i is due at i / rate. What is due when
 * the timer fires goes out in one frame, and each message's latency counts from its own due time, so that a stall of the engine
 * is seen by all messages that it delays (no coordinated omission).
 */
export class OpenLoop {
  readonly #options: OpenLoopOptions;
  /** Frames without an answer, oldest first; those before `#head` are done. */
  readonly #waiting: { firstIndex: number; count: number }[] = [];
  #head = 0;
  #sentFrames = 0;
  #acknowledgedFrames = 0;
  #sentMessages = 0;
  #acknowledgedMessages = 0;
  #payloadBytes = 0;
  #startMs = 0;
  #startIndex = 0;
  #overCount = 0;
  #farOverCount = 0;
  #answeredMs = 0;

  constructor(options: OpenLoopOptions) {
    this.#options = options;
  }

  /** Of all runs. */
  get acknowledgedMessages(): number {
    return this.#acknowledgedMessages;
  }

  /** Sends what is due within `seconds`, and waits for the last answer. */
  async run(seconds: number): Promise<OpenLoopSlice> {
    const { socket, messagesPerSecond } = this.#options;
    const latencies = new LatencyHistogram();
    const driverLags = new LatencyHistogram();
    const startBytes = this.#payloadBytes;
    const endIndex = this.#sentMessages + Math.max(1, Math.round(seconds * messagesPerSecond));
    this.#startIndex = this.#sentMessages;
    this.#startMs = performance.now();
    this.#answeredMs = this.#startMs;
    this.#overCount = 0;
    this.#farOverCount = 0;
    let timer: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        if (socket.failure) throw socket.failure;
        socket.onFailure = reject;
        socket.onMessage = (data) => {
          try {
            this.#onResults(data, latencies);
            if (this.#acknowledgedMessages === endIndex) resolve();
          } catch (error) {
            reject(error instanceof Error ? error : new Error(String(error)));
          }
        };
        timer = setInterval(() => {
          try {
            this.#sendDue(endIndex, driverLags);
          } catch (error) {
            reject(error instanceof Error ? error : new Error(String(error)));
          }
        }, TICK_MS);
      });
    } finally {
      clearInterval(timer);
      socket.onMessage = () => undefined;
      socket.onFailure = () => undefined;
    }
    return {
      elapsedS: (performance.now() - this.#startMs) / 1000,
      messageCount: endIndex - this.#startIndex,
      payloadBytes: this.#payloadBytes - startBytes,
      latencies,
      driverLags,
      over5MsCount: this.#overCount,
      over50MsCount: this.#farOverCount,
    };
  }

  #intendedMs(index: number): number {
    return this.#startMs + ((index - this.#startIndex) / this.#options.messagesPerSecond) * 1000;
  }

  #sendDue(endIndex: number, driverLags: LatencyHistogram): void {
    const { messagesPerSecond } = this.#options;
    const elapsedS = (performance.now() - this.#startMs) / 1000;
    // The message with index 0 is due at once, hence one more than what passed.
    const due = Math.min(this.#startIndex + Math.floor(elapsedS * messagesPerSecond) + 1, endIndex);
    while (this.#sentMessages < due) {
      const count = Math.min(due - this.#sentMessages, MESSAGES_PER_FRAME_MAX);
      driverLags.add((performance.now() - this.#intendedMs(this.#sentMessages)) * 1000);
      this.#sendFrame(count);
    }
    const nowMs = performance.now();
    if (this.#head === this.#waiting.length) this.#answeredMs = nowMs;
    if (nowMs - this.#answeredMs > STALL_DEADLINE_MS) {
      throw new Error(`no answer for ${STALL_DEADLINE_MS} ms`);
    }
    const behind = this.#sentMessages - this.#acknowledgedMessages;
    if (behind > Math.max(BEHIND_MESSAGES_MIN, messagesPerSecond * BEHIND_S_MAX)) {
      throw new Error(`the engine does not keep up: ${behind} messages are not acknowledged`);
    }
  }

  #sendFrame(count: number): void {
    const { socket, handle, dataSet, nextSequence, onSend } = this.#options;
    const firstIndex = this.#sentMessages;
    const messages: Uint8Array[] = [];
    for (let index = firstIndex; index < firstIndex + count; index++) {
      const message = dataSet.messages[index % dataSet.messages.length]!;
      messages.push(message);
      this.#payloadBytes += message.length;
      onSend?.(nextSequence + index, this.#intendedMs(index));
    }
    socket.send(encodeAppendBatch({ handle, requestId: this.#sentFrames >>> 0, messages }));
    this.#waiting.push({ firstIndex, count });
    this.#sentFrames += 1;
    this.#sentMessages += count;
  }

  #onResults(data: Buffer, latencies: LatencyHistogram): void {
    if (data[0] !== Operation.AppendBatchResult) throw new Error(`unexpected operation ${data[0] ?? "none"}`);
    const nowMs = performance.now();
    decodeAppendBatchResult(data, (requestId, status, firstSequence, errorMessage) => {
      if (status !== 0) throw new Error(`request ${requestId} failed with status ${status}: ${errorMessage}`);
      const frame = this.#waiting[this.#head];
      if (requestId !== this.#acknowledgedFrames >>> 0 || frame === undefined) {
        throw new Error(`answer to request ${requestId}, the next is ${this.#acknowledgedFrames >>> 0}`);
      }
      const expected = this.#options.nextSequence + frame.firstIndex;
      if (firstSequence !== expected) {
        throw new Error(`request ${requestId} got sequence ${firstSequence} for ${expected}`);
      }
      this.#head += 1;
      this.#acknowledgedFrames += 1;
      this.#acknowledgedMessages += frame.count;
      for (let index = frame.firstIndex; index < frame.firstIndex + frame.count; index++) {
        const latencyMs = nowMs - this.#intendedMs(index);
        latencies.add(latencyMs * 1000);
        if (latencyMs > OVER_MS) this.#overCount += 1;
        if (latencyMs > FAR_OVER_MS) this.#farOverCount += 1;
      }
    });
    this.#answeredMs = nowMs;
    if (this.#head === this.#waiting.length || this.#head > WAITING_FRAMES_DONE_MAX) {
      this.#waiting.splice(0, this.#head);
      this.#head = 0;
    }
  }
}

/** How many waited long for their answer. */
export function overValues({ messageCount, over5MsCount, over50MsCount }: OpenLoopSlice) {
  return {
    over_5_ms_share: roundTo(over5MsCount / messageCount, 3),
    over_50_ms_share: roundTo(over50MsCount / messageCount, 3),
  };
}

/** How late the driver itself was. */
export function driverLagValues({ driverLags }: OpenLoopSlice) {
  const { driver_lag_p50_us, driver_lag_p99_us, driver_lag_max_us } = latencyValues("driver_lag", driverLags);
  return {
    driver_lag_p50_us: driver_lag_p50_us ?? null,
    driver_lag_p99_us: driver_lag_p99_us ?? null,
    driver_lag_max_us: driver_lag_max_us ?? null,
  };
}
