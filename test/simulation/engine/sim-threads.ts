import type { Random } from "../../../src/core/random.ts";
import type { Storage, StorageFile } from "../../../src/log/storage.ts";
import type { Doorbell } from "../../../src/ring/doorbell.ts";
import { assembleAgent } from "../../../src/stream/agent-assembly.ts";
import type { StreamAgent } from "../../../src/stream/stream-agent.ts";
import type { ControlReply, ControlRequest, StreamWorkerData } from "../../../src/stream/stream-channel.ts";
import type { StreamThreadEvents } from "../../../src/stream/stream-thread.ts";
import type { WorkerPlatform } from "../../../src/stream/stream-workers.ts";
import type { SimScheduler } from "./sim-scheduler.ts";

/** The storage as one thread has it: with the thread's end nobody hears of its syncs any more, and no call comes from it. */
export class ThreadStorage implements Storage {
  readonly #storage: Storage;
  isDead = false;
  syncsRunning = 0;

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  #alive(): Storage {
    if (this.isDead) throw new Error("a dead thread uses its storage");
    return this.#storage;
  }

  open(filePath: string, mode: "create" | "append" | "read"): StorageFile {
    const file = this.#alive().open(filePath, mode);
    return {
      path: file.path,
      write: (buffers, position) => (this.#alive(), file.write(buffers, position)),
      read: (target, position) => file.read(target, position),
      sync: (done) => {
        this.#alive();
        this.syncsRunning += 1;
        file.sync((error) => {
          this.syncsRunning -= 1;
          if (!this.isDead) done(error);
        });
      },
      syncNow: () => {
        this.#alive();
        file.syncNow();
      },
      truncate: (sizeBytes) => {
        this.#alive();
        file.truncate(sizeBytes);
      },
      sizeBytes: () => file.sizeBytes(),
      close: () => {
        file.close();
      },
    };
  }
  list(directory: string): ReturnType<Storage["list"]> {
    return this.#alive().list(directory);
  }
  makeDirectory(directory: string): void {
    this.#alive().makeDirectory(directory);
  }
  syncDirectory(directory: string): void {
    this.#alive().syncDirectory(directory);
  }
  rename(source: string, target: string): void {
    this.#alive().rename(source, target);
  }
  unlink(filePath: string): void {
    this.#alive().unlink(filePath);
  }
  removeDirectory(directory: string): void {
    this.#alive().removeDirectory(directory);
  }
  identify(place: string): string {
    return this.#alive().identify(place);
  }
  freeBytes(directory: string): number {
    return this.#alive().freeBytes(directory);
  }
}

/** A stream worker as a few actors: its slices, what is said to it, what it says. */
class SimThread {
  readonly name: string;
  readonly storage: ThreadStorage;
  readonly #scheduler: SimScheduler;
  readonly #events: StreamThreadEvents;
  readonly #agent: StreamAgent;
  readonly #requests: ControlRequest[] = [];
  readonly #replies: ControlReply[] = [];

  constructor(
    name: string,
    data: StreamWorkerData,
    events: StreamThreadEvents,
    parts: { storage: Storage; scheduler: SimScheduler; random: Random },
  ) {
    this.name = name;
    this.#scheduler = parts.scheduler;
    this.#events = events;
    this.storage = new ThreadStorage(parts.storage);
    this.#agent = assembleAgent(data, {
      storage: this.storage,
      clock: parts.scheduler.clock,
      random: parts.random,
      reply: (message) => this.#replies.push(message),
    });
    parts.scheduler.addActor({ name: `${name} works`, weight: 3, run: () => () => this.#work() });
    parts.scheduler.addActor({
      name: `${name} is told`,
      weight: 2,
      run: () =>
        this.#requests.length === 0 ? undefined : () => this.#agent.onControl(this.#requests.shift()!),
    });
    parts.scheduler.addActor({
      name: `${name} tells`,
      weight: 2,
      run: () => (this.#replies.length === 0 ? undefined : () => events.onReply(this.#replies.shift()!)),
    });
  }

  post(request: ControlRequest): void {
    this.#requests.push(request);
  }

  #work(): void {
    this.#agent.doWork();
    if (this.#agent.isClosed && this.#replies.length === 0) this.end(undefined);
  }

  /**
   * The thread ends, by itself or by a failure. The main thread hears of it once it has heard what was said before; a thread
   * in a system call ends with that.
   */
  end(failure: Error | undefined): void {
    if (this.storage.isDead) return;
    this.storage.isDead = true;
    for (const what of ["works", "is told"]) this.#scheduler.removeActor(`${this.name} ${what}`);
    this.#scheduler.addActor({
      name: `${this.name} is gone`,
      weight: 2,
      run: () =>
        this.#replies.length > 0 || this.storage.syncsRunning > 0 ? undefined : () => this.#exit(failure),
    });
  }

  #exit(failure: Error | undefined): void {
    this.vanish();
    this.#events.onExit(failure);
  }

  /** Without a word to anybody. */
  vanish(): void {
    this.storage.isDead = true;
    for (const what of ["works", "is told", "tells", "is gone"])
      this.#scheduler.removeActor(`${this.name} ${what}`);
  }
}

/** Threads and the main thread's sleep, all in the hands of the scheduler. */
export class SimPlatform implements WorkerPlatform {
  readonly threads: SimThread[] = [];
  readonly timers: SimScheduler;
  readonly #storage: Storage;
  readonly #scheduler: SimScheduler;
  readonly #random: Random;
  #wake: (() => void) | undefined;
  #isWoken: () => boolean = () => true;

  constructor(storage: Storage, scheduler: SimScheduler, random: Random) {
    this.#storage = storage;
    this.#scheduler = scheduler;
    this.#random = random;
    this.timers = scheduler;
    scheduler.addActor({
      name: "main wakes",
      weight: 4,
      run: () => (this.#wake !== undefined && this.#isWoken() ? this.#takeWake() : undefined),
    });
  }

  #takeWake(): (() => void) | undefined {
    const wake = this.#wake;
    return () => {
      this.#wake = undefined;
      wake?.();
    };
  }

  readonly startThread: WorkerPlatform["startThread"] = (data, events) => {
    const name = `worker ${data.workerIndex}.${this.threads.length}`;
    const parts = { storage: this.#storage, scheduler: this.#scheduler, random: this.#random };
    const thread = new SimThread(name, data, events, parts);
    this.threads.push(thread);
    return {
      post: (request) => thread.post(request),
      terminate: () => {
        thread.end(undefined);
        return Promise.resolve();
      },
    };
  };

  sleep(doorbell: Doorbell, ticket: number): Promise<void> {
    // The signal word; a real sleeper is woken by a change of it, so a ring that was never made is never slept through here.
    const words = new Int32Array(doorbell.memory);
    return this.#waitFor(() => Atomics.load(words, 0) !== ticket);
  }

  yieldTurn(): Promise<void> {
    return this.#waitFor(() => true);
  }

  #waitFor(isWoken: () => boolean): Promise<void> {
    this.#isWoken = isWoken;
    return new Promise((resolve) => (this.#wake = resolve));
  }

  /** The process is gone. */
  vanish(): void {
    for (const thread of this.threads) thread.vanish();
    this.#wake = undefined;
    this.#scheduler.removeActor("main wakes");
  }
}
