import { assert } from "../core/assert.ts";
import { EXPORT_SLOWEST_BYTES_PER_SECOND, EXPORT_STUCK_MS } from "../core/limits.ts";
import type { ExportStatus } from "../core/stream-definition.ts";
import type { StreamLoss, StreamPlace } from "../core/stream-ledger.ts";
import type { Slot } from "../log/slot-file.ts";
import type { ArrivalMarks } from "./arrival-marks.ts";
import type { CursorPlace } from "./cursor-file.ts";
import { errorOf, pacedOutcome } from "./batch-error.ts";
import { CursorFileKnowledge, passedBy } from "./cursor-file-knowledge.ts";
import { newCursor, type CursorRecord } from "./cursor-layout.ts";
import { nextGroup, type PendingBatch, pendingWith } from "./delivery.ts";
import type { ExportedStream } from "./exported-stream.ts";
import type { BatchResult, BatchTask, CursorFileState, StartChange } from "./export-channel.ts";
import type { Flight, FlightStart, TaskEnd, TaskStart, ViewOptions } from "./export-flight.ts";
import type { ExporterLedger } from "./exporter-ledger.ts";
import { ExporterPace } from "./exporter-pace.ts";
import { activityOf, type ExporterState, pendingAgeMs, type StateTime, statusOf } from "./exporter-state.ts";
import { ExporterCap, ExporterTraffic } from "./exporter-traffic.ts";
import type { ExporterSettings } from "./exporter-settings.ts";
import { TaskRecall } from "./task-recall.ts";
import { liveAccount } from "./live-account.ts";
import type { Held, SchedulerExporter } from "./scheduler.ts";

/** The main thread's half of one exporter: what is settled, what is in flight, when it may try again. */
export class Exporter {
  readonly stream: ExportedStream;
  readonly key: string;
  #settings: ExporterSettings;
  #cursor: CursorRecord;
  #batch: PendingBatch | undefined;
  #flight: Flight | undefined;
  /** The oldest message when a task began that was lost: what it has settled shows with the next one. */
  #inDoubtFrom: StreamPlace | undefined;
  #errorMessage: string;
  #lastAttemptTimeMs: number;
  #lastStartMs = -Infinity;
  readonly #pace = new ExporterPace();
  readonly cap: ExporterCap;
  readonly #traffic: ExporterTraffic;
  #lastError: ExporterState["lastError"];
  /** The configuration was given another start, and the cursor has not followed. */
  #isMoveDue: boolean;
  #moveCount = 0;
  /** Up to where everything is skipped for a start that the stream had not reached. */
  #skippedTo: StreamPlace | undefined;
  readonly #file: CursorFileKnowledge;
  /** Nothing starts while one is there: what is left of an exporter of the same identifier, or of a task, is being removed. */
  readonly heldBy = new Set<unknown>();
  #continuation: string | undefined;
  /** A message that takes several requests was begun, and not answered. */
  isUnderWay = false;
  isRemoved = false;

  /** `stored` is the cursor that was found on disk; `cap` is another exporter's where they share it. */
  constructor(
    stream: ExportedStream,
    settings: ExporterSettings,
    stored: CursorRecord | undefined,
    cap = new ExporterCap(),
  ) {
    this.stream = stream;
    this.key = `${stream.streamId}/${settings.exporterId}`;
    this.#settings = settings;
    this.cap = cap;
    this.#traffic = new ExporterTraffic(cap);
    cap.configure(settings);
    this.#cursor = stored ?? newCursor(settings.startSequence);
    this.#isMoveDue = this.#cursor.startSequence !== settings.startSequence;
    this.#file = new CursorFileKnowledge(this.#cursor, { isStored: stored !== undefined });
    this.#lastAttemptTimeMs = this.#cursor.lastAcceptedTimeMs;
    this.#errorMessage = "";
  }

  get settings(): ExporterSettings {
    return this.#settings;
  }

