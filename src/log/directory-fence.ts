import path from "node:path";

import type { Clock } from "../core/clock.ts";
import { systemCode } from "../core/errors.ts";
import { PLACE_CHECK_IDLE_MS, PLACE_CHECK_MS } from "../core/limits.ts";
import type { Storage } from "./storage.ts";
import type { StorageHealth } from "./storage-health.ts";

/** Errors that say that nothing stands under a name, or something that is no directory on the way to it. */
const goneErrors = new Set(["ENOENT", "ENOTDIR", "ELOOP"]);

export interface DirectoryFenceOptions {
  readonly storage: Storage;
  readonly directory: string;
  readonly clock: Clock;
  readonly health: StorageHealth;
}

/**
 * Sees to it that what a log writes stands where the next start will look for it. A file goes on taking writes and syncs when its
 * name is gone, because somebody removed the directory, put another in its place or unmounted it: then the stream is fenced, until
 * what was there is there again (RELIABILITY 45).
 */
export class DirectoryFence {
  readonly #options: DirectoryFenceOptions;
  #path: string;
  /** Undefined where the system did not say; then it is enough that there is something. */
  #identity: string | undefined;
  #checkedMs: number;

  constructor(options: DirectoryFenceOptions) {
    this.#options = options;
    this.#path = options.directory;
    this.#identity = this.#identify();
    this.#checkedMs = options.clock.monotonicMs();
  }

  /** The segment that is open from now on, so that nothing else can get its identity; without one the directory is looked at. */
  follow(filePath: string | undefined): void {
    const { directory } = this.#options;
    if (filePath === undefined && this.#path === directory) return;
    this.#path = filePath ?? directory;
    this.#identity = this.#identify();
  }

  /** Looks every second at a stream that is written to, and now and then at others. */
  watch(lastAppendMs: number): void {
    const { clock, health } = this.#options;
    const isInUse = lastAppendMs >= this.#checkedMs || health.state === "fenced";
    const intervalMs = isInUse ? PLACE_CHECK_MS : PLACE_CHECK_IDLE_MS;
    if (clock.monotonicMs() - this.#checkedMs >= intervalMs) this.holds();
  }

  /** Looks, and fences the stream or lets it go on. @returns whether a start would find what is written */
  holds(): boolean {
    const { clock, health } = this.#options;
    this.#checkedMs = clock.monotonicMs();
    const fault = this.#fault();
    if (fault !== undefined) health.fence(new Error(fault));
    else if (health.state === "fenced") health.unfence();
    return fault === undefined;
  }

  #fault(): string | undefined {
    try {
      const found = this.#options.storage.identify(this.#path);
      const isSame = this.#identity === undefined || found === this.#identity;
      return isSame ? undefined : this.#misplaced("is another file now");
    } catch (error) {
      // Any other error says nothing about what is there.
      return goneErrors.has(systemCode(error) ?? "") ? this.#misplaced("is gone") : undefined;
    }
  }

  #misplaced(how: string): string {
    const { directory } = this.#options;
    const place = path.join(path.basename(directory), path.relative(directory, this.#path));
    return `the stream's files are not where they were: "${place}" ${how}`;
  }

  #identify(): string | undefined {
    try {
      return this.#options.storage.identify(this.#path);
    } catch {
      return undefined;
    }
  }
}
