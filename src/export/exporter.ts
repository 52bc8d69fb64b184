import { assert } from "../core/assert.ts";
import type { Random } from "../core/random.ts";
import type { ExportStatus } from "../core/stream-definition.ts";
import {
  CURSOR_SYNC_INTERVAL_MS,
  EXPORT_REQUEST_BYTES_MAX,
  EXPORT_REQUEST_BYTES_MIN,
  EXPORT_SLOW_RETRY_MS,
} from "../core/limits.ts";
import type { SharedFile } from "../log/shared-memory-storage.ts";
import type { ArrivalMarks } from "./arrival-marks.ts";
import { otherSlot } from "./cursor-file.ts";
import type { CursorRecord, LossRange } from "./cursor-layout.ts";
import { nextGroup, type PendingBatch } from "./delivery.ts";
import { backoffDelayMs, type EndpointTicket } from "./endpoint-backoff.ts";
import type { BatchOutcome, BatchResult, BatchTask, CursorPlace, CursorSlot } from "./export-channel.ts";
import { isAvailable, type ExporterSettings } from "./exporter-settings.ts";
import type { SchedulerExporter } from "./scheduler.ts";

/** What exporters know of their stream. */
export interface ExportedStream {
  readonly streamId: string;
  readonly name: string;
  readonly directory: string;
  readonly isMemory: boolean;
  oldestSequence: number;
  syncedEndSequence: number;
}

/** The account of one exporter: where every message of the stream went, in messages and, where known, payload bytes. */
export interface ExporterLedger {
  readonly streamId: string;
  readonly streamName: string;
  readonly exporterId: string;
  readonly identifier: string;
  readonly kind: string;
  readonly priority: number;
  readonly disabled: boolean;
  readonly position: number;
  readonly exportedMessages: number;
  readonly exportedBytes: number;
  /** Stored, synced, and not yet accounted for. */
  readonly pendingMessages: number;
  readonly setAsideMessages: number;
  readonly setAsideBytes: number;
  /** Includes what retention took from under a cursor that has not passed it yet. */
  readonly overwrittenMessages: number;
  readonly corruptMessages: number;
  /** Below the start that the configuration names. */
  readonly skippedMessages: number;
  /** The cursor stands above the end of the log by so many messages: the log lost some that were exported. */
  readonly aheadOfLogMessages: number;
  /** The newest losses, oldest first. */
  readonly losses: readonly LossRange[];
  readonly errorMessage: string;
  readonly inFlight: boolean;
}

/** What was found on disk; no slot if there was nothing. */
export interface StoredCursor {
  readonly cursor: CursorRecord;
  readonly slot: CursorSlot | undefined;
}

/** A gap is believed when it was seen so often, over growing delays: a look may fail for want of descriptors, say. */
const GAP_LOOKS_MAX = 5;

/** Refused requests in a row that bisection needs to find one message; only beyond them the delays grow. */
const REFUSALS_WITHOUT_GROWTH = 16;

/** The main thread's half of one exporter: what is settled, what is in flight, when it may try again. */
export class Exporter {
  readonly stream: ExportedStream;
  readonly key: string;
  #settings: ExporterSettings;
  #cursor: CursorRecord;
  #pending: PendingBatch | undefined;
  #ticket: EndpointTicket | undefined;
  #inFlightEnd = 0;
  #errorMessage: string;
  #lastAttemptTimeMs: number;
  #lastStartMs = -Infinity;
  #notBeforeMs = -Infinity;
  #failures = 0;
  #refusals = 0;
  #requestBytesMax = EXPORT_REQUEST_BYTES_MAX;
  #gap = { fromSequence: -1, looks: 0 };
  #cursorSlot: CursorSlot;
  /** The file is as an earlier process left it, perhaps without a sync. */
  #isInherited: boolean;
  /** When the cursor file was first written after its last sync, monotonic; undefined when it is durable. */
  #unsyncedSinceMs: number | undefined;
  #isSyncing = false;
  isRemoved = false;

  constructor(stream: ExportedStream, settings: ExporterSettings, { cursor, slot }: StoredCursor) {
    this.stream = stream;
    this.#cursorSlot = slot ?? 0;
    this.#isInherited = slot !== undefined;
    this.key = `${stream.streamId}/${settings.exporterId}`;
    this.#settings = settings;
    this.#cursor = cursor;
    this.#lastAttemptTimeMs = cursor.lastAcceptedTimeMs;
    this.#errorMessage = isAvailable(settings.destination.kind)
      ? ""
      : `destination ${settings.destination.kind} is not available in this version`;
  }

  get settings(): ExporterSettings {
    return this.#settings;
  }

