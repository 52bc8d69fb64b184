import { STORAGE_DEGRADED_MS, STORAGE_HUNG_MS, STORAGE_SLOW_MS } from "../core/limits.ts";

/** How long storage keeps its callers waiting, in steps of what is done about it. */
export const StorageDelay = { None: 0, Slow: 1, Degraded: 2, Hung: 3 } as const;
export type StorageDelay = (typeof StorageDelay)[keyof typeof StorageDelay];

/** What the oldest append that waits says of the storage behind it. */
function storageDelayOf(waitedMs: number): StorageDelay {
  if (waitedMs >= STORAGE_HUNG_MS) return StorageDelay.Hung;
  if (waitedMs >= STORAGE_DEGRADED_MS) return StorageDelay.Degraded;
  return waitedMs >= STORAGE_SLOW_MS ? StorageDelay.Slow : StorageDelay.None;
}

/**
 * Watches how long appends wait for their worker. A thread in a system call that does not come back can be neither asked nor
 * ended, so all that the main thread goes by is what it has not heard.
 */
export class StorageWatch {
  readonly #onChange: (delay: StorageDelay, waitedMs: number) => void;
  #delay: StorageDelay = StorageDelay.None;

  constructor(onChange: (delay: StorageDelay, waitedMs: number) => void) {
    this.#onChange = onChange;
  }

  /** Call it every second or so, with the longest wait of the moment. */
  observe(waitedMs: number): void {
    const delay = storageDelayOf(waitedMs);
    if (delay === this.#delay) return;
    this.#delay = delay;
    this.#onChange(delay, waitedMs);
  }
}
