import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { asMillraceError } from "../core/errors.ts";
import { EventName } from "../observe/events.ts";
import type { Logger } from "../observe/logger.ts";
import type { CursorPlace, ExportTask } from "./export-channel.ts";
import type { TaskPool } from "./export-pool.ts";
import type { Exporter } from "./exporter.ts";

interface CursorKeeperOptions {
  readonly pool: TaskPool;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called after each task: there may be more to do. */
  readonly onDone: () => void;
}

/** Syncs the cursor files of exporters that have nothing in flight, and removes those of exporters that ended; one task at a time. */
export class CursorKeeper {
  readonly #options: CursorKeeperOptions;
  #tail: Promise<void> = Promise.resolve();
  #isSyncing = false;

  constructor(options: CursorKeeperOptions) {
    this.#options = options;
  }

  /** Syncs what is due. @returns when the next one will be; Infinity if only an event can change that. */
  syncWhenDue(exporters: Iterable<Exporter>, nowMs: number): number {
    // The end of a sync is such an event.
    if (this.#isSyncing) return Infinity;
    let dueMs = Infinity;
    for (const exporter of exporters) dueMs = Math.min(dueMs, exporter.syncDueMs);
    if (dueMs > nowMs) return dueMs;
    void this.syncAll(exporters);
    return Infinity;
  }

  /** Syncs every cursor that wants it and is in nobody's hands. */
  syncAll(exporters: Iterable<Exporter>): Promise<void> {
    const unsynced = [...exporters].filter((exporter) => Number.isFinite(exporter.syncDueMs));
    if (unsynced.length === 0) return this.settled();
    for (const exporter of unsynced) exporter.startSync();
    this.#isSyncing = true;
    return this.#queue(async () => {
      const error = await this.#run({ kind: "sync", cursors: unsynced.map((exporter) => exporter.place) });
      const nowMs = this.#options.clock.monotonicMs();
      for (const exporter of unsynced) exporter.finishSync({ isSynced: error === "", nowMs });
      this.#isSyncing = false;
      if (error !== "") this.#warn(`cannot sync positions: ${error}`);
    });
  }

  /** Removes cursor files once `released` has settled: until then a batch may write them. */
  forget(cursors: readonly CursorPlace[], released: Promise<void>): Promise<void> {
    return this.#queue(async () => {
      await released;
      const error = await this.#run({ kind: "forget", cursors });
      if (error !== "") this.#warn(`cannot remove positions: ${error}`);
    });
  }

  /** Resolves when everything asked for so far is done. */
  settled(): Promise<void> {
    return this.#tail;
  }

  #queue(work: () => Promise<void>): Promise<void> {
    this.#tail = this.#tail.then(work).finally(() => this.#options.onDone());
    return this.#tail;
  }

  /** @returns why it failed, empty if it did not */
  async #run(task: ExportTask): Promise<string> {
    try {
      const result = await this.#options.pool.run(task);
      assert(result.kind === "cursors", `a ${task.kind} task has a cursors result`);
      return result.error;
    } catch (thrown) {
      return asMillraceError(thrown).message;
    }
  }

  #warn(reason: string): void {
    this.#options.logger.warn(EventName.ExportFailed, { reason });
  }
}
