import type { Clock } from "../core/clock.ts";
import { DISK_ROOM_ASK_MS } from "../core/limits.ts";
import { Persistence } from "../core/stream-definition.ts";
import type { StreamEntry } from "./stream-entry.ts";

interface DiskOutlookOptions {
  readonly clock: Clock;
  /** Asks the system about the store's disk. */
  readonly freeBytes: () => number;
  /** What is to be kept free. */
  readonly freeBytesMin: number;
}

/**
 * How long the disk of the store lasts at the present rates of all streams; what others write on it is not foreseen. Answers are
 * kept for DISK_ROOM_ASK_MS: a scrape asks once for each stream.
 */
export class DiskOutlook {
  readonly #options: DiskOutlookOptions;
  #askedMs = -Infinity;
  #fullAtMs = Infinity;

  constructor(options: DiskOutlookOptions) {
    this.#options = options;
  }

  /** When it has no more free than is to be kept free, in milliseconds; undefined where that does not come nearer. */
  fullInMs(entries: Iterable<StreamEntry>): number | undefined {
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs - this.#askedMs >= DISK_ROOM_ASK_MS) {
      this.#askedMs = nowMs;
      this.#fullAtMs = nowMs + this.#lastsMs(entries, nowMs);
    }
    return Number.isFinite(this.#fullAtMs) ? Math.max(0, this.#fullAtMs - nowMs) : undefined;
  }

  #lastsMs(entries: Iterable<StreamEntry>, nowMs: number): number {
    let bytesPerSecond = 0;
    for (const { definition, traffic } of entries) {
      if (definition.persistence === Persistence.File) bytesPerSecond += traffic.storedBytesPerSecond(nowMs);
    }
    if (bytesPerSecond <= 0) return Infinity;
    const { freeBytes, freeBytesMin } = this.#options;
    return (1000 * Math.max(0, freeBytes() - freeBytesMin)) / bytesPerSecond;
  }
}
