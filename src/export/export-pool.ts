import type { Piscina } from "piscina";
import { assert } from "../core/assert.ts";
import { EXPORT_THREAD_IDLE_MS_MAX } from "../core/limits.ts";
import { anywhere, type PlaceRefusal, type ThreadsOptions } from "../native/thread-placement.ts";
import type { ExportResult, ExportTask } from "./export-channel.ts";
import {
  type DestinationEnvironment,
  destinationEnvironmentDefault,
  type ExportWorkerSettings,
} from "./worker-settings.ts";

/** Runs export tasks beside the caller. Rejects only if the thread that ran the task died. */
export interface TaskPool {
  run(task: ExportTask): Promise<ExportResult>;
  close(): Promise<void>;
}

interface ExportPoolOptions {
  readonly settings: Pick<ExportWorkerSettings, "storeDirectory" | "destinations">;
  readonly threads?: ThreadsOptions;
  readonly threadsMax: number;
  /** Tasks at the same time over all threads. The caller never has more under way, so nothing ever queues here. */
  readonly tasksMax: number;
  /** Of the threads; this process's own if undefined. */
  readonly environment: Readonly<Record<string, string | undefined>> | undefined;
}

/**
 * Export workers under Piscina. `atomics: "disabled"` because the default parks an idle worker's event loop, which kills
 * keep-alive sockets, timers and the refresh of credentials. Threads start with the first task and end when idle.
 */
export class ExportPool implements TaskPool {
  readonly #options: ExportPoolOptions;
  #piscina: Promise<Piscina<ExportTask, ExportResult>> | undefined;
  #running = 0;

  constructor(options: ExportPoolOptions) {
    this.#options = options;
  }

  async run(task: ExportTask): Promise<ExportResult> {
    assert(
      this.#running < this.#options.tasksMax,
      `more than ${this.#options.tasksMax} export tasks at once`,
    );
    this.#running += 1;
    try {
      const piscina = await (this.#piscina ??= this.#start());
      return await piscina.run(task);
    } finally {
      this.#running -= 1;
    }
  }

  /** Ends the threads, with whatever they still do. */
  async close(): Promise<void> {
    await (await this.#piscina)?.destroy();
  }

  async #start(): Promise<Piscina<ExportTask, ExportResult>> {
    const { Piscina } = await import("piscina");
    const { threadsMax, tasksMax, environment, settings, threads = anywhere } = this.#options;
    const { onRefused, heapMibMax, ...place } = threads;
    const workerData: ExportWorkerSettings = { ...settings, place, startCount: new SharedArrayBuffer(4) };
    const pool = new Piscina<ExportTask, ExportResult>({
      filename: new URL("./export-worker.js", import.meta.url).href,
      atomics: "disabled",
      minThreads: 0,
      maxThreads: threadsMax,
      concurrentTasksPerWorker: Math.ceil(tasksMax / threadsMax),
      idleTimeout: EXPORT_THREAD_IDLE_MS_MAX,
      recordTiming: false,
      workerData,
      ...(heapMibMax !== undefined && { resourceLimits: { maxOldGenerationSizeMb: heapMibMax } }),
      ...(environment === undefined ? {} : { env: { ...environment } }),
    });
    // Nothing else is said by a worker beside the results of its tasks.
    pool.on("message", (refusal: PlaceRefusal) => onRefused(refusal));
    return pool;
  }
}

/** The pool of an export manager that has `threadPoolSize` slots. */
export function exportPoolFor(options: {
  readonly storeDirectory: string;
  readonly destinations?: DestinationEnvironment;
  readonly threadPoolSize: number;
  readonly threadsMax: number;
  readonly threads?: ThreadsOptions;
  readonly environment?: ExportPoolOptions["environment"];
}): ExportPool {
  const { storeDirectory, destinations = destinationEnvironmentDefault } = options;
  const { threadPoolSize, threadsMax, threads, environment } = options;
  return new ExportPool({
    settings: { storeDirectory, destinations },
    threadsMax: Math.min(threadsMax, threadPoolSize),
    // Three more than slots: the sync of cursors must not wait for an upload, nor must the end of one, nor that of a file.
    tasksMax: threadPoolSize + 3,
    environment,
    ...(threads && { threads }),
  });
}
