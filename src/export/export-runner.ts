import { type Clock, wallMs } from "../core/clock.ts";
import { textOf } from "../core/errors.ts";
import { EXPORT_LOOK_AHEAD_MESSAGES_MAX, EXPORT_TASK_MS_MAX } from "../core/limits.ts";
import { systemTimers, type Timers } from "../core/timers.ts";
import type { DestinationKind } from "../core/stream-definition.ts";
import type { Slot } from "../log/slot-file.ts";
import type { Storage } from "../log/storage.ts";
import { BatchCourse, mayGoOn, together } from "./batch-course.ts";
import { readBatch, type MessageReader, type ReadGap } from "./batch-reader.ts";
import { condemnedOf, contentOf, type ContentReader } from "./condemned-messages.ts";
import { CursorFile, type CursorPlace } from "./cursor-file.ts";
import type { CursorRecord } from "./cursor-layout.ts";
import { DelayedSync, stateOf, writeCursor } from "./cursor-writing.ts";
import { fold, isStuck, joined, nextGroup, type PendingBatch } from "./delivery.ts";
import type { Destination, DestinationLimits } from "./destinations/destination.ts";
import type {
  BatchOutcome,
  BatchResult,
  BatchTask,
  CursorsResult,
  ExportResult,
  ExportTask,
  StartChange,
} from "./export-channel.ts";
import {
  outcomeOf,
  requestBytesOf,
  settleWindow,
  type AnsweredRequest,
  type PreparedWindow,
} from "./export-window.ts";
import { tendFiles } from "./file-tending.ts";
import { resumeBatch, unreadable, withDamaged } from "./resumed-batch.ts";
import { settleStart } from "./start-settlement.ts";
import { withRecall } from "./task-recall.ts";
import { cancelUpload } from "./upload-cancel.ts";
import { removeUploadFile } from "./upload-file.ts";

export interface ExportRunnerOptions {
  readonly storage: Storage;
  readonly clock: Clock;
  /** This machine's by default. */
  readonly timers?: Timers;
  /** Called once per kind; the destination is kept. */
  readonly loadDestination: (kind: DestinationKind) => Promise<Destination>;
  /** A reader of the committed messages of the task's stream. */
  readonly openReader: (task: BatchTask) => MessageReader;
}

/** Where an exporter stands when a task begins. */
interface ExporterState {
  readonly cursor: CursorRecord;
  readonly pending: PendingBatch | undefined;
  /** The main thread does not know of it yet. */
  readonly isNewer: boolean;
}

/**
 * The work of an export worker, without a thread inside: reads a batch from the log, sends it, and writes the cursor after
 * the destination accepted and before anyone is told, so that a crash repeats at most this batch. Failures are values.
 */
export class ExportRunner {
  readonly #options: ExportRunnerOptions;
  readonly #destinations = new Map<DestinationKind, Promise<Destination>>();

  constructor(options: ExportRunnerOptions) {
    this.#options = options;
  }

  async run(task: ExportTask): Promise<ExportResult> {
    switch (task.kind) {
      case "batch":
        return this.#runBatch(task);
      case "sync":
        return this.#eachCursor(task.cursors, (file) => file.sync());
      case "forget":
        return this.#eachCursor(task.cursors, (file, place) => {
          // First: by the cursor a later start finds what is left to be removed.
          removeUploadFile(this.#options.storage, place);
          file.remove();
        });
      case "cancel":
        return cancelUpload(this.#options.storage, task, (kind) => this.#destination(kind));
      case "tend":
        return tendFiles(this.#options.storage, task, (kind) => this.#destination(kind));
    }
  }

  async #runBatch(task: BatchTask): Promise<BatchResult> {
    let file: CursorFile | undefined;
    try {
      const { storage } = this.#options;
      file = task.memory === undefined ? new CursorFile(storage, task, task.syncedSlot) : undefined;
      // A thread that died after its cursor write left a newer record than the one that main knows.
      const stored = file?.record;
      const isNewer = stored !== undefined && stored.revision > task.cursor.revision;
      const state = isNewer
        ? { cursor: stored, pending: undefined, isNewer }
        : { cursor: task.cursor, pending: task.pending, isNewer };
      return task.start === undefined
        ? await this.#sendOn(task, state, file)
        : this.#settleStart(task, task.start, state, file);
    } catch (error) {
      // The next task finds by the file what was written before.
      const left = unsent(task, { kind: "unreadable", error: textOf(error) });
      return file === undefined ? left : { ...left, file: stateOf(file, undefined) };
    } finally {
      file?.close();
    }
  }

