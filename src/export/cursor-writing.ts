import { asMillraceError } from "../core/errors.ts";
import type { Timers } from "../core/timers.ts";
import type { CursorFile } from "./cursor-file.ts";
import type { CursorRecord } from "./cursor-layout.ts";
import type { BatchResult, CursorFileState } from "./export-channel.ts";

/** Syncs the cursor file while the destination answers, if that takes so long that the sync falls due. */
export class DelayedSync {
  readonly #cancel: (() => void) | undefined;
  #running: Promise<CursorRecord | undefined> | undefined;

  constructor(file: CursorFile | undefined, afterMs: number | undefined, timers: Timers) {
    if (file === undefined || afterMs === undefined) return;
    const start = (): void => {
      const { record } = file;
      this.#running = file.sync().then(
        () => record,
        // Not durable: the next sync is asked for as before, and the file knows what it may still trust.
        () => undefined,
      );
    };
    if (afterMs <= 0) start();
    else this.#cancel = timers.setTimer(start, afterMs);
  }

  /** @returns what it made durable. */
  async end(): Promise<CursorRecord | undefined> {
    this.#cancel?.();
    return await this.#running;
  }
}

/** Writes the cursor if it changed. A failure is told and not thrown: the batch was accepted all the same. */
export function writeCursor(
  file: CursorFile | undefined,
  { before, after, synced }: { before: CursorRecord; after: CursorRecord; synced: CursorRecord | undefined },
): Pick<BatchResult, "kind" | "cursor" | "file" | "cursorError"> {
  let cursorError = "";
  let durable = synced;
  if (file !== undefined && after.revision !== before.revision) {
    try {
      file.write(after);
      if (file.isSynced) durable = after;
    } catch (error) {
      cursorError = asMillraceError(error).message;
    }
  }
  const state = file === undefined ? undefined : stateOf(file, durable);
  return { kind: "batch", cursor: after, file: state, cursorError };
}

/** What the main thread is told of a file when a task lets go of it. */
export function stateOf(file: CursorFile, durable: CursorRecord | undefined): CursorFileState {
  return {
    syncedSlot: file.syncedSlot,
    durable: durable && { position: durable.position, startSequence: durable.startSequence },
    isSynced: file.record === undefined || file.isSynced,
  };
}
