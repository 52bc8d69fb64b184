import { CURSOR_SYNC_INTERVAL_MS } from "../core/limits.ts";
import type { Slot } from "../log/slot-file.ts";
import type { CursorRecord } from "./cursor-layout.ts";
import type { CursorFileState } from "./export-channel.ts";

type Passed = Pick<CursorRecord, "position" | "startSequence">;

/** What the main thread knows of a cursor file that export workers write: what of it is durable, and when the rest should be. */
export class CursorFileKnowledge {
  #syncedSlot: Slot | undefined;
  #durable: Passed;
  /** When it was first written after its last sync, monotonic; undefined when all of it is durable. */
  #unsyncedSinceMs: number | undefined;
  isSyncing = false;

  /** What an earlier process wrote may stand in the kernel alone; a new exporter begins at its start again. */
  constructor(cursor: CursorRecord, { isStored }: { isStored: boolean }) {
    this.#durable = isStored ? { position: 0, startSequence: 0 } : cursor;
    this.#unsyncedSinceMs = isStored ? 0 : undefined;
  }

  get syncedSlot(): Slot | undefined {
    return this.#syncedSlot;
  }

  /** The newest record that is on the medium for certain. */
  get durable(): Passed {
    return this.#durable;
  }

  get syncDueMs(): number {
    return this.#unsyncedSinceMs === undefined ? Infinity : this.#unsyncedSinceMs + CURSOR_SYNC_INTERVAL_MS;
  }

  /** Undefined when nothing waits for a sync. */
  syncAfterMs(nowMs: number): number | undefined {
    return this.#unsyncedSinceMs === undefined ? undefined : Math.max(0, this.syncDueMs - nowMs);
  }

  /** A task has let go of the file. */
  learn({ syncedSlot, durable, isSynced }: CursorFileState, nowMs: number): void {
    this.#syncedSlot = syncedSlot;
    if (durable !== undefined) this.#durable = durable;
    if (isSynced) this.#unsyncedSinceMs = undefined;
    // What is unsynced now was written after what has just become durable.
    else if (durable !== undefined) this.#unsyncedSinceMs = nowMs;
    else this.#unsyncedSinceMs ??= nowMs;
  }

  /** A task has failed or was lost over it: the next write trusts nothing in it. */
  lose(nowMs: number): void {
    this.#syncedSlot = undefined;
    this.#unsyncedSinceMs = nowMs;
  }
}

/** Messages below are settled, or are to be skipped. */
export function passedBy({ position, startSequence }: Passed): number {
  return Math.max(position, startSequence);
}