  get place(): CursorPlace {
    return { streamDirectory: this.stream.directory, exporterId: this.#settings.exporterId };
  }

  get position(): number {
    return this.#cursor.position;
  }

  get inFlight(): boolean {
    return this.#ticket !== undefined;
  }

  /** A kept exporter keeps its position; what is in flight ends under the old settings. */
  configure(settings: ExporterSettings): void {
    assert(settings.exporterId === this.#settings.exporterId, "an exporter keeps its id");
    this.#settings = settings;
  }

  /** When what was written last should be durable; Infinity if it is, or if a batch in flight sees to it. */
  get syncDueMs(): number {
    if (this.#unsyncedSinceMs === undefined || this.inFlight || this.#isSyncing) return Infinity;
    return this.#unsyncedSinceMs + CURSOR_SYNC_INTERVAL_MS;
  }

  /** No batch may start until `finishSync`: only one task at a time has the cursor file. */
  startSync(): void {
    assert(!this.inFlight && !this.#isSyncing, "one task at a time has a cursor file");
    this.#isSyncing = true;
  }

  finishSync({ isSynced, nowMs }: { isSynced: boolean; nowMs: number }): void {
    this.#isSyncing = false;
    if (isSynced) this.#synced();
    else this.#unsyncedSinceMs = nowMs;
  }

  #synced(): void {
    this.#unsyncedSinceMs = undefined;
    this.#isInherited = false;
    this.#cursorSlot = otherSlot(this.#cursorSlot);
  }

  get canSend(): boolean {
    return !this.#settings.disabled && isAvailable(this.#settings.destination.kind);
  }

  /** Messages that are stored, may be sent and were not settled. */
  get pendingMessages(): number {
    const { oldestSequence, syncedEndSequence } = this.stream;
    if (this.#pending === undefined) {
      return Math.max(0, syncedEndSequence - Math.max(this.#cursor.position, oldestSequence));
    }
    const open = this.#pending.entries.filter(({ fate }) => fate === "waiting" || fate === "parked");
    const behind = syncedEndSequence - Math.max(this.#pending.endSequence, oldestSequence);
    return open.length + Math.max(0, behind);
  }

  schedulerView(arrivals: ArrivalMarks): SchedulerExporter {
    const { batchSize, batchIntervalMs } = this.#settings;
    const { oldestSequence } = this.stream;
    const pending = this.pendingMessages;
    const next = this.#pending === undefined ? Math.min(batchSize, pending) : nextGroup(this.#pending).length;
    const first = Math.max(this.#cursor.position, oldestSequence, this.inFlight ? this.#inFlightEnd : 0);
    return {
      key: this.key,
      priority: this.#settings.priority,
      endpoint: this.#settings.endpoint,
      disabled: !this.canSend,
      inFlight: this.inFlight || this.#isSyncing,
      backlogMessages: this.inFlight ? pending - next : pending,
      nextBatchMessages: next,
      batchSize,
      batchIntervalMs,
      oldestArrivalMs: batchIntervalMs === undefined ? -Infinity : arrivals.arrivalMs(first),
      resumesBatch: this.#pending !== undefined,
      notBeforeMs: this.#notBeforeMs,
      lastStartMs: this.#lastStartMs,
    };
  }

  start(
    ticket: EndpointTicket,
    { nowMs, wallMs, memory }: { nowMs: number; wallMs: number; memory: readonly SharedFile[] | undefined },
  ): BatchTask {
    assert(!this.inFlight && !this.#isSyncing, "one batch in flight per exporter");
    this.#ticket = ticket;
    this.#lastStartMs = nowMs;
    this.#lastAttemptTimeMs = wallMs;
    this.#inFlightEnd =
      this.#pending?.endSequence ??
      Math.max(this.#cursor.position, this.stream.oldestSequence) + this.#settings.batchSize;
    return {
      kind: "batch",
      streamName: this.stream.name,
      streamDirectory: this.stream.directory,
      exporterId: this.#settings.exporterId,
      destination: this.#settings.destination,
      cursor: this.#cursor,
      pending: this.#pending,
      oldestSequence: this.stream.oldestSequence,
      syncedEndSequence: this.stream.syncedEndSequence,
      messageCountMax: this.#settings.batchSize,
      requestBytesMax: this.#requestBytesMax,
      acceptsGaps: this.#gap.looks >= GAP_LOOKS_MAX,
      cursorSlot: this.#cursorSlot,
      syncAfterMs: this.#syncAfterMs(nowMs),
      memory,
    };
  }

  #syncAfterMs(nowMs: number): number | undefined {
    if (this.#isInherited) return 0;
    if (this.#unsyncedSinceMs === undefined) return undefined;
    return Math.max(0, this.#unsyncedSinceMs + CURSOR_SYNC_INTERVAL_MS - nowMs);
  }

  /** Takes in what became of the batch. @returns the ticket that `start` was given. */
  finish(result: BatchResult, { nowMs, random }: { nowMs: number; random: Random }): EndpointTicket {
    const ticket = this.#takeTicket();
    assert(result.cursor.position >= this.#cursor.position, `cursor of ${this.key} went back`);
    this.#cursor = result.cursor;
    this.#pending = result.pending;
    if (result.cursorSynced) this.#synced();
    if (result.cursorWritten) this.#unsyncedSinceMs ??= nowMs;
    if (result.outcome.kind === "gap") this.#lookedAtGap(result.outcome.fromSequence);
    else if (result.outcome.kind !== "unreadable") this.#gap = { fromSequence: -1, looks: 0 };
    this.#errorMessage = errorOf(result);
    this.#pace(result.outcome, { nowMs, random });
    return ticket;
  }

  /** The batch was lost with its thread: nothing is known of it, so it is sent again after a while. */
  lose(error: string, { nowMs, random }: { nowMs: number; random: Random }): EndpointTicket {
    const ticket = this.#takeTicket();
    this.#errorMessage = error;
    this.#pace({ kind: "unreadable", error }, { nowMs, random });
    return ticket;
  }

  #lookedAtGap(fromSequence: number): void {
    const looks = this.#gap.fromSequence === fromSequence ? this.#gap.looks + 1 : 1;
    this.#gap = { fromSequence, looks };
  }

  #takeTicket(): EndpointTicket {
    const ticket = this.#ticket;
    assert(ticket !== undefined, "no batch is in flight");
    this.#ticket = undefined;
    return ticket;
  }

  #pace(outcome: BatchOutcome, { nowMs, random }: { nowMs: number; random: Random }): void {
    this.#notBeforeMs = -Infinity;
    switch (outcome.kind) {
      case "sent":
        this.#refusals = 0;
        this.#requestBytesMax = Math.min(EXPORT_REQUEST_BYTES_MAX, this.#requestBytesMax * 2);
        if (outcome.failedMessages === 0) this.#failures = 0;
        else {
          // A partial acceptance is progress: the delay does not grow over it.
          this.#failures = outcome.acceptedMessages > 0 ? 1 : this.#failures + 1;
          this.#notBeforeMs = nowMs + backoffDelayMs(this.#failures, random);
        }
        return;
      case "passed":
        this.#failures = 0;
        return;
      case "refused":
        this.#refusals += 1;
        this.#notBeforeMs =
          nowMs + backoffDelayMs(Math.max(0, this.#refusals - REFUSALS_WITHOUT_GROWTH), random);
        return;
      case "unreadable":
      case "gap":
        this.#failures += 1;
        this.#notBeforeMs = nowMs + backoffDelayMs(this.#failures, random);
        return;
      case "failed":
        if (outcome.timedOut) {
          this.#requestBytesMax = Math.max(EXPORT_REQUEST_BYTES_MIN, this.#requestBytesMax / 2);
        }
        // An endpoint's failure is paced by the endpoint.
        if (outcome.scope === "endpoint") return;
        this.#failures += 1;
        this.#notBeforeMs =
          nowMs + (outcome.pace === "slow" ? EXPORT_SLOW_RETRY_MS : backoffDelayMs(this.#failures, random));
        return;
    }
  }

  /** As describe shows it (PROTOCOL 3.6): every field always there. */
  status(): ExportStatus {
    const { position, exportedBytes, exportedMessages, setAsideMessages } = this.#cursor;
    return {
      exportConfigIdentifier: this.#settings.identifier,
      lastExportedSequenceNumber: position - 1,
      lastExportTime: this.#lastAttemptTimeMs,
      errorMessage: this.#errorMessage,
      exportedBytesFromStream: exportedBytes,
      // "Exported or processed": what was set aside counts here and not in the bytes.
      exportedMessagesCount: exportedMessages + setAsideMessages,
    };
  }

  ledger(): ExporterLedger {
    const { oldestSequence, syncedEndSequence, streamId, name } = this.stream;
    const cursor = this.#cursor;
    const settings = this.#settings;
    const overtaken = Math.max(0, Math.min(oldestSequence, syncedEndSequence) - cursor.position);
    return {
      streamId,
      streamName: name,
      exporterId: settings.exporterId,
      identifier: settings.identifier,
      kind: settings.destination.kind,
      priority: settings.priority,
      disabled: settings.disabled,
      position: cursor.position,
      exportedMessages: cursor.exportedMessages,
      exportedBytes: cursor.exportedBytes,
      pendingMessages: Math.max(0, syncedEndSequence - Math.max(cursor.position, oldestSequence)),
      setAsideMessages: cursor.setAsideMessages,
      setAsideBytes: cursor.setAsideBytes,
      overwrittenMessages: cursor.overwrittenMessages + overtaken,
      corruptMessages: cursor.corruptMessages,
      skippedMessages: Math.min(cursor.startSequence, syncedEndSequence),
      aheadOfLogMessages: Math.max(0, cursor.position - Math.max(syncedEndSequence, cursor.startSequence)),
      losses: cursor.ranges,
      errorMessage: this.#errorMessage,
      inFlight: this.inFlight,
    };
  }
}

function errorOf({ outcome, setAside, setAsideError, cursorError }: BatchResult): string {
  if (cursorError !== "") return `cannot write the export position: ${cursorError}`;
  if (setAside.length > 0) {
    return (
      `set aside ${setAside.length} messages, the last with sequence number ${setAside.at(-1)!}: ${setAsideError}; ` +
      "it stays in the stream, sending it again by command comes with a later version"
    );
  }
  return outcome.kind === "passed" ? "" : outcome.error;
}