  #settleStart(
    task: BatchTask,
    { startSequence, isMoved, skippedTo }: StartChange,
    state: ExporterState,
    file: CursorFile | undefined,
  ): BatchResult {
    const { cursor, pending, isNewer } = state;
    const settled = settleStart(cursor, pending, {
      startSequence,
      // The thread that died may have been about this very move.
      isMoved: isNewer ? cursor.startSequence !== startSequence : isMoved,
      skippedTo,
      oldest: task.oldest,
      end: task.syncedEnd,
      drops: task.drops,
      reader: this.#options.openReader(task),
      acceptsGaps: task.acceptsGaps,
      nowMs: this.#wallMs(),
    });
    if (settled.kind === "gap") return unsent(state, settled);
    const written = writeCursor(file, { before: cursor, after: settled.cursor, synced: undefined });
    const { pending: left } = settled;
    return { ...written, condemned: [], pending: left, outcome: { kind: "passed" }, isStartSettled: true };
  }

  /** Sends a window, and more while there is nothing to ask the main thread first. */
  async #sendOn(task: BatchTask, state: ExporterState, file: CursorFile | undefined): Promise<BatchResult> {
    const course = new BatchCourse(task, this.#monotonicMs());
    let result = await this.#send(task, state, { file, course });
    for (let left = (task.windowsMax ?? 1) - 1; left > 0 && mayGoOn(task, result); left -= 1) {
      const nowMs = this.#monotonicMs();
      if (nowMs - course.beganMs >= EXPORT_TASK_MS_MAX) break;
      const { cursor } = result;
      try {
        const next = { cursor, pending: undefined, isNewer: false };
        const step = course.next(task, result, nowMs);
        result = together(result, await this.#send(step, next, { file, course }));
      } catch {
        // What was accepted counts; the next task meets the same again and tells.
        if (file === undefined) return result;
        return { ...result, file: { ...stateOf(file, undefined), durable: result.file?.durable } };
      }
    }
    return result;
  }

  async #send(
    task: BatchTask,
    state: ExporterState,
    { file, course }: { file: CursorFile | undefined; course: BatchCourse },
  ): Promise<BatchResult> {
    const { cursor } = state;
    const destination = await this.#destination(task.destination.kind);
    const prepared = await this.#prepare(task, state, { destination, course });
    if (prepared.kind === "gap") return unsent(state, prepared);
    const { requests } = prepared;
    const { recordOverheadBytes } = destination.limitsFor(task.destination);
    const sync = new DelayedSync(file, task.syncAfterMs, this.#options.timers ?? systemTimers);
    try {
      if (requests.length === 0) {
        const { messages, missing } = condemnedOf(prepared.pending, [], () => this.#readerOf(task));
        const [first] = missing;
        const left = task.acceptsGaps ? withDamaged(prepared.pending, missing) : prepared.pending;
        const folded = fold(cursor, left, this.#wallMs());
        const change = { before: cursor, after: folded.cursor, synced: await sync.end() };
        return {
          ...writeCursor(file, change),
          ...folded,
          condemned: messages,
          outcome: first === undefined || task.acceptsGaps ? { kind: "passed" } : unreadable(first),
          isStartSettled: false,
        };
      }
      const answered = await this.#ask(task, { prepared, cursor, destination, course });
      const synced = await sync.end();
      const { isRedrive } = task;
      const settled = settleWindow(cursor, prepared.pending, { answered, isRedrive, nowMs: this.#wallMs() });
      const notices = answered.flatMap(({ answer }) => answer.notices ?? []);
      const tendInMs = answered.at(-1)?.answer.tendInMs;
      return {
        ...writeCursor(file, { before: cursor, after: settled.cursor, synced }),
        pending: settled.pending,
        condemned: condemnedOf(settled.pending, answered, () => this.#readerOf(task)).messages,
        outcome: outcomeOf(answered, settled),
        isStartSettled: false,
        ...(notices.length === 0 ? {} : { notices }),
        ...(tendInMs === undefined ? {} : { tendInMs }),
        requests: requestBytesOf(answered, recordOverheadBytes),
      };
    } finally {
      // It must not run on when the file is closed.
      await sync.end();
    }
  }

  /** Sends a window, and reads the next one meanwhile if the task may go on. */
  async #ask(
    task: BatchTask,
    window: { prepared: PreparedWindow; cursor: CursorRecord; destination: Destination; course: BatchCourse },
  ): Promise<AnsweredRequest[]> {
    const { prepared, cursor, destination, course } = window;
    // A redrive stands in the companion stream: its position says nothing of these messages.
    const stood = task.isRedrive ? { ...task, cursor: undefined } : task;
    const sending = prepared.requests.map((request) =>
      withRecall(task.recall, async (recalled) => {
        const context = { ...stood, recalled };
        return { ...request, answer: await destination.send(task.destination, request.records, context) };
      }),
    );
    const { sequence: position, payloadOffset } = prepared.pending.end;
    const isWorthwhile =
      (task.windowsMax ?? 1) > 1 && task.syncedEnd.sequence - position >= task.messageCountMax;
    // By then the requests have left.
    const reading = !isWorthwhile
      ? undefined
      : setImmediate(() => {
          const from = { ...cursor, position, payloadOffset };
          const ahead = this.#readAhead(task, from, destination);
          course.ahead = ahead && { position, window: ahead };
        });
    const answered = await Promise.all(sending);
    clearImmediate(reading);
    return answered;
  }

  #readAhead(task: BatchTask, from: CursorRecord, destination: Destination): PreparedWindow | undefined {
    try {
      const ahead = this.#read(task, { cursor: from, pending: undefined }, destination);
      if (ahead.kind === "gap") return undefined;
      for (const { records } of ahead.requests) destination.prepare?.(task.destination, records);
      return ahead;
    } catch {
      // It is read again when it is its turn, and fails then.
      return undefined;
    }
  }

  async #prepare(
    task: BatchTask,
    state: ExporterState,
    { destination, course }: { destination: Destination; course: BatchCourse },
  ): Promise<PreparedWindow | ReadGap> {
    const { ahead } = course;
    course.ahead = undefined;
    if (state.pending === undefined && ahead?.position === state.cursor.position) return ahead.window;
    const prepared = this.#read(task, state, destination);
    if (destination.learnLimits === undefined || prepared.kind === "gap") return prepared;
    if (!holdsTooLarge(prepared.pending, destination.limitsFor(task.destination))) return prepared;
    await destination.learnLimits(task.destination);
    return this.#read(task, state, destination);
  }

  /** The next requests of the batch in hand, or of a fresh one. */
  #read(
    task: BatchTask,
    { cursor, pending }: Pick<ExporterState, "cursor" | "pending">,
    destination: Destination,
  ): PreparedWindow | ReadGap {
    const reader = this.#options.openReader(task);
    const limits = destination.limitsFor(task.destination);
    if (pending === undefined) return this.#readWindow(task, cursor, { reader, limits });
    const resumed = resumeBatch(reader, task, { pending, limits, contentOf: contentOf(task) });
    if (resumed.kind === "gap" || !isStuck(resumed.pending)) return resumed;
    const { end, entries } = resumed.pending;
    const roomMessages = EXPORT_LOOK_AHEAD_MESSAGES_MAX - entries.length;
    // All there is was refused, and nothing accepted: from the start again, for it may have been mended.
    if (roomMessages <= 0 || end.sequence >= task.syncedEnd.sequence) {
      return this.#readWindow(task, cursor, { reader, limits });
    }
    const from = { position: end.sequence, payloadOffset: end.payloadOffset };
    const beyond = { ...task, messageCountMax: Math.min(task.messageCountMax, roomMessages) };
    const next = this.#readFresh(beyond, { ...cursor, ...from }, { reader, limits });
    return next.kind === "gap" ? next : { ...next, pending: joined(resumed.pending, next.pending) };
  }

  /** A fresh batch of as many requests as may be under way. Those behind the first are full, and end where a gap begins. */
  #readWindow(
    task: BatchTask,
    cursor: CursorRecord,
    from: { reader: MessageReader; limits: DestinationLimits },
  ): PreparedWindow | ReadGap {
    let window = this.#readFresh(task, cursor, from);
    for (let left = (task.inFlightMax ?? 1) - 1; left > 0 && window.kind !== "gap"; left -= 1) {
      const { sequence: position, payloadOffset } = window.pending.end;
      if (task.syncedEnd.sequence - position < task.messageCountMax) break;
      const next = this.#readFresh(
        { ...task, acceptsGaps: false },
        { ...cursor, position, payloadOffset },
        from,
      );
      if (next.kind === "gap") break;
      window = {
        kind: "batch",
        pending: joined(window.pending, next.pending),
        requests: [...window.requests, ...next.requests],
      };
    }
    return window;
  }

  #readFresh(
    task: BatchTask,
    { position, payloadOffset, startSequence }: CursorRecord,
    { reader, limits }: { reader: MessageReader; limits: DestinationLimits },
  ): PreparedWindow | ReadGap {
    const batch = readBatch(reader, {
      from: { sequence: position, payloadOffset },
      oldest: task.oldest,
      end: task.syncedEnd,
      drops: task.drops,
      startSequence,
      messageCountMax: task.messageCountMax,
      requestBytesMax: task.requestBytesMax,
      limits,
      acceptsGaps: task.acceptsGaps,
      contentOf: contentOf(task),
      nowMs: this.#wallMs(),
    });
    if (batch.kind === "gap") return batch;
    const group = nextGroup(batch.pending);
    const records = group.map((entry) => batch.records.get(entry.sequence)!);
    return { ...batch, requests: group.length === 0 ? [] : [{ group, records }] };
  }

  #readerOf(task: BatchTask): ContentReader {
    return { reader: this.#options.openReader(task), contentOf: contentOf(task) };
  }

  async #eachCursor(
    places: readonly (CursorPlace & { readonly syncedSlot?: Slot | undefined })[],
    act: (file: CursorFile, place: CursorPlace) => void | Promise<void>,
  ): Promise<CursorsResult> {
    const outcomes = await Promise.allSettled(
      places.map(async (place) => {
        const file = new CursorFile(this.#options.storage, place, place.syncedSlot);
        try {
          await act(file, place);
          return stateOf(file, file.isSynced ? file.record : undefined);
        } finally {
          file.close();
        }
      }),
    );
    const files = outcomes.map((outcome) => (outcome.status === "fulfilled" ? outcome.value : undefined));
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    return { kind: "cursors", files, error: failed === undefined ? "" : textOf(failed.reason) };
  }

  #destination(kind: DestinationKind): Promise<Destination> {
    let destination = this.#destinations.get(kind);
    if (destination === undefined) {
      destination = this.#options.loadDestination(kind);
      this.#destinations.set(kind, destination);
      // An import that failed may succeed later: the next task tries again.
      destination.catch(() => this.#destinations.delete(kind));
    }
    return destination;
  }

  #monotonicMs(): number {
    return this.#options.clock.monotonicMs();
  }

  #wallMs(): number {
    return wallMs(this.#options.clock);
  }
}

function unsent(
  { cursor, pending }: Pick<BatchTask, "cursor" | "pending">,
  outcome: BatchOutcome,
): BatchResult {
  const nothing = {
    condemned: [],
    file: undefined,
    cursorError: "",
    isStartSettled: false,
  };
  return { kind: "batch", cursor, pending, outcome, ...nothing };
}

function holdsTooLarge({ entries }: PendingBatch, limits: DestinationLimits): boolean {
  const bytesMax = limits.recordBytesMax - limits.recordOverheadBytes;
  return entries.some(({ bytes }) => bytes > bytesMax);
}
