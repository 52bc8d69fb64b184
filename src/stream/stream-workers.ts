import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { MillraceError } from "../core/errors.ts";
import { APPEND_OUTCOME_DEADLINE_MS } from "../core/limits.ts";
import { WORKER_DEATHS_MAX, WORKER_DEATHS_WINDOW_MS } from "../core/thread-limits.ts";
import { systemTimers, type Timers } from "../core/timers.ts";
import type { LedgerChange } from "../core/stream-ledger.ts";
import { EventName } from "../observe/events.ts";
import type { Logger } from "../observe/logger.ts";
import { anywhere } from "../native/thread-placement.ts";
import { MemoryBudget } from "../log/memory-budget.ts";
import type { SharedFile } from "../log/shared-memory-storage.ts";
import { Doorbell } from "../ring/doorbell.ts";
import type { MemoryChunk, StreamFacts, StreamProgress, StreamWorkerSettings } from "./stream-channel.ts";
import { StreamProxy } from "./stream-proxy.ts";
import { HandledSlot } from "./handled-slot.ts";
import { type StorageDelay, StorageWatch } from "./storage-watch.ts";
import { type StartStreamThread, streamThreads } from "./stream-thread.ts";

/** What of the machine the workers stand on; a simulation brings its own. */
export interface WorkerPlatform {
  readonly startThread: StartStreamThread;
  readonly timers: Timers;
  /** Until the doorbell rings. Does not keep the process alive. */
  sleep(doorbell: Doorbell, ticket: number): Promise<unknown>;
  /** Until sockets have had their turn. */
  yieldTurn(): Promise<void>;
}

export function threadPlatform(threads = anywhere): WorkerPlatform {
  return {
    startThread: streamThreads(threads),
    timers: systemTimers,
    sleep: (doorbell, ticket) => doorbell.waitAsync(ticket, Infinity) ?? Promise.resolve(),
    yieldTurn: () => new Promise((resolve) => setImmediate(resolve)),
  };
}

export interface StreamWorkersOptions {
  readonly workerCountMax: number;
  readonly ringBytes: number;
  readonly settings: StreamWorkerSettings;
  readonly platform: WorkerPlatform;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onProgress: (workerIndex: number, slot: number, progress: StreamProgress) => void;
  readonly onLoss: (workerIndex: number, slot: number, change: LedgerChange) => void;
  readonly onFacts: (workerIndex: number, slot: number, facts: StreamFacts) => void;
  /** Storage makes appends wait, or does so no more. */
  readonly onStorageDelay: (delay: StorageDelay, waitedMs: number) => void;
  /** After each round of what came up; replies gathered meanwhile go out now. */
  readonly onDrained: () => void;
  /** A ring that was full takes requests again. */
  readonly onRoom: (workerIndex: number) => void;
  /** The worker died; nothing is unanswered any more. */
  readonly onDown: (workerIndex: number) => void;
  /** A worker died again and again over one stream, which is not to be opened again. */
  readonly onPoisonous: (workerIndex: number, slot: number) => void;
  /** A new worker stands in its place and waits for its streams to be opened. */
  readonly onRestarted: (workerIndex: number) => void;
}

interface WorkerPlace {
  proxy: StreamProxy | undefined;
  streamCount: number;
  nextSlot: number;
  restartCount: number;
  /** A worker died here, and another will take its place. */
  isRestarting: boolean;
  /** The newest deaths, oldest first; of each the stream that was in hand, if there was one. */
  readonly deaths: { readonly atMs: number; readonly slot: number | undefined }[];
}

/** A file of a Memory stream, and the worker that writes it. */
interface HeldFile {
  readonly workerIndex: number;
  readonly chunks: SharedArrayBuffer[];
}

/** The stream workers: starts them when their first stream comes, turns their doorbell into events, replaces dead ones. */
export class StreamWorkers {
  readonly #options: StreamWorkersOptions;
  readonly #doorbell = new Doorbell();
  readonly #places: WorkerPlace[];
  /** Segments of Memory streams by path: they outlive the worker that writes them. */
  readonly #memory = new Map<string, HeldFile>();
  readonly #budget: MemoryBudget;
  readonly #watch: StorageWatch;
  readonly #cancelTimers = new Set<() => void>();
  #isClosed = false;
  /** The doorbell is answered until the last worker has told its last outcome. */
  #isPumping = true;

