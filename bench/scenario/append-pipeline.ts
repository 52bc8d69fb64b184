import { decodeAppendBatchResult } from "../../src/wire/append-batch-result-layout.ts";
import { Operation } from "../../src/wire/operation.ts";
import { LatencyHistogram } from "../latency-histogram.ts";

import type { FrameArena } from "./frame-arena.ts";
import type { FrameSocket, SendingWay } from "./frame-socket.ts";
import type { Slice } from "./slice.ts";

const STALL_DEADLINE_MS = 30_000;

export interface AppendPipelineOptions {
  readonly socket: Pick<FrameSocket, "failure" | "onFailure" | "onMessage" | "sendFrames">;
  readonly arena: FrameArena;
  /** Frames sent and not yet acknowledged, at most; 1 waits for each answer. */
  readonly framesInFlightMax: number;
  /** Frames that leave in one write to the socket. */
  readonly framesPerWrite: number;
  readonly by: SendingWay;
  /**
   * Offers no more than this, as a source of readings does; what was late is made up for. Latencies then count from the time at which
   * a frame was due, so that a stall shows in all frames that it held up.
   */
  readonly framesPerSecondMax?: number;
  /** The number that the first message must get. */
  readonly nextSequence: number;
  /** Others append to the stream as well: numbers go up, and what is between them is theirs. */
  readonly isSharedStream?: boolean;
}

/**
 * Keeps a bounded window of AppendBatch frames in flight, and believes nothing: every answer must be a success, come in the
 * order of the requests, and carry the sequence number that follows from all before.
 */
export class AppendPipeline {
  readonly #options: AppendPipelineOptions;
  /** From when the latency of a frame counts. */
  readonly #waitsFromMs: Float64Array;
  #sentFrames = 0;
  #acknowledgedFrames = 0;
  #acknowledgedMessages = 0;
  #acknowledgedBytes = 0;
  #expectedSequence: number;
  #startMs = 0;
  #startFrames = 0;
  #pacing: NodeJS.Timeout | undefined;

  constructor(options: AppendPipelineOptions) {
    const { framesInFlightMax, framesPerWrite, arena } = options;
    if (framesInFlightMax + framesPerWrite > arena.frameCount && framesInFlightMax > 1) {
      throw new Error(`a window of ${framesInFlightMax} frames needs more than ${arena.frameCount} frames`);
    }
    this.#options = options;
    this.#waitsFromMs = new Float64Array(arena.frameCount);
    this.#expectedSequence = options.nextSequence;
  }

  /** Messages of all slices that were acknowledged. */
  get acknowledgedMessages(): number {
    return this.#acknowledgedMessages;
  }

  get acknowledgedBytes(): number {
    return this.#acknowledgedBytes;
  }

