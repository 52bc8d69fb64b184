import type { Clock } from "../core/clock.ts";
import { textOf } from "../core/errors.ts";
import { EXPORT_LOOK_AHEAD_MESSAGES_MAX } from "../core/limits.ts";
import { systemTimers, type Timers } from "../core/timers.ts";
import type { DestinationKind } from "../core/stream-definition.ts";
import type { Slot } from "../log/slot-file.ts";
import type { Storage } from "../log/storage.ts";
import { readBatch, type MessageReader, type ReadGap } from "./batch-reader.ts";
import { CursorFile, type CursorPlace } from "./cursor-file.ts";
import type { CursorRecord } from "./cursor-layout.ts";
import { DelayedSync, stateOf, writeCursor } from "./cursor-writing.ts";
import { fold, isStuck, joined, nextGroup, settle, type PendingBatch, type Settled } from "./delivery.ts";
import type {
  Destination,
  DestinationLimits,
  ExportRecord,
  SendOutcome,
} from "./destinations/destination.ts";
import type {
  BatchOutcome,
  BatchResult,
  BatchTask,
  CursorsResult,
  ExportResult,
  ExportTask,
  RequestBytes,
  StartChange,
} from "./export-channel.ts";
import { resumeBatch, type PreparedRequest } from "./resumed-batch.ts";
import { settleStart } from "./start-settlement.ts";
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
        ? await this.#send(task, state, file)
        : this.#settleStart(task, task.start, state, file);
    } catch (error) {
      return unsent(task, { kind: "unreadable", error: textOf(error) });
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
    const nothing = { setAside: [], setAsideError: "" };
    return { ...written, ...nothing, pending: left, outcome: { kind: "passed" }, isStartSettled: true };
  }

  async #send(task: BatchTask, state: ExporterState, file: CursorFile | undefined): Promise<BatchResult> {
    const { cursor, pending } = state;
    const destination = await this.#destination(task.destination.kind);
    const prepared = this.#prepare(task, cursor, pending, destination);
    if (prepared.kind === "gap") return unsent(state, prepared);
    const { group, records, tooLarge, tooLargeError } = prepared;
    const { recordOverheadBytes } = destination.limitsFor(task.destination);
    const sync = new DelayedSync(file, task.syncAfterMs, this.#options.timers ?? systemTimers);
    if (group.length === 0) {
      const folded = fold(cursor, prepared.pending, this.#wallMs());
      const change = { before: cursor, after: folded.cursor, synced: await sync.end() };
      const told = { setAside: tooLarge, setAsideError: tooLargeError };
      return {
        ...writeCursor(file, change),
        ...told,
        pending: folded.pending,
        outcome: { kind: "passed" },
        isStartSettled: false,
      };
    }
    const answer = await destination.send(task.destination, records, task);
    const synced = await sync.end();
    const settled = settle(cursor, prepared.pending, { group, outcome: answer, nowMs: this.#wallMs() });
    const isKept = settled.cursor.position > cursor.position || settled.pending !== undefined;
    return {
      ...writeCursor(file, { before: cursor, after: settled.cursor, synced }),
      pending: settled.pending,
      outcome: outcomeOf(answer, records, settled),
      isStartSettled: false,
      // A batch that is read anew judges its messages anew.
      setAside: [...(isKept ? tooLarge : []), ...settled.setAside].sort((one, other) => one - other),
      setAsideError: settled.setAside.length > 0 ? settled.setAsideError : tooLargeError,
      ...(answer.notices === undefined ? {} : { notices: answer.notices }),
      requests: requestBytesOf(answer, records, recordOverheadBytes),
    };
  }

  /** The next request of the batch in hand, or of a fresh batch. */
  #prepare(
    task: BatchTask,
    cursor: CursorRecord,
    pending: PendingBatch | undefined,
    destination: Destination,
  ): PreparedRequest | ReadGap {
    const reader = this.#options.openReader(task);
    const limits = destination.limitsFor(task.destination);
    if (pending === undefined) return this.#readFresh(task, cursor, { reader, limits });
    const resumed = resumeBatch(reader, task, { pending, limits });
    if (resumed.kind === "gap" || !isStuck(resumed.pending)) return resumed;
    const { end, entries } = resumed.pending;
    const roomMessages = EXPORT_LOOK_AHEAD_MESSAGES_MAX - entries.length;
    // All there is was refused, and nothing accepted: from the start again, for it may have been mended.
    if (roomMessages <= 0 || end.sequence >= task.syncedEnd.sequence) {
      return this.#readFresh(task, cursor, { reader, limits });
    }
    const from = { position: end.sequence, payloadOffset: end.payloadOffset };
    const beyond = { ...task, messageCountMax: Math.min(task.messageCountMax, roomMessages) };
    const next = this.#readFresh(beyond, { ...cursor, ...from }, { reader, limits });
    return next.kind === "gap" ? next : { ...next, pending: joined(resumed.pending, next.pending) };
  }

  #readFresh(
    task: BatchTask,
    { position, payloadOffset, startSequence }: CursorRecord,
    { reader, limits }: { reader: MessageReader; limits: DestinationLimits },
  ): PreparedRequest | ReadGap {
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
      nowMs: this.#wallMs(),
    });
    if (batch.kind === "gap") return batch;
    const group = nextGroup(batch.pending);
    return { ...batch, group, records: group.map((entry) => batch.records.get(entry.sequence)!) };
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

  #wallMs(): number {
    return Math.max(0, Math.floor(this.#options.clock.nowMs()));
  }
}

function unsent(
  { cursor, pending }: Pick<BatchTask, "cursor" | "pending">,
  outcome: BatchOutcome,
): BatchResult {
  const nothing = {
    setAside: [],
    setAsideError: "",
    file: undefined,
    cursorError: "",
    isStartSettled: false,
  };
  return { kind: "batch", cursor, pending, outcome, ...nothing };
}

/** What a request took. */
function requestBytesOf(
  answer: SendOutcome,
  records: readonly ExportRecord[],
  recordOverheadBytes: number,
): RequestBytes {
  const payloadBytes = records.reduce((sum, { data }) => sum + data.length, 0);
  const countedBytes = payloadBytes + records.length * recordOverheadBytes;
  const sentBytes = answer.kind === "progress" ? answer.sentBytes : undefined;
  return { bodyBytes: answer.requestBytes ?? sentBytes ?? countedBytes, payloadBytes, countedBytes };
}

function outcomeOf(
  answer: Awaited<ReturnType<Destination["send"]>>,
  records: readonly ExportRecord[],
  { setAside }: Settled,
): BatchOutcome {
  if (answer.kind === "failed" || answer.kind === "progress") return answer;
  if (answer.kind === "refused" && setAside.length === 0) return answer;
  // Where a message was set aside, the account moved on: no reason to wait.
  const { failed, refused = [] } =
    answer.kind === "answered" ? answer : { failed: [], refused: setAside.map((_, index) => ({ index })) };
  const left = new Set([...failed, ...refused.map(({ index }) => index)]);
  const accepted = records.filter((_, index) => !left.has(index));
  return {
    kind: "sent",
    acceptedMessages: accepted.length,
    acceptedBytes: accepted.reduce((sum, { data }) => sum + data.length, 0),
    failedMessages: left.size - setAside.length,
    error: answer.error,
  };
}
