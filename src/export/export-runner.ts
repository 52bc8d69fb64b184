import type { Clock } from "../core/clock.ts";
import type { DestinationKind } from "../core/stream-definition.ts";
import type { Storage } from "../log/storage.ts";
import { readAgain, readBatch, type MessageReader, type ReadGap } from "./batch-reader.ts";
import { CursorFile, otherSlot } from "./cursor-file.ts";
import { LossReason, type CursorRecord } from "./cursor-layout.ts";
import { fold, nextGroup, settle, type PendingBatch, type PendingEntry } from "./delivery.ts";
import type { Destination, DestinationLimits, ExportRecord } from "./destinations/destination.ts";
import type {
  BatchOutcome,
  BatchResult,
  BatchTask,
  CursorPlace,
  CursorsResult,
  ExportResult,
  ExportTask,
} from "./export-channel.ts";

export interface ExportRunnerOptions {
  readonly storage: Storage;
  readonly clock: Clock;
  /** Called once per kind; the destination is kept. */
  readonly loadDestination: (kind: DestinationKind) => Promise<Destination>;
  /** A reader of the committed messages of the task's stream. */
  readonly openReader: (task: BatchTask) => MessageReader;
}

/** One request, ready to go. */
interface Prepared {
  readonly kind: "batch";
  readonly pending: PendingBatch;
  readonly group: readonly PendingEntry[];
  readonly records: readonly ExportRecord[];
  readonly tooLarge: readonly number[];
  readonly tooLargeError: string;
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
        return this.#eachCursor(task.cursors, (file) => file.remove());
    }
  }

  async #runBatch(task: BatchTask): Promise<BatchResult> {
    let file: CursorFile | undefined;
    try {
      file = task.memory === undefined ? new CursorFile(this.#options.storage, task) : undefined;
      // A thread that died after its cursor write left a newer record than the one that main knows.
      const stored = file?.record;
      const isNewer = stored !== undefined && stored.position > task.cursor.position;
      const cursor = isNewer ? stored : task.cursor;
      return await this.#send(task, cursor, isNewer ? undefined : task.pending, file);
    } catch (error) {
      return unsent(task.cursor, task.pending, { kind: "unreadable", error: textOf(error) });
    } finally {
      file?.close();
    }
  }

  async #send(
    task: BatchTask,
    cursor: CursorRecord,
    pending: PendingBatch | undefined,
    file: CursorFile | undefined,
  ): Promise<BatchResult> {
    const destination = await this.#destination(task.destination.kind);
    const prepared = this.#prepare(task, cursor, pending, destination);
    if (prepared.kind === "gap") return unsent(cursor, pending, prepared);
    const { group, records, tooLarge, tooLargeError } = prepared;
    const sync = new DelayedSync(file, task.syncAfterMs);
    if (group.length === 0) {
      const folded = fold(cursor, prepared.pending, this.#wallMs());
      const written = writeCursor(file, task, {
        before: cursor,
        after: folded.cursor,
        isSynced: await sync.end(),
      });
      const told = { setAside: tooLarge, setAsideError: tooLargeError };
      return { ...written, ...told, pending: folded.pending, outcome: { kind: "passed" } };
    }
    const answer = await destination.send(task.destination, records);
    const isSynced = await sync.end();
    const settled = settle(cursor, prepared.pending, { group, outcome: answer, nowMs: this.#wallMs() });
    const isKept = settled.cursor.position > cursor.position || settled.pending !== undefined;
    return {
      ...writeCursor(file, task, { before: cursor, after: settled.cursor, isSynced }),
      pending: settled.pending,
      outcome: outcomeOf(answer, records),
      // A batch that is read anew judges its messages anew.
      setAside: [...(isKept ? tooLarge : []), ...settled.setAside].sort((one, other) => one - other),
      setAsideError: settled.setAside.length > 0 && answer.kind === "refused" ? answer.error : tooLargeError,
    };
  }

  /** The next request of the batch in hand, or of a fresh batch. */
  #prepare(
    task: BatchTask,
    cursor: CursorRecord,
    pending: PendingBatch | undefined,
    { limits }: Destination,
  ): Prepared | ReadGap {
    const reader = this.#options.openReader(task);
    if (pending !== undefined) return prepareAgain(reader, task, pending, limits);
    const batch = readBatch(reader, {
      position: cursor.position,
      oldestSequence: task.oldestSequence,
      endSequence: task.syncedEndSequence,
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
    places: readonly CursorPlace[],
    act: (file: CursorFile) => void | Promise<void>,
  ): Promise<CursorsResult> {
    const outcomes = await Promise.allSettled(
      places.map(async (place) => {
        const file = new CursorFile(this.#options.storage, place);
        try {
          await act(file);
        } finally {
          file.close();
        }
      }),
    );
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    return { kind: "cursors", error: failed === undefined ? "" : textOf(failed.reason) };
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

/** The first messages that fit a request of `bytesMax`, at least one. */
function withinBytes(
  group: readonly PendingEntry[],
  bytesMax: number,
  overheadBytes: number,
): PendingEntry[] {
  let bytes = 0;
  return group.filter((entry, index) => {
    bytes += entry.bytes + overheadBytes;
    return index === 0 || bytes <= bytesMax;
  });
}

/** Reads the next group of a batch that was sent in part. What retention took meanwhile is accounted for. */
function prepareAgain(
  reader: MessageReader,
  task: BatchTask,
  pending: PendingBatch,
  { recordOverheadBytes }: DestinationLimits,
): Prepared | ReadGap {
  const group = withinBytes(nextGroup(pending), task.requestBytesMax, recordOverheadBytes);
  const isGone = ({ sequence }: PendingEntry): boolean => sequence < task.oldestSequence;
  const present = group.filter((entry) => !isGone(entry));
  const again = present.length === 0 ? new Map<number, ExportRecord>() : readAgain(reader, present);
  const records: ExportRecord[] = [];
  const lost = new Map<number, LossReason>();
  for (const entry of group) {
    const record = again.get(entry.sequence);
    if (record !== undefined) records.push(record);
    else if (isGone(entry)) lost.set(entry.sequence, LossReason.Overwritten);
    else if (task.acceptsGaps) lost.set(entry.sequence, LossReason.Corrupt);
    else {
      const error = `message ${entry.sequence} is damaged or missing in the log`;
      return { kind: "gap", fromSequence: entry.sequence, error };
    }
  }
  const entries = pending.entries.map((entry) => ({
    ...entry,
    fate: lost.get(entry.sequence) ?? entry.fate,
  }));
  return {
    kind: "batch",
    pending: { ...pending, entries, suspects: Math.max(0, pending.suspects - lost.size) },
    group: group.filter((entry) => !lost.has(entry.sequence)),
    records,
    tooLarge: [],
    tooLargeError: "",
  };
}

/** Syncs the cursor file while the destination answers, if that takes so long that the sync falls due. */
class DelayedSync {
  readonly #timer: NodeJS.Timeout | undefined;
  #running: Promise<boolean> | undefined;

  constructor(file: CursorFile | undefined, afterMs: number | undefined) {
    if (file === undefined || afterMs === undefined) return;
    const start = (): void => {
      this.#running = file.sync().then(
        () => true,
        // Not durable: the slot stays the one to be written, and the next sync is asked for as before.
        () => false,
      );
    };
    if (afterMs <= 0) start();
    else this.#timer = setTimeout(start, afterMs);
  }

  /** @returns whether what was written before is durable. */
  async end(): Promise<boolean> {
    clearTimeout(this.#timer);
    return (await this.#running) ?? false;
  }
}

/** Writes the cursor if it moved. A failure is told and not thrown: the batch was accepted all the same. */
function writeCursor(
  file: CursorFile | undefined,
  { cursorSlot }: BatchTask,
  { before, after, isSynced }: { before: CursorRecord; after: CursorRecord; isSynced: boolean },
): Pick<BatchResult, "kind" | "cursor" | "cursorSynced" | "cursorWritten" | "cursorError"> {
  const result = {
    kind: "batch",
    cursor: after,
    cursorSynced: isSynced,
    cursorWritten: false,
    cursorError: "",
  } as const;
  if (file === undefined || after.position === before.position) return result;
  try {
    file.write(after, isSynced ? otherSlot(cursorSlot) : cursorSlot);
    return { ...result, cursorWritten: true };
  } catch (error) {
    return { ...result, cursorError: textOf(error) };
  }
}

function unsent(cursor: CursorRecord, pending: PendingBatch | undefined, outcome: BatchOutcome): BatchResult {
  const nothing = {
    setAside: [],
    setAsideError: "",
    cursorSynced: false,
    cursorWritten: false,
    cursorError: "",
  };
  return { kind: "batch", cursor, pending, outcome, ...nothing };
}

function outcomeOf(
  answer: Awaited<ReturnType<Destination["send"]>>,
  records: readonly ExportRecord[],
): BatchOutcome {
  if (answer.kind !== "answered") return answer;
  const failed = new Set(answer.failed);
  const accepted = records.filter((_, index) => !failed.has(index));
  return {
    kind: "sent",
    acceptedMessages: accepted.length,
    acceptedBytes: accepted.reduce((sum, { data }) => sum + data.length, 0),
    failedMessages: failed.size,
    error: answer.error,
  };
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
