import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { MillraceError } from "../core/errors.ts";
import { APPEND_OUTCOME_DEADLINE_MS, WORKER_DEATHS_MAX, WORKER_DEATHS_WINDOW_MS } from "../core/limits.ts";
import { EventName } from "../observe/events.ts";
import type { Logger } from "../observe/logger.ts";
import type { SharedFile } from "../log/shared-memory-storage.ts";
import { Doorbell } from "../ring/doorbell.ts";
import type { MemoryChunk, StreamProgress, StreamWorkerSettings } from "./stream-channel.ts";
import { StreamProxy } from "./stream-proxy.ts";

export interface StreamWorkersOptions {
  readonly workerCountMax: number;
  readonly ringBytes: number;
  readonly settings: StreamWorkerSettings;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onProgress: (workerIndex: number, slot: number, progress: StreamProgress) => void;
  /** After each round of what came up; replies gathered meanwhile go out now. */
  readonly onDrained: () => void;
  /** A ring that was full takes requests again. */
  readonly onRoom: (workerIndex: number) => void;
  /** The worker died; nothing is unanswered any more. */
  readonly onDown: (workerIndex: number) => void;
  /** A new worker stands in its place and waits for its streams to be opened. */
  readonly onRestarted: (workerIndex: number) => void;
}

interface WorkerPlace {
  proxy: StreamProxy | undefined;
  streamCount: number;
  nextSlot: number;
  restartCount: number;
  readonly deathsMs: number[];
}

/** The stream workers: starts them when their first stream comes, turns their doorbell into events, replaces dead ones. */
export class StreamWorkers {
  readonly #options: StreamWorkersOptions;
  readonly #doorbell = new Doorbell();
  readonly #places: WorkerPlace[];
  /** Segments of Memory streams by path: they outlive the worker that writes them. */
  readonly #memory = new Map<string, SharedArrayBuffer[]>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #isClosed = false;
  /** The doorbell is answered until the last worker has told its last outcome. */
  #isPumping = true;

