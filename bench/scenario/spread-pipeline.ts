import { decodeAppendBatchResult } from "../../src/wire/append-batch-result-layout.ts";
import type { OpenStreamResult } from "../../src/wire/open-stream-layout.ts";
import { Operation } from "../../src/wire/operation.ts";
import { LatencyHistogram } from "../latency-histogram.ts";
import type { FrameArena } from "./frame-arena.ts";
import type { FrameSocket } from "./frame-socket.ts";
import type { Slice } from "./slice.ts";

const STALL_DEADLINE_MS = 30_000;

/** What a stream has of a pipeline: frames on their way, oldest first, and the number that its next message must get. */
interface StreamPart {
  readonly handle: number;
  readonly inFlight: { readonly frame: number; readonly sentMs: number }[];
  expectedSequence: number;
  acknowledgedMessages: number;
}

/**
 * Appends to many streams in turn over one connection, a bounded window of frames in flight over all of them. Answers of
 * different streams may come in any order; within each stream every answer must follow from all before.
 */
export class SpreadPipeline {
  readonly #socket: FrameSocket;
  readonly #arena: FrameArena;
  readonly #framesInFlightMax: number;
  readonly #parts: readonly StreamPart[];
  #sentFrames = 0;
  #acknowledgedFrames = 0;
  #messageCount = 0;
  #payloadBytes = 0;

  constructor(options: {
    readonly socket: FrameSocket;
    readonly arena: FrameArena;
    readonly framesInFlightMax: number;
    /** Appended to in this order, again and again. */
    readonly streams: readonly OpenStreamResult[];
  }) {
    const { socket, arena, framesInFlightMax, streams } = options;
    // Whatever the order of answers, one of the last frameCount frames has one, so that all before it are on the wire.
    if (framesInFlightMax >= arena.frameCount) {
      throw new Error(`a window of ${framesInFlightMax} frames needs more than ${arena.frameCount} frames`);
    }
    this.#socket = socket;
    this.#arena = arena;
    this.#framesInFlightMax = framesInFlightMax;
    this.#parts = streams.map(({ handle, nextSequence }) => ({
      handle,
      inFlight: [],
      expectedSequence: nextSequence,
      acknowledgedMessages: 0,
    }));
  }

  /** Of each stream, in all runs. */
  get acknowledgedMessages(): readonly number[] {
    return this.#parts.map(({ acknowledgedMessages }) => acknowledgedMessages);
  }

  /** Sends for `seconds`, then waits for what is still in flight; the time of that counts. */
  async run(seconds: number): Promise<Slice> {
    const socket = this.#socket;
    const latencies = new LatencyHistogram();
    const startMessages = this.#messageCount;
    const startBytes = this.#payloadBytes;
    const startMs = performance.now();
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
            if (this.#sentFrames === this.#acknowledgedFrames) resolve();
          } catch (error) {
            reject(error instanceof Error ? error : new Error(String(error)));
          }
        };
        let seenFrames = -1;
        watchdog = setInterval(() => {
          if (seenFrames === this.#acknowledgedFrames)
            reject(new Error(`no answer for ${STALL_DEADLINE_MS} ms`));
          seenFrames = this.#acknowledgedFrames;
        }, STALL_DEADLINE_MS);
        this.#fillWindow(endMs);
      });
    } finally {
      clearInterval(watchdog);
      socket.onMessage = () => undefined;
      socket.onFailure = () => undefined;
    }
    return {
      elapsedS: (performance.now() - startMs) / 1000,
      messageCount: this.#messageCount - startMessages,
      payloadBytes: this.#payloadBytes - startBytes,
      latencies,
    };
  }

  #fillWindow(endMs: number): void {
    const arena = this.#arena;
    while (this.#sentFrames - this.#acknowledgedFrames < this.#framesInFlightMax) {
      const nowMs = performance.now();
      if (nowMs >= endMs) return;
      const frame = this.#sentFrames % arena.frameCount;
      const part = this.#parts[this.#sentFrames % this.#parts.length]!;
      arena.setHandle(frame, part.handle);
      arena.setRequestId(frame, this.#sentFrames >>> 0);
      part.inFlight.push({ frame: this.#sentFrames, sentMs: nowMs });
      this.#sentFrames += 1;
      this.#socket.sendFrames(arena, { from: frame, end: frame + 1, by: "ready bytes" });
    }
  }

  #onResults(data: Buffer, latencies: LatencyHistogram): void {
    if (data[0] !== Operation.AppendBatchResult) throw new Error(`unexpected operation ${data[0] ?? "none"}`);
    const arena = this.#arena;
    const nowMs = performance.now();
    decodeAppendBatchResult(data, (requestId, status, firstSequence, errorMessage) => {
      if (status !== 0) throw new Error(`request ${requestId} failed with status ${status}: ${errorMessage}`);
      // What is in flight is less than 2^32 frames, so that the low bits tell which frame is meant.
      const behind = (this.#sentFrames - requestId) >>> 0;
      const sent = this.#sentFrames - behind;
      const part = this.#parts[sent % this.#parts.length];
      const oldest = part?.inFlight.shift();
      if (part === undefined || oldest?.frame !== sent) {
        throw new Error(`answer to request ${requestId}, which is not the oldest of its stream`);
      }
      if (firstSequence !== part.expectedSequence) {
        throw new Error(`request ${requestId} got sequence ${firstSequence} for ${part.expectedSequence}`);
      }
      const frame = sent % arena.frameCount;
      const messageCount = arena.messageCounts[frame]!;
      latencies.add((nowMs - oldest.sentMs) * 1000);
      part.expectedSequence += messageCount;
      part.acknowledgedMessages += messageCount;
      this.#acknowledgedFrames += 1;
      this.#messageCount += messageCount;
      this.#payloadBytes += arena.payloadBytes[frame]!;
    });
  }
}
