import type {
  Destination,
  DestinationLimits,
  ExportRecord,
  SendOutcome,
} from "../../../src/export/destinations/destination.ts";
import type { DestinationSettings } from "../../../src/export/exporter-settings.ts";
import type { ExportResult, ExportTask } from "../../../src/export/export-channel.ts";
import type { TaskPool } from "../../../src/export/export-pool.ts";
import { ExportRunner } from "../../../src/export/export-runner.ts";
import { LogReaderCache } from "../../../src/export/log-reader-cache.ts";
import type { SeededRandom } from "../../support/deterministic.ts";
import type { SimStorage } from "../../support/sim-storage.ts";
import type { SimScheduler } from "./sim-scheduler.ts";
import { ThreadStorage } from "./sim-threads.ts";

interface Request {
  readonly target: string;
  readonly records: readonly { readonly sequence: number; readonly payload: string }[];
  readonly resolve: (outcome: SendOutcome) => void;
}

/** The cloud: outlives every process. Takes some, all or nothing of a request, and may take it and say that it failed. */
export class SimCloud implements Destination {
  /** By Kinesis stream and sequence number: what was accepted there, duplicates dropped. */
  readonly accepted = new Map<string, Map<number, string>>();
  readonly violations: string[] = [];
  acceptedCount = 0;
  duplicateCount = 0;
  readonly #random: SeededRandom;
  #requests: Request[] = [];
  /** A share of requests that go wrong in some way. */
  trouble = 0.2;

  constructor(random: SeededRandom) {
    this.#random = random;
  }

  limitsFor(): DestinationLimits {
    return { recordsMax: 20, requestBytesMax: 20_000, recordBytesMax: 6000, recordOverheadBytes: 36 };
  }

  get isAsked(): boolean {
    return this.#requests.length > 0;
  }

  /** Nobody waits for an answer any more; what was on its way may have arrived all the same. */
  disconnect(): void {
    for (const request of this.#requests)
      if (this.#random.fraction() < 0.5) this.#take(request.target, request.records);
    this.#requests = [];
  }

  send(settings: DestinationSettings, records: readonly ExportRecord[]): Promise<SendOutcome> {
    const target = settings.kind === "kinesis" ? settings.kinesisStreamName : settings.kind;
    const copies = records.map(({ sequence, data }) => ({
      sequence,
      payload: Buffer.from(data).toString("latin1"),
    }));
    return new Promise((resolve) => this.#requests.push({ target, records: copies, resolve }));
  }

  answerOne(): void {
    const [request] = this.#requests.splice(this.#random.between(0, this.#requests.length - 1), 1);
    if (request === undefined) return;
    const { target, records, resolve } = request;
    const dice = this.#random.fraction() / this.trouble;
    if (dice < 0.4) {
      const failed = records.flatMap((_, index) => (this.#random.fraction() < 0.5 ? [index] : []));
      this.#take(
        target,
        records.filter((_, index) => !failed.includes(index)),
      );
      resolve({ kind: "answered", failed, error: failed.length > 0 ? "throttled" : "" });
    } else if (dice < 1) {
      // Taken or not: the answer was lost.
      if (dice < 0.7) this.#take(target, records);
      resolve({
        kind: "failed",
        scope: "endpoint",
        pace: "backoff",
        timedOut: dice > 0.9,
        error: "no answer",
      });
    } else {
      this.#take(target, records);
      resolve({ kind: "answered", failed: [], error: "" });
    }
  }

  #take(target: string, records: Request["records"]): void {
    let stream = this.accepted.get(target);
    if (stream === undefined) this.accepted.set(target, (stream = new Map<number, string>()));
    for (const { sequence, payload } of records) {
      const known = stream.get(sequence);
      if (known === undefined) this.acceptedCount += 1;
      else this.duplicateCount += 1;
      if (known !== undefined && known !== payload)
        this.violations.push(`${target}: message ${sequence} was exported as two different ones`);
      stream.set(sequence, payload);
    }
  }

  close(): void {
    // Stays for the next process.
  }
}

interface Task {
  readonly task: ExportTask;
  readonly resolve: (result: ExportResult) => void;
  readonly reject: (error: Error) => void;
}

/** Export workers of one process: tasks start when the scheduler says so, and their thread may die over them. */
export class SimExportPool implements TaskPool {
  readonly #scheduler: SimScheduler;
  readonly #storage: SimStorage;
  readonly #cloud: SimCloud;
  readonly #name: string;
  #thread!: { readonly storage: ThreadStorage; readonly runner: ExportRunner };
  #waiting: Task[] = [];
  #running = new Set<Task>();

  constructor(name: string, parts: { storage: SimStorage; scheduler: SimScheduler; cloud: SimCloud }) {
    this.#name = name;
    this.#scheduler = parts.scheduler;
    this.#storage = parts.storage;
    this.#cloud = parts.cloud;
    this.#startThread();
    this.#scheduler.addActor({
      name: `${name} starts a task`,
      weight: 1,
      run: () => (this.#waiting.length === 0 ? undefined : () => this.#start(this.#waiting.shift()!)),
    });
    this.#scheduler.addActor({
      name: `${name} is answered`,
      weight: 1,
      run: () => (this.#cloud.isAsked ? () => this.#cloud.answerOne() : undefined),
    });
  }

  #startThread(): void {
    const storage = new ThreadStorage(this.#storage);
    const readers = new LogReaderCache(storage);
    const runner = new ExportRunner({
      storage,
      clock: this.#scheduler.clock,
      timers: this.#scheduler,
      loadDestination: () => Promise.resolve(this.#cloud),
      openReader: (task) => readers.open(task),
    });
    this.#thread = { storage, runner };
  }

  run(task: ExportTask): Promise<ExportResult> {
    return new Promise((resolve, reject) => this.#waiting.push({ task, resolve, reject }));
  }

  #start(task: Task): void {
    const { storage, runner } = this.#thread;
    this.#running.add(task);
    const end = (act: () => void): void => {
      this.#running.delete(task);
      if (!storage.isDead) act();
    };
    runner.run(task.task).then(
      (result) => end(() => task.resolve(result)),
      (error: unknown) => end(() => task.reject(error instanceof Error ? error : new Error(String(error)))),
    );
  }

  /** The one thread dies with what it does; another takes its place. */
  killThread(): void {
    this.#thread.storage.isDead = true;
    const lost = [...this.#running];
    this.#running.clear();
    this.#cloud.disconnect();
    this.#startThread();
    for (const { reject } of lost) reject(new Error("the export worker died"));
  }

  close(): Promise<void> {
    this.vanish();
    return Promise.resolve();
  }

  vanish(): void {
    this.#thread.storage.isDead = true;
    this.#waiting = [];
    this.#running.clear();
    this.#cloud.disconnect();
    this.#scheduler.removeActor(`${this.#name} starts a task`);
    this.#scheduler.removeActor(`${this.#name} is answered`);
  }
}