  constructor(options: StreamWorkersOptions) {
    this.#options = options;
    this.#watch = new StorageWatch(options.onStorageDelay);
    this.#places = Array.from({ length: options.workerCountMax }, () => ({
      proxy: undefined,
      streamCount: 0,
      nextSlot: 0,
      restartCount: 0,
      isRestarting: false,
      deaths: [],
    }));
    this.#budget = MemoryBudget.forThreads(options.settings.memoryStreamBytesMax, options.workerCountMax);
    void this.#pump();
    this.#expireEverySecond();
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

  /** The stream is gone. What a death in the middle of its deletion left of a Memory stream goes with it. */
  unplace(workerIndex: number, directory: string): void {
    this.#places[workerIndex]!.streamCount -= 1;
    for (const { path, chunks } of this.memoryOf(directory)) {
      this.#memory.delete(path);
      this.#budget.give(workerIndex, bytesOf(chunks));
    }
  }

  /** What Memory streams take together, and what they may. */
  get memoryFigures(): { readonly usedBytes: number; readonly bytesMax: number } {
    const { usedBytes, bytesMax } = this.#budget;
    return { usedBytes, bytesMax };
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
    if (place.proxy === undefined && !place.isRestarting) place.proxy = this.#start(workerIndex);
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
      .map(([path, { chunks }]) => ({ path, chunks: [...chunks] }));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#stopTimers();
    const closed = await Promise.allSettled(this.running.map(({ proxy }) => proxy.close()));
    this.#isPumping = false;
    this.#options.onDrained();
    this.#doorbell.ringAlways();
    for (const result of closed) if (result.status === "rejected") throw result.reason;
  }

  async terminate(): Promise<void> {
    this.#isClosed = true;
    this.#stopTimers();
    this.#isPumping = false;
    await Promise.all(this.running.map(({ proxy }) => proxy.terminate()));
  }

  #start(workerIndex: number): StreamProxy {
    const { ringBytes, settings, onProgress, onLoss, onFacts } = this.#options;
    const handledSlot = new HandledSlot();
    return new StreamProxy({
      workerIndex,
      ringBytes,
      mainDoorbell: this.#doorbell,
      clock: this.#options.clock,
      startThread: this.#options.platform.startThread,
      onAnswer: () => this.#drain(),
      settings,
      memoryBudget: this.#budget.memory,
      onProgress: (slot, progress) => onProgress(workerIndex, slot, progress),
      onLoss: (slot, change) => onLoss(workerIndex, slot, change),
      onFacts: (slot, facts) => onFacts(workerIndex, slot, facts),
      onMemoryChunk: (chunk) => this.#keepMemory(workerIndex, chunk),
      onMemoryUnlink: (path) => this.#memory.delete(path),
      onMemoryRename: (source, target) => this.#renameMemory(source, target),
      handledSlot,
      onDeath: (error) => this.#onDeath(workerIndex, handledSlot.slot, error),
    });
  }

  #keepMemory(workerIndex: number, chunk: MemoryChunk): void {
    const held = this.#memory.get(chunk.path);
    if (held === undefined) this.#memory.set(chunk.path, { workerIndex, chunks: [chunk.memory] });
    else held.chunks.push(chunk.memory);
  }

  /** Of what a dead worker took and gave, the last may not have been told: what is kept for its successor counts. */
  #countHeld(workerIndex: number): void {
    let heldBytes = 0;
    for (const held of this.#memory.values())
      if (held.workerIndex === workerIndex) heldBytes += bytesOf(held.chunks);
    this.#budget.set(workerIndex, heldBytes);
  }

  #renameMemory(source: string, target: string): void {
    const held = this.#memory.get(source);
    this.#memory.delete(source);
    if (held !== undefined) this.#memory.set(target, held);
  }

  #onDeath(workerIndex: number, slot: number | undefined, error: Error | undefined): void {
    const { clock, logger, onDown, onDrained } = this.#options;
    const place = this.#places[workerIndex]!;
    place.proxy = undefined;
    place.isRestarting = true;
    this.#countHeld(workerIndex);
    const nowMs = clock.monotonicMs();
    place.deaths.push({ atMs: nowMs, slot });
    while (nowMs - place.deaths[0]!.atMs > WORKER_DEATHS_WINDOW_MS) place.deaths.shift();
    let isDyingOften = place.deaths.length >= WORKER_DEATHS_MAX;
    const reason = error === undefined ? "exit without an error" : "uncaught error";
    logger.error(EventName.WorkerDied, { worker: workerIndex, reason }, error);
    onDown(workerIndex);
    if (isDyingOften && slot !== undefined && place.deaths.every((death) => death.slot === slot)) {
      // It dies over this one stream: without it the others go on at once.
      this.#options.onPoisonous(workerIndex, slot);
      place.deaths.length = 0;
      isDyingOften = false;
    }
    onDrained();
    if (this.#isClosed) return;
    // One that dies again and again must not take a core with starting it.
    this.#after(isDyingOften ? WORKER_DEATHS_WINDOW_MS : 0, { keepsAlive: true }, () => {
      place.proxy = this.#start(workerIndex);
      place.isRestarting = false;
      place.restartCount += 1;
      this.#options.onRestarted(workerIndex);
    });
  }

  async #pump(): Promise<void> {
    const { platform } = this.#options;
    while (this.#isPumping) {
      this.#drain();
      const ticket = this.#doorbell.arm();
      if (this.#places.some(({ proxy }) => proxy?.hasWork() === true)) {
        this.#doorbell.disarm();
        await platform.yieldTurn();
        continue;
      }
      await platform.sleep(this.#doorbell, ticket);
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
    const nowMs = this.#options.clock.monotonicMs();
    this.#failOlderThan(nowMs - APPEND_OUTCOME_DEADLINE_MS);
    const waits = this.running.map(({ proxy }) => nowMs - (proxy.pending.oldestAskedMs ?? nowMs));
    this.#watch.observe(Math.max(0, ...waits));
  }

  /** Appends that wait for storage are told now that their outcome is unknown. */
  failWaiting(): void {
    this.#failOlderThan(Infinity);
  }

  #failOlderThan(askedMs: number): void {
    const error = new MillraceError(
      "UNKNOWN_OUTCOME",
      `Storage did not answer in time, which is at most ${APPEND_OUTCOME_DEADLINE_MS} ms`,
    );
    for (const { proxy } of this.running) proxy.pending.expire(askedMs, error);
    this.#options.onDrained();
  }

  #expireEverySecond(): void {
    this.#after(1000, { keepsAlive: false }, () => {
      this.#expire();
      this.#expireEverySecond();
    });
  }

  #after(delayMs: number, options: { readonly keepsAlive: boolean }, run: () => void): void {
    const action = (): void => {
      this.#cancelTimers.delete(cancel);
      run();
    };
    const cancel = this.#options.platform.timers.setTimer(action, delayMs, options);
    this.#cancelTimers.add(cancel);
  }

  #stopTimers(): void {
    for (const cancel of this.#cancelTimers) cancel();
    this.#cancelTimers.clear();
  }
}

function bytesOf(chunks: readonly SharedArrayBuffer[]): number {
  return chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0);
}
