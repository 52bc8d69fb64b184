import { SEGMENT_OVERSHOOT_MAX, SYNC_BYTES_PER_WORKER_MAX } from "../core/limits.ts";
import type { OpenStream } from "./open-stream.ts";

/** What the budget needs of a stream. */
export type BudgetedStream = Pick<OpenStream, "flushOnWrite" | "isMemory"> & {
  readonly log: Pick<OpenStream["log"], "unsyncedBytes" | "isSyncing" | "state" | "sync">;
};

/**
 * Bounds what a power cut may take of all streams of a worker together (RELIABILITY 2.1): each has a bound of its own, and
 * hundreds of them may be a little below it. Only streams count whose messages are acknowledged before they are synced.
 */
export class SyncBudget {
  readonly #bytesMax: number;
  readonly #bytesOf = new Map<BudgetedStream, number>();
  #totalBytes = 0;

  constructor(bytesMax = SYNC_BYTES_PER_WORKER_MAX) {
    this.#bytesMax = bytesMax;
  }

  /** Nothing more may be written before a sync ends. */
  get isOver(): boolean {
    const limit = SEGMENT_OVERSHOOT_MAX * this.#bytesMax;
    if (this.#totalBytes <= limit) return false;
    this.#noteAll();
    return this.#totalBytes > limit;
  }

  /** Something was written to the stream: if all of them together have too much now, those that have most are synced. */
  onWritten(stream: BudgetedStream): void {
    this.#note(stream);
    if (this.#totalBytes <= this.#bytesMax) return;
    // Syncs that the logs started by themselves have made some of it durable.
    this.#noteAll();
    const streams = [...this.#bytesOf].filter(([{ log }]) => !log.isSyncing);
    streams.sort(([, one], [, other]) => other - one);
    let unsyncedBytes = streams.reduce((sum, [, bytes]) => sum + bytes, 0);
    for (const [{ log }, bytes] of streams) {
      // Half of it, so that there is not a sync for each block that follows.
      if (this.#totalBytes <= this.#bytesMax || unsyncedBytes <= this.#bytesMax / 2) return;
      unsyncedBytes -= bytes;
      log.sync(() => undefined);
    }
  }

  /** The stream goes away. */
  forget(stream: BudgetedStream): void {
    this.#set(stream, 0);
  }

  #noteAll(): void {
    for (const stream of this.#bytesOf.keys()) this.#note(stream);
  }

  #note(stream: BudgetedStream): void {
    const { flushOnWrite, isMemory, log } = stream;
    // What a broken storage does not take must not hold up the streams beside it.
    const counts = !flushOnWrite && !isMemory && log.state === "ok";
    this.#set(stream, counts ? log.unsyncedBytes : 0);
  }

  #set(stream: BudgetedStream, bytes: number): void {
    this.#totalBytes += bytes - (this.#bytesOf.get(stream) ?? 0);
    if (bytes === 0) this.#bytesOf.delete(stream);
    else this.#bytesOf.set(stream, bytes);
  }
}
