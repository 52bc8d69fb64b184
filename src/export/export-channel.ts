/** The typed messages between the main thread and the export workers. Plain objects only: they are cloned. */
import type { SharedFile } from "../log/shared-memory-storage.ts";
import type { CursorRecord } from "./cursor-layout.ts";
import type { PendingBatch } from "./delivery.ts";
import type { SendFailure } from "./destinations/destination.ts";
import type { DestinationSettings } from "./exporter-settings.ts";

/** Where a worker finds an exporter's cursor. A `Memory` stream has none on disk. */
export interface CursorPlace {
  readonly streamDirectory: string;
  readonly exporterId: string;
}

/** The two places in a cursor file. */
export type CursorSlot = 0 | 1;

/** One batch: read it, send it, account for the answer, write the cursor. */
export interface BatchTask {
  readonly kind: "batch";
  readonly streamName: string;
  readonly streamDirectory: string;
  readonly exporterId: string;
  readonly destination: DestinationSettings;
  readonly cursor: CursorRecord;
  /** What is left of a batch that was not settled by its first request. */
  readonly pending: PendingBatch | undefined;
  readonly oldestSequence: number;
  readonly syncedEndSequence: number;
  readonly messageCountMax: number;
  /** Smaller than the destination's own limit after a request that took too long. */
  readonly requestBytesMax: number;
  /** Gaps in the log were seen often enough to be believed: account for them and go on. */
  readonly acceptsGaps: boolean;
  /** The slot of the cursor file that is written now; the other one holds the last synced value. */
  readonly cursorSlot: CursorSlot;
  /** What stands in `cursorSlot` wants a sync if this task takes longer; undefined if it is durable, or empty. */
  readonly syncAfterMs: number | undefined;
  /** The segments of a `Memory` stream; undefined for a stream on disk. */
  readonly memory: readonly SharedFile[] | undefined;
}

/** Makes written cursors durable. */
export interface SyncTask {
  readonly kind: "sync";
  readonly cursors: readonly CursorPlace[];
}

/** Removes the cursors of exporters that were taken out of their stream's definition. */
export interface ForgetTask {
  readonly kind: "forget";
  readonly cursors: readonly CursorPlace[];
}

export type ExportTask = BatchTask | SyncTask | ForgetTask;

export interface BatchResult {
  readonly kind: "batch";
  readonly cursor: CursorRecord;
  readonly pending: PendingBatch | undefined;
  readonly outcome: BatchOutcome;
  /** Sequence numbers set aside by this task, and why the last of them. */
  readonly setAside: readonly number[];
  readonly setAsideError: string;
  /** Whether the value before this batch became durable: the next write then goes to the other slot. */
  readonly cursorSynced: boolean;
  /** Whether a value was written after that: it wants a sync. */
  readonly cursorWritten: boolean;
  /** Why the cursor could not be written; the next batch tries again. */
  readonly cursorError: string;
}

/** `sent`: a request was answered; `failedMessages` of it go again. `passed`: there was nothing to send but an account moved. */
export type BatchOutcome =
  | {
      readonly kind: "sent";
      readonly acceptedMessages: number;
      readonly acceptedBytes: number;
      readonly failedMessages: number;
      readonly error: string;
    }
  | { readonly kind: "passed" }
  | { readonly kind: "refused"; readonly error: string }
  /** The log could not be read, or the thread was lost: the destination was not asked. */
  | { readonly kind: "unreadable"; readonly error: string }
  /** Messages from `fromSequence` on are not where they should be; a second look may find them. */
  | { readonly kind: "gap"; readonly fromSequence: number; readonly error: string }
  | SendFailure;

/** The answer to a sync or forget task. */
export interface CursorsResult {
  readonly kind: "cursors";
  /** Empty when all of it was done, and is durable. */
  readonly error: string;
}

export type ExportResult = BatchResult | CursorsResult;