  constructor(options: StreamWorkersOptions) {
    this.#options = options;
    this.#places = Array.from({ length: options.workerCountMax }, () => ({
      proxy: undefined,
      streamCount: 0,
      nextSlot: 0,
      restartCount: 0,
      deathsMs: [],
    }));
    void this.#pump();
    this.#every(1000, () => this.#expire());
  }

  /** The worker with the fewest streams. */
  place(): number {
    let best = 0;
    this.#places.forEach((place, index) => {
      if (place.streamCount < this.#places[best]!.streamCount) best = index;
    });
    this.#places[best]!.streamCount += 1;
    return best;
  }

  unplace(workerIndex: number): void {
    this.#places[workerIndex]!.streamCount -= 1;
  }

  /** A slot that no stream had before: what is still in the ring for a deleted one cannot reach another. */
  nextSlot(workerIndex: number): number {
    return this.#places[workerIndex]!.nextSlot++;
  }

  /** @throws {MillraceError} SERVER_BUSY between a worker's death and its successor's start */
  proxy(workerIndex: number): StreamProxy {
    const place = this.#places[workerIndex];
    assert(place !== undefined, "a stream names a worker that exists");
    if (this.#isClosed) throw new MillraceError("SHUTTING_DOWN", "The engine is stopping");
    if (place.proxy === undefined && place.deathsMs.length === 0) place.proxy = this.#start(workerIndex);
    if (place.proxy === undefined) {
      throw new MillraceError("SERVER_BUSY", "The stream's worker is being restarted: retry");
    }
    return place.proxy;
  }

  get running(): readonly {
    readonly workerIndex: number;
    readonly proxy: StreamProxy;
    readonly restartCount: number;
  }[] {
    return this.#places.flatMap(({ proxy, restartCount }, workerIndex) =>
      proxy === undefined ? [] : [{ workerIndex, proxy, restartCount }],
    );
  }

  /** The segments of a Memory stream. */
  memoryOf(directory: string): SharedFile[] {
    return [...this.#memory]
      .filter(([path]) => path.startsWith(`${directory}/`))
      .map(([path, chunks]) => ({ path, chunks: [...chunks] }));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    const closed = await Promise.allSettled(this.running.map(({ proxy }) => proxy.close()));
    this.#isPumping = false;
    this.#options.onDrained();
    this.#doorbell.ringAlways();
    for (const result of closed) if (result.status === "rejected") throw result.reason;
  }

  async terminate(): Promise<void> {
    this.#isClosed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#isPumping = false;
    await Promise.all(this.running.map(({ proxy }) => proxy.terminate()));
  }

  #start(workerIndex: number): StreamProxy {
    const { ringBytes, settings, onProgress } = this.#options;
    return new StreamProxy({
      workerIndex,
      ringBytes,
      mainDoorbell: this.#doorbell,
      clock: this.#options.clock,
      onAnswer: () => this.#drain(),
      settings,
      onProgress: (slot, progress) => onProgress(workerIndex, slot, progress),
      onMemoryChunk: (chunk) => this.#keepMemory(chunk),
      onMemoryUnlink: (path) => this.#memory.delete(path),
      onDeath: (error) => this.#onDeath(workerIndex, error),
    });
  }

  #keepMemory(chunk: MemoryChunk): void {
    const chunks = this.#memory.get(chunk.path);
    if (chunks === undefined) this.#memory.set(chunk.path, [chunk.memory]);
    else chunks.push(chunk.memory);
  }

  #onDeath(workerIndex: number, error: Error | undefined): void {
    const { clock, logger, onDown, onDrained } = this.#options;
    const place = this.#places[workerIndex]!;
    place.proxy = undefined;
    const nowMs = clock.monotonicMs();
    place.deathsMs.push(nowMs);
    while (nowMs - place.deathsMs[0]! > WORKER_DEATHS_WINDOW_MS) place.deathsMs.shift();
    const isDyingOften = place.deathsMs.length >= WORKER_DEATHS_MAX;
    const reason = error === undefined ? "exit without an error" : "uncaught error";
    logger.error(EventName.WorkerDied, { worker: workerIndex, reason }, error);
    onDown(workerIndex);
    onDrained();
    if (this.#isClosed) return;
    // One that dies again and again must not take a core with starting it.
    this.#after(isDyingOften ? WORKER_DEATHS_WINDOW_MS : 0, () => {
      place.proxy = this.#start(workerIndex);
      place.restartCount += 1;
      this.#options.onRestarted(workerIndex);
    });
  }

  async #pump(): Promise<void> {
    while (this.#isPumping) {
      this.#drain();
      const ticket = this.#doorbell.arm();
      if (this.#places.some(({ proxy }) => proxy?.hasWork() === true)) {
        this.#doorbell.disarm();
        await new Promise((resolve) => setImmediate(resolve));
        continue;
      }
      await this.#doorbell.waitAsync(ticket, Infinity);
      this.#doorbell.disarm();
    }
  }

  #drain(): void {
    this.#places.forEach(({ proxy }, workerIndex) => {
      if (proxy?.drain() === true) this.#options.onRoom(workerIndex);
    });
    this.#options.onDrained();
  }

  #expire(): void {
    const askedMs = this.#options.clock.monotonicMs() - APPEND_OUTCOME_DEADLINE_MS;
    const error = new MillraceError(
      "UNKNOWN_OUTCOME",
      `Storage did not answer within ${APPEND_OUTCOME_DEADLINE_MS} ms`,
    );
    for (const { proxy } of this.running) proxy.pending.expire(askedMs, error);
    this.#options.onDrained();
  }

  #after(delayMs: number, run: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, delayMs);
    this.#timers.add(timer);
  }

  #every(intervalMs: number, run: () => void): void {
    const timer = setInterval(run, intervalMs);
    timer.unref();
    this.#timers.add(timer);
  }
}
