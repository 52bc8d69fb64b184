/** The typed messages between the main thread and the export workers. Plain objects only: they are cloned. */
import type { DestinationKind } from "../core/stream-definition.ts";
import type { StreamLoss, StreamPlace } from "../core/stream-ledger.ts";
import type { SharedFile } from "../log/shared-memory-storage.ts";
import type { Slot } from "../log/slot-file.ts";
import type { CursorPlace } from "./cursor-file.ts";
import type { CursorRecord } from "./cursor-layout.ts";
import type { PendingBatch } from "./delivery.ts";
import type { SendFailure, SendProgress, StreamNotice, TendOutcome } from "./destinations/destination.ts";
import type { DestinationSettings } from "./exporter-settings.ts";
import type { AsideTold, CondemnedMessage } from "./set-aside-entry.ts";

/** One batch: read it, send it, account for the answer, write the cursor. */
export interface BatchTask {
  readonly kind: "batch";
  readonly streamId: string;
  readonly streamName: string;
  readonly streamDirectory: string;
  readonly exporterId: string;
  readonly identifier: string;
  /** As configured: see ExporterSettings. */
  readonly exporterKind: DestinationKind;
  readonly destination: DestinationSettings;
  /** The stream is the companion of another, and its messages are that one's, set aside by this exporter. */
  readonly isRedrive: boolean;
  /** The start is settled by this task, which then sends nothing. */
  readonly start: StartChange | undefined;
  readonly cursor: CursorRecord;
  /** What is left of a batch that was not settled by its first request. */
  readonly pending: PendingBatch | undefined;
  readonly oldest: StreamPlace;
  readonly syncedEnd: StreamPlace;
  /** Why messages from the cursor up to the oldest are gone. */
  readonly drops: readonly StreamLoss[];
  readonly messageCountMax: number;
  /** Requests under way at the same time; after a crash so many may go again. 1 where it is left out. */
  readonly inFlightMax?: number;
  /** So often the task goes on after a request, or as many as may be under way, was answered. 1 where it is left out. */
  readonly windowsMax?: number;
  /** Smaller than the destination's own limit after a request that took too long. */
  readonly requestBytesMax: number;
  /** Gaps in the log were seen often enough to be believed: account for them and go on. */
  readonly acceptsGaps: boolean;
  /** As the task before left the cursor file. */
  readonly syncedSlot: Slot | undefined;
  /** What was written to it last wants a sync if this task takes longer; undefined if it is durable, or empty. */
  readonly syncAfterMs: number | undefined;
  /** The segments of a `Memory` stream; undefined for a stream on disk. */
  readonly memory: readonly SharedFile[] | undefined;
  /** See SendProgress. */
  readonly continuation?: string | undefined;
  /** See task-recall.ts; there for work that may take long, and that nobody goes on with once the exporter is removed. */
  readonly recall?: SharedArrayBuffer | undefined;
}

/** What is to be done about an exporter's start. */
export interface StartChange {
  readonly startSequence: number;
  /** The configuration was given another start: the position moves there. Otherwise what lies below the start is skipped. */
  readonly isMoved: boolean;
  /** A known place up to which everything lies below the start, in case the log tells no more when it is looked at. */
  readonly skippedTo: StreamPlace | undefined;
}

/** Makes written cursors durable. */
export interface SyncTask {
  readonly kind: "sync";
  readonly cursors: readonly (CursorPlace & { readonly syncedSlot: Slot | undefined })[];
}

/** Removes the cursors of exporters that were taken out of their stream's definition. */
export interface ForgetTask {
  readonly kind: "forget";
  readonly cursors: readonly CursorPlace[];
}

/** Ends what an exporter has under way that takes several requests, and removes what it keeps of it. */
export interface CancelTask {
  readonly kind: "cancel";
  readonly streamId: string;
  readonly streamName: string;
  readonly streamDirectory: string;
  readonly exporterId: string;
  readonly identifier: string;
  /** Undefined where the exporter is gone since another process. */
  readonly destination: DestinationSettings | undefined;
  /** What cannot be ended now stays; whoever waits for it is told so. */
  readonly isLastTry: boolean;
  /** In words, for whoever waits for it. */
  readonly reason: string;
}