  /**
   * Sends for `seconds`, then waits for what is still in flight; the time of that counts. Several pipelines may add to one
   * histogram, which takes half a megabyte.
   */
  async run(seconds: number, latencies = new LatencyHistogram()): Promise<Slice> {
    const { socket } = this.#options;
    const startMessages = this.#acknowledgedMessages;
    const startBytes = this.#acknowledgedBytes;
    const startMs = performance.now();
    this.#startMs = startMs;
    this.#startFrames = this.#sentFrames;
    const endMs = startMs + seconds * 1000;
    let watchdog: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        if (socket.failure) throw socket.failure;
        socket.onFailure = reject;
        socket.onMessage = (data) => {
          try {
            this.#onResults(data, latencies);
            this.#fillWindow(endMs);
            if (this.#sentFrames === this.#acknowledgedFrames && performance.now() >= endMs) resolve();
            else this.#pace(endMs, resolve);
          } catch (error) {
            reject(error instanceof Error ? error : new Error(String(error)));
          }
        };
        let seenFrames = -1;
        watchdog = setInterval(() => {
          if (seenFrames === this.#acknowledgedFrames) {
            reject(
              new Error(`no answer for ${STALL_DEADLINE_MS} ms: ${this.#sentFrames - seenFrames} in flight`),
            );
          }
          seenFrames = this.#acknowledgedFrames;
        }, STALL_DEADLINE_MS);
        this.#fillWindow(endMs);
        this.#pace(endMs, resolve);
      });
    } finally {
      clearInterval(watchdog);
      clearTimeout(this.#pacing);
      this.#pacing = undefined;
      socket.onMessage = () => undefined;
      socket.onFailure = () => undefined;
    }
    return {
      elapsedS: (performance.now() - startMs) / 1000,
      messageCount: this.#acknowledgedMessages - startMessages,
      payloadBytes: this.#acknowledgedBytes - startBytes,
      latencies,
    };
  }

  #fillWindow(endMs: number): void {
    const { arena, socket, framesInFlightMax, framesPerWrite, by } = this.#options;
    while (this.#sentFrames - this.#acknowledgedFrames + framesPerWrite <= framesInFlightMax) {
      const nowMs = performance.now();
      const dueMs = this.#nextDueMs();
      if (nowMs >= endMs || (dueMs !== undefined && dueMs >= nowMs)) return;
      const from = this.#sentFrames % arena.frameCount;
      for (let frame = from; frame < from + framesPerWrite; frame++) {
        arena.setRequestId(frame, this.#sentFrames >>> 0);
        arena.setBatchNumber(frame, this.#sentFrames);
        this.#sentFrames += 1;
      }
      this.#waitsFromMs[from] = dueMs ?? nowMs;
      socket.sendFrames(arena, { from, end: from + framesPerWrite, by });
    }
  }

  /** Undefined where frames go out as fast as they are answered. */
  #nextDueMs(): number | undefined {
    const { framesPerSecondMax } = this.#options;
    if (framesPerSecondMax === undefined) return undefined;
    return this.#startMs + ((this.#sentFrames - this.#startFrames) * 1000) / framesPerSecondMax;
  }

  /** Without an answer to wait for, the next frame goes out when it is due. */
  #pace(endMs: number, onEnd: () => void): void {
    if (this.#options.framesPerSecondMax === undefined || this.#pacing !== undefined) return;
    this.#pacing = setTimeout(() => {
      this.#pacing = undefined;
      this.#fillWindow(endMs);
      if (this.#sentFrames === this.#acknowledgedFrames && performance.now() >= endMs) onEnd();
      else this.#pace(endMs, onEnd);
    }, 1);
  }

  #onResults(data: Buffer, latencies: LatencyHistogram): void {
    const { arena, framesPerWrite } = this.#options;
    if (data[0] !== Operation.AppendBatchResult) throw new Error(`unexpected operation ${data[0] ?? "none"}`);
    const nowMs = performance.now();
    decodeAppendBatchResult(data, (requestId, status, firstSequence, errorMessage) => {
      const frame = this.#acknowledgedFrames % arena.frameCount;
      if (status !== 0) throw new Error(`request ${requestId} failed with status ${status}: ${errorMessage}`);
      if (requestId !== this.#acknowledgedFrames >>> 0 || this.#acknowledgedFrames >= this.#sentFrames) {
        throw new Error(`answer to request ${requestId}, the next is ${this.#acknowledgedFrames >>> 0}`);
      }
      const { isSharedStream = false } = this.#options;
      const isNext = isSharedStream
        ? firstSequence >= this.#expectedSequence
        : firstSequence === this.#expectedSequence;
      if (!isNext) {
        throw new Error(`request ${requestId} got sequence ${firstSequence} for ${this.#expectedSequence}`);
      }
      // One sample a write: the frames of one write share their fate.
      if (frame % framesPerWrite === 0) latencies.add((nowMs - this.#waitsFromMs[frame]!) * 1000);
      this.#acknowledgedFrames += 1;
      this.#expectedSequence = firstSequence + arena.messageCounts[frame]!;
      this.#acknowledgedMessages += arena.messageCounts[frame]!;
      this.#acknowledgedBytes += arena.payloadBytes[frame]!;
    });
  }
}
