import { once } from "node:events";
import { Worker } from "node:worker_threads";
import type { ReplayCounts } from "./replay-reader.ts";

/** What the thread is to read. */
export interface ReplayTask {
  readonly url: string;
  readonly streamName: string;
  readonly messageCount: number;
  readonly turn: readonly Uint8Array[];
}

export interface ReplayOrder {
  readonly seconds: number;
}

export type ReplayResult = ReplayCounts & { readonly elapsedS: number };

/** A reader of a stored stream in a thread of its own. */
export class ReplayThread {
  readonly #worker: Worker;
  /** Never resolves; rejects when the thread fails or ends by itself. */
  readonly #failed: Promise<never>;

  private constructor(worker: Worker) {
    this.#worker = worker;
    this.#failed = Promise.race([
      once(worker, "error").then(([error]) => {
        throw error as Error;
      }),
      once(worker, "exit").then(() => {
        throw new Error("the reading thread has ended");
      }),
    ]);
    this.#failed.catch(() => undefined);
  }

  /** Resolves when it has opened the stream. */
  static async start(task: ReplayTask): Promise<ReplayThread> {
    const worker = new Worker(new URL("./replay-worker.js", import.meta.url), { workerData: task });
    const thread = new ReplayThread(worker);
    await thread.#answer();
    return thread;
  }

  /** Reads for so long, from the beginning again whenever it reaches the end. */
  async run(seconds: number): Promise<ReplayResult> {
    this.#worker.postMessage({ seconds } satisfies ReplayOrder);
    return (await this.#answer()) as ReplayResult;
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }

  async #answer(): Promise<unknown> {
    const [answer] = (await Promise.race([once(this.#worker, "message"), this.#failed])) as [unknown];
    return answer;
  }
}
