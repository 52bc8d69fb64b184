import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { asMillraceError } from "../core/errors.ts";
import { EventName } from "../observe/events.ts";
import type { Logger } from "../observe/logger.ts";
import type { Storage } from "../log/storage.ts";
import { CursorFile, cursorPath, storedExporterIds, type CursorPlace } from "./cursor-file.ts";
import type { CursorRecord } from "./cursor-layout.ts";
import type { CursorsResult, ExportTask } from "./export-channel.ts";
import { storedUploadIds } from "./upload-file.ts";
import type { TaskPool } from "./export-pool.ts";
import type { Exporter } from "./exporter.ts";
import { isRedriveId } from "./redrives.ts";

interface CursorKeeperOptions {
  readonly storage: Storage;
  readonly pool: TaskPool;
  readonly clock: Clock;
  readonly logger: Logger;
  /** What was known of the exporter is on the medium now. */
  readonly onSynced: (exporter: Exporter) => void;
  /** Called after each task: there may be more to do. */
  readonly onDone: () => void;
}

/**
 * Reads the cursors of exporters that begin, syncs those of exporters that have nothing in flight, and removes those of
 * exporters that ended; one task at a time.
 */
export class CursorKeeper {
  readonly #options: CursorKeeperOptions;
  readonly #forgetting = new Map<string, Promise<void>>();
  #tail: Promise<void> = Promise.resolve();
  #isSyncing = false;

  constructor(options: CursorKeeperOptions) {
    this.#options = options;
  }

  /** @returns undefined where there is none that can be read: metadata never costs data, so all of it is sent again */
  read(place: CursorPlace): CursorRecord | undefined {
    try {
      const file = new CursorFile(this.#options.storage, place);
      file.close();
      return file.record;
    } catch (error) {
      this.#warn(
        { path: cursorPath(place), reason: "cannot read a position: exporting from the start" },
        error,
      );
      return undefined;
    }
  }

  /**
   * What the directory of a stream holds of exporters that are not among `kept`: the process ended before it had removed that.
   * Redrives keep theirs.
   */
  orphans(kept: readonly Pick<CursorPlace, "exporterId">[], streamDirectory: string): CursorPlace[] {
    const { storage } = this.#options;
    const keptIds = new Set(kept.map(({ exporterId }) => exporterId));
    try {
      const cursors = storedExporterIds(storage, streamDirectory);
      // An upload may have begun before anything was accepted, which the first cursor tells.
      return [...new Set([...cursors, ...storedUploadIds(storage, streamDirectory)])]
        .filter((exporterId) => !keptIds.has(exporterId) && !isRedriveId(exporterId))
        .map((exporterId) => ({ streamDirectory, exporterId }));
    } catch (error) {
      this.#warn({ path: streamDirectory, reason: "cannot look for positions of former exporters" }, error);
      return [];
    }
  }

  /** Uploads of redrives in the directory of a companion that are not among `kept`: of exporters that are gone. */
  orphanedRedrives(kept: readonly string[], streamDirectory: string): CursorPlace[] {
    try {
      return storedUploadIds(this.#options.storage, streamDirectory)
        .filter((exporterId) => isRedriveId(exporterId) && !kept.includes(exporterId))
        .map((exporterId) => ({ streamDirectory, exporterId }));
    } catch (error) {
      this.#warn({ path: streamDirectory, reason: "cannot look for uploads of former exporters" }, error);
      return [];
    }
  }

  /** Syncs what is due. @returns when the next one will be; Infinity if only an event can change that. */
  syncWhenDue(exporters: readonly Exporter[], nowMs: number): number {
    // The end of a sync is such an event.
    if (this.#isSyncing) return Infinity;
    let dueMs = Infinity;
    for (const exporter of exporters) dueMs = Math.min(dueMs, exporter.syncDueMs);
    if (dueMs > nowMs) return dueMs;
    void this.syncAll(exporters);
    return Infinity;
  }

  /** Syncs every cursor that wants it and is in nobody's hands. */
  syncAll(exporters: readonly Exporter[]): Promise<void> {
    const unsynced = exporters.filter((exporter) => Number.isFinite(exporter.syncDueMs));
    if (unsynced.length === 0) return this.settled();
    const cursors = unsynced.map((exporter) => exporter.startSync());
    this.#isSyncing = true;
    return this.#queue(async () => {
      const { files, error } = await this.#run({ kind: "sync", cursors });
      const nowMs = this.#options.clock.monotonicMs();
      for (const [index, exporter] of unsynced.entries()) {
        const isFurther = exporter.finishSync(files[index], nowMs);
        if (isFurther && !exporter.isRemoved) this.#options.onSynced(exporter);
      }
      this.#isSyncing = false;
      if (error !== "") this.#warn({ reason: `cannot sync positions: ${error}` });
    });
  }

  /**
   * Removes cursor files once `released` has settled: until then a batch may write them. Those that it resolves with stay, for a
   * start to find what is to be ended yet.
   */
  forget(cursors: readonly CursorPlace[], released: Promise<readonly CursorPlace[]>): void {
    if (cursors.length === 0) return;
    const forgotten = released.then((kept) => {
      const keptPaths = new Set(kept.map(cursorPath));
      return this.#remove(cursors.filter((place) => !keptPaths.has(cursorPath(place))));
    });
    for (const place of cursors) {
      const path = cursorPath(place);
      this.#forgetting.set(path, forgotten);
      void forgotten.then(() => {
        if (this.#forgetting.get(path) === forgotten) this.#forgetting.delete(path);
      });
    }
  }

  #remove(cursors: readonly CursorPlace[]): Promise<void> {
    if (cursors.length === 0) return Promise.resolve();
    return this.#queue(async () => {
      const { error } = await this.#run({ kind: "forget", cursors });
      if (error !== "") this.#warn({ reason: `cannot remove positions: ${error}` });
    });
  }

  /** While it is there, the file at this place is not an exporter's that begins now. Resolves when it is gone. */
  forgetting(place: CursorPlace): Promise<void> | undefined {
    return this.#forgetting.get(cursorPath(place));
  }

  /** Resolves when everything asked for so far is done. */
  settled(): Promise<void> {
    return this.#tail;
  }

  #queue(work: () => Promise<void>): Promise<void> {
    this.#tail = this.#tail.then(work).finally(() => this.#options.onDone());
    return this.#tail;
  }

  /** What a thread that died would have told is that all of it failed. */
  async #run(task: ExportTask): Promise<Pick<CursorsResult, "files" | "error">> {
    try {
      const result = await this.#options.pool.run(task);
      assert(result.kind === "cursors", `a ${task.kind} task has a cursors result`);
      return result;
    } catch (thrown) {
      return { files: [], error: asMillraceError(thrown).message };
    }
  }

  #warn(fields: { readonly path?: string; readonly reason: string }, error?: unknown): void {
    this.#options.logger.warn(EventName.ExportFailed, fields, error);
  }
}