/** Has a destination do what is due without a request: see its `tend`. */
export interface TendTask extends CursorPlace {
  readonly kind: "tend";
  /** Undefined where nobody knows any more where the exporter sent to. */
  readonly destination: DestinationSettings | undefined;
  readonly isLast: boolean;
}

export type ExportTask = BatchTask | SyncTask | ForgetTask | CancelTask | TendTask;

export interface BatchResult {
  readonly kind: "batch";
  readonly cursor: CursorRecord;
  readonly pending: PendingBatch | undefined;
  readonly outcome: BatchOutcome;
  /** Whether the task was asked to settle a start, and has. */
  readonly isStartSettled: boolean;
  /** Messages of `pending` that are condemned: to be stored in the companion stream before the next task. */
  readonly condemned: readonly CondemnedMessage[];
  /** What became of them, added on the main thread. */
  readonly told?: AsideTold;
  /** Of the cursor file; undefined for a Memory stream, which has none, and where it was not reached. */
  readonly file: CursorFileState | undefined;
  /** Why the cursor could not be written; the next batch tries again. */
  readonly cursorError: string;
  readonly notices?: readonly StreamNotice[];
  /** So soon the destination is to be tended, if no other batch changes that. */
  readonly tendInMs?: number;
  /** What went out, whatever became of it; undefined where no destination was asked. */
  readonly requests?: RequestBytes;
}

export interface RequestBytes {
  /** Of request bodies, as far as known. */
  readonly bodyBytes: number;
  /** The payload in them. */
  readonly payloadBytes: number;
  /** Payload and overhead, as `requestBytesMax` of a task counts them. */
  readonly countedBytes: number;
}

/** A cursor file as a task leaves it. */
export interface CursorFileState {
  readonly syncedSlot: Slot | undefined;
  /** The newest record that is known to be on the medium by what this task did; undefined if it made none so. */
  readonly durable: Pick<CursorRecord, "position" | "startSequence"> | undefined;
  /** Nothing that was written waits for a sync. */
  readonly isSynced: boolean;
}

/** `sent`: a request was answered; `failedMessages` of it go again. `passed`: there was nothing to send but an account moved. */
export type BatchOutcome =
  | {
      readonly kind: "sent";
      readonly acceptedMessages: number;
      readonly acceptedBytes: number;
      readonly failedMessages: number;
      readonly error: string;
      /** The destination wants nothing more for so long. */
      readonly pauseMs?: number;
      /** Messages that were sent another way than the exporter's options ask. */
      readonly fallbackCount?: number;
    }
  | { readonly kind: "passed" }
  | { readonly kind: "refused"; readonly error: string; readonly pauseMs?: number }
  /** The log could not be read, or the thread was lost: the destination was not asked. */
  | { readonly kind: "unreadable"; readonly error: string }
  /** Messages from `fromSequence` on are not where they should be; a second look may find them. */
  | { readonly kind: "gap"; readonly fromSequence: number; readonly error: string }
  | SendProgress
  /** `pauseMs` is of another request that was answered beside it. */
  | (SendFailure & { readonly pauseMs?: number });

/** The answer to a sync or forget task. */
export interface CursorsResult {
  readonly kind: "cursors";
  /** In the order of the task; undefined for what failed, and where there is no file. */
  readonly files: readonly (CursorFileState | undefined)[];
  /** The first failure, empty if all of it was done. */
  readonly error: string;
}

/** The answer to a cancel task. */
export interface CancelResult {
  readonly kind: "canceled";
  /** Nothing is left to be tried again. */
  readonly isEnded: boolean;
  readonly notices: readonly StreamNotice[];
}

/** The answer to a tend task. */
export interface TendResult extends TendOutcome {
  readonly kind: "tended";
}

export type ExportResult = BatchResult | CursorsResult | CancelResult | TendResult;