  get place(): CursorPlace {
    return { streamDirectory: this.stream.directory, exporterId: this.#settings.exporterId };
  }

  /** Where the next task reads first. */
  get nextSequence(): number {
    const start = this.#isMoveDue ? this.#settings.startSequence : this.#cursor.startSequence;
    const from = this.needsSettlement ? start : this.#cursor.position;
    return Math.max(from, this.stream.oldest.sequence);
  }

  /** Whatever happens, it does not need messages below this again. */
  get durablePosition(): number {
    const durable = this.stream.isMemory ? this.#cursor : this.#file.durable;
    const passed = Math.min(passedBy(durable), passedBy(this.#cursor));
    return this.#isMoveDue ? Math.min(passed, this.#settings.startSequence) : passed;
  }

  get inFlight(): boolean {
    return this.#flight !== undefined;
  }

  /** Whether a task has the exporter, or its cursor file. */
  get isBusy(): boolean {
    return this.inFlight || this.#file.isSyncing || this.heldBy.size > 0;
  }

  /** A kept exporter keeps its position unless its start is another; what is in flight ends under the old settings. */
  configure(settings: ExporterSettings): void {
    assert(settings.exporterId === this.#settings.exporterId, "an exporter keeps its id");
    if (settings.startSequence !== this.#settings.startSequence) {
      this.#isMoveDue = true;
      this.#moveCount += 1;
    }
    this.cap.configure(settings);
    this.#settings = settings;
  }

  /** A record on disk that is not this exporter's, and could not be removed, must not pass for one that it has not heard of. */
  supersede({ revision }: CursorRecord): void {
    assert(this.#cursor.revision === 0 && !this.inFlight, "an exporter that has not begun");
    this.#cursor = { ...this.#cursor, revision: revision + 1 };
  }

  /** The stream's places have moved. */
  noteProgress(): void {
    const { position, startSequence } = this.#cursor;
    // What is not durable may still go, and its numbers come again: until then it is pending.
    const { syncedEnd } = this.stream;
    const isShort = position < startSequence && syncedEnd.sequence <= startSequence;
    if (isShort && !this.#isMoveDue && !this.inFlight) this.#skippedTo = syncedEnd;
  }

  /** When what was written last should be durable; Infinity if it is, or if a batch in flight sees to it. */
  get syncDueMs(): number {
    return this.isBusy ? Infinity : this.#file.syncDueMs;
  }

  /** No batch may start until `finishSync`: only one task at a time has the cursor file. */
  startSync(): CursorPlace & { readonly syncedSlot: Slot | undefined } {
    assert(!this.isBusy, "one task at a time has a cursor file");
    this.#file.isSyncing = true;
    return { ...this.place, syncedSlot: this.#file.syncedSlot };
  }

  /** @returns whether more of it is durable now than before */
  finishSync(state: CursorFileState | undefined, nowMs: number): boolean {
    this.#file.isSyncing = false;
    if (state === undefined) this.#file.lose(nowMs);
    else this.#file.learn(state, nowMs);
    return state?.durable !== undefined;
  }

  get canSend(): boolean {
    return !this.#settings.disabled && !this.#settings.paused;
  }

  /** Whether a task has to look at the position that sends nothing: it follows a start, or a lost task may have moved it. */
  get needsSettlement(): boolean {
    const { position, startSequence } = this.#cursor;
    // With something to send, the next batch finds out what became of the lost one.
    if (this.#isMoveDue || (this.#inDoubtFrom !== undefined && this.pendingMessages === 0)) return true;
    const { syncedEnd } = this.stream;
    return this.#batch === undefined && position < startSequence && startSequence < syncedEnd.sequence;
  }

  mayStartAtMs(): number {
    return this.isBusy ? Infinity : this.#pace.notBeforeMs;
  }

  /** Messages that are stored, may be sent and were not settled. */
  get pendingMessages(): number {
    const { oldest, syncedEnd } = this.stream;
    if (this.#batch === undefined) {
      return Math.max(0, syncedEnd.sequence - Math.max(passedBy(this.#cursor), oldest.sequence));
    }
    return pendingWith(this.#batch, this.stream);
  }

  /** Nothing more is asked of it. What is out for it ends soon, or needs no more than a request does. */
  remove(): void {
    this.isRemoved = true;
    this.#flight?.recall?.recall();
  }

  /** It may be tried at once, whatever it has met. */
  retryNow(): void {
    this.#pace.retryNow();
  }

  schedulerView(
    arrivals: ArrivalMarks,
    { nowMs, kbitPerSecondMax, shareOwedBytes }: ViewOptions,
  ): SchedulerExporter {
    const { batchSize, batchIntervalMs } = this.#settings;
    const pending = this.pendingMessages;
    const next = this.#nextMessages(pending);
    const first = Math.max(this.nextSequence, this.#flight?.endSequence ?? 0);
    return {
      key: this.key,
      priority: this.#settings.priority,
      endpoint: this.#settings.endpoint,
      disabled: !this.canSend,
      inFlight: this.isBusy,
      backlogMessages: this.inFlight ? pending - next : pending,
      nextBatchMessages: next,
      batchSize,
      batchIntervalMs,
      oldestArrivalMs: batchIntervalMs === undefined ? -Infinity : arrivals.arrivalMs(first),
      resumesBatch: this.#batch !== undefined,
      nextRequestBytes: this.expectedBytes(kbitPerSecondMax),
      notBeforeMs: this.#pace.notBeforeMs,
      lastStartMs: this.#lastStartMs,
      cap: this.#traffic.allowance(nowMs),
      shareOwedBytes,
    };
  }

  #nextMessages(pendingMessages: number): number {
    return this.#batch === undefined
      ? Math.min(this.#settings.batchSize * this.#settings.inFlightMax, pendingMessages)
      : nextGroup(this.#batch).length;
  }

  /** What the request bodies of the next batch will take, if its messages are as long as those pending are on average. */
  expectedBytes(kbitPerSecondMax: number | undefined): number {
    const { oldest, syncedEnd } = this.stream;
    const { position, payloadOffset } = this.#cursor;
    const from = position >= oldest.sequence ? { sequence: position, payloadOffset } : oldest;
    const messages = Math.max(1, syncedEnd.sequence - from.sequence);
    const messageBytes = Math.max(0, syncedEnd.payloadOffset - from.payloadOffset) / messages;
    const countedBytes = this.#traffic.countedBytesOf(messageBytes);
    const batchBytes = this.#nextMessages(this.pendingMessages) * countedBytes;
    const bytesMax = this.#requestBytesMax(kbitPerSecondMax) * this.#settings.inFlightMax;
    return this.#traffic.bodyBytesOf(Math.max(countedBytes, Math.min(batchBytes, bytesMax)));
  }

  #requestBytesMax(kbitPerSecondMax: number | undefined): number {
    return Math.min(
      this.#pace.requestBytesMax,
      this.#traffic.requestBytesMax(kbitPerSecondMax, this.#settings.inFlightMax),
    );
  }

  /** The next batch. */
  start(begun: FlightStart, now: TaskStart): BatchTask {
    assert(!this.needsSettlement, "a start is settled first");
    this.#lastStartMs = now.nowMs;
    this.#lastAttemptTimeMs = now.wallMs;
    this.#traffic.begin(begun.expectedBytes, now.nowMs);
    return this.#take(now, { begun, start: undefined });
  }

  /** Has the position follow the start, and nothing sent. */
  startSettlement(now: TaskStart): BatchTask {
    const { startSequence } = this.#isMoveDue ? this.#settings : this.#cursor;
    const start = { startSequence, isMoved: this.#isMoveDue, skippedTo: this.#skippedTo };
    return this.#take(now, { begun: { ticket: undefined, expectedBytes: 0 }, start });
  }

  #take(
    { nowMs, memory, kbitPerSecondMax, windowsMax = 1 }: TaskStart,
    { begun, start }: { begun: FlightStart; start: StartChange | undefined },
  ): BatchTask {
    assert(!this.isBusy, "one task in flight per exporter");
    const { oldest, syncedEnd, streamId, name, directory } = this.stream;
    const { exporterId, identifier, kind, destination, batchSize } = this.#settings;
    const { inFlightMax, isRedrive = false } = this.#settings;
    const endSequence = this.#batch?.end.sequence ?? this.nextSequence + batchSize * inFlightMax;
    const stuckAtMs =
      nowMs + EXPORT_STUCK_MS + (1000 * begun.expectedBytes) / EXPORT_SLOWEST_BYTES_PER_SECOND;
    const recall = destination.kind === "s3TaskExecutor" ? new TaskRecall() : undefined;
    this.#flight = { ...begun, recall, stuckAtMs, moveCount: this.#moveCount, oldest, endSequence };
    return {
      kind: "batch",
      ...{ streamId, streamName: name, streamDirectory: directory },
      ...{ exporterId, identifier, exporterKind: kind, destination, isRedrive, start },
      cursor: this.#cursor,
      pending: this.#batch,
      oldest,
      syncedEnd,
      drops: this.#dropsBehind(oldest),
      messageCountMax: batchSize,
      ...{ inFlightMax, windowsMax },
      requestBytesMax: this.#requestBytesMax(kbitPerSecondMax),
      acceptsGaps: this.#pace.believesGaps,
      syncedSlot: this.#file.syncedSlot,
      syncAfterMs: this.#file.syncAfterMs(nowMs),
      memory,
      continuation: this.#continuation,
      recall: recall?.memory,
    };
  }

  /** Why messages from the cursor up to `oldest` are gone. */
  #dropsBehind(oldest: StreamPlace): readonly StreamLoss[] {
    const { position } = this.#cursor;
    if (position >= oldest.sequence) return [];
    return this.stream.drops().filter(({ toSequence }) => toSequence > position);
  }

  /** Takes in what became of the task. @returns what it began with */
  finish(result: BatchResult, { nowMs, wallMs, random }: TaskEnd): FlightStart {
    const flight = this.#land();
    assert(result.cursor.revision >= this.#cursor.revision, `cursor of ${this.key} went back`);
    if (result.cursor.revision !== this.#cursor.revision) this.#skippedTo = undefined;
    this.#cursor = result.cursor;
    const error = errorOf(result, this.#batch);
    this.#batch = result.pending;
    const { outcome } = result;
    this.#continuation = outcome.kind === "progress" ? outcome.continuation : undefined;
    if (outcome.kind === "progress") this.isUnderWay = true;
    else if (outcome.kind === "sent" || outcome.kind === "refused") this.isUnderWay = false;
    if (result.file !== undefined) this.#file.learn(result.file, nowMs);
    if (result.isStartSettled && flight.moveCount === this.#moveCount) this.#isMoveDue = false;
    if (result.outcome.kind !== "unreadable") this.#inDoubtFrom = undefined;
    if (error !== undefined) this.#noteError(error, wallMs);
    this.#pace.note(pacedOutcome(result), { nowMs, random });
    this.#traffic.end(flight.expectedBytes, result, nowMs);
    return flight;
  }

  /** The task was lost with its thread: nothing is known of it, so it is done again after a while. */
  lose(error: string, { nowMs, wallMs, random }: TaskEnd): FlightStart {
    const flight = this.#land();
    this.#continuation = undefined;
    this.#inDoubtFrom ??= flight.oldest;
    if (!this.stream.isMemory) this.#file.lose(nowMs);
    this.#noteError(error, wallMs);
    this.#pace.note({ kind: "unreadable", error }, { nowMs, random });
    return flight;
  }

  #noteError(text: string, timeMs: number): void {
    this.#errorMessage = text;
    if (text !== "") this.#lastError = { text, timeMs };
  }

  #land(): Flight {
    const flight = this.#flight;
    assert(flight !== undefined, "no task is in flight");
    this.#flight = undefined;
    return flight;
  }

  /** As describe shows it (PROTOCOL 3.6): every field always there. */
  status(): ExportStatus {
    return statusOf(this.#settings, this.#cursor, {
      isMoveDue: this.#isMoveDue,
      lastExportTime: this.#lastAttemptTimeMs,
      errorMessage: this.#errorMessage,
    });
  }

  /** When its task counts as stuck, monotonic; Infinity without one. */
  get stuckAtMs(): number {
    return this.#flight?.stuckAtMs ?? Infinity;
  }

  /** `held` is what the scheduler says of it. */
  state(held: Held | undefined, { nowMs, wallMs, arrivals }: StateTime): ExporterState {
    const { exporterId, identifier, priority, destination, batchIntervalMs } = this.#settings;
    const { lastAcceptedTimeMs } = this.#cursor;
    const { inFlight, stuckAtMs, pendingMessages, nextSequence } = this;
    return {
      ...{ exporterId, identifier, kind: destination.kind, priority, batchIntervalMs, nextSequence },
      oldestPendingAgeMs: pendingAgeMs(nextSequence, { pendingMessages, arrivals, nowMs }),
      state: activityOf(this.#settings, { inFlight, isStuck: stuckAtMs <= nowMs, pendingMessages, held }),
      nextTryTimeMs: held?.untilMs === undefined ? undefined : Math.ceil(wallMs + held.untilMs - nowMs),
      lastSuccessTimeMs: lastAcceptedTimeMs > 0 ? lastAcceptedTimeMs : undefined,
      lastError: this.#lastError,
      ...this.#traffic.rates(nowMs),
    };
  }

  ledger(wallMs: number): ExporterLedger {
    const { streamId, name, next } = this.stream;
    const { exporterId, identifier, kind, priority, disabled, notice = "" } = this.#settings;
    const { position } = this.#cursor;
    const oldest = this.#inDoubtFrom ?? this.#flight?.oldest ?? this.stream.oldest;
    return {
      streamId,
      streamName: name,
      ...{ exporterId, identifier, kind, priority, disabled, position, notice },
      durablePosition: this.durablePosition,
      ...liveAccount({
        cursor: this.#cursor,
        batch: this.#batch,
        skippedTo: this.#skippedTo,
        oldest,
        next,
        drops: this.#dropsBehind(oldest),
        nowMs: wallMs,
      }),
      aheadOfLogMessages: Math.max(0, position - next.sequence),
      errorMessage: this.#errorMessage,
      inFlight: this.inFlight,
    };
  }
}
