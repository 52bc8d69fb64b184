import { MESSAGE_LENGTH_BYTES } from "../core/message-framing.ts";
import { LossReason } from "../core/stream-ledger.ts";
import { messagesOf, type ContentOf, type MessageReader, type ReadGap } from "./batch-reader.ts";
import { isOpen, nextGroup, type PendingBatch, type PendingEntry } from "./delivery.ts";
import type { DestinationLimits, ExportRecord } from "./destinations/destination.ts";
import { reasonOf } from "./dropped-ranges.ts";
import type { BatchTask } from "./export-channel.ts";
import { cutGroups, type PreparedWindow } from "./export-window.ts";

/** Reads the next requests of a batch that was sent in part. What retention took meanwhile is accounted for. */
export function resumeBatch(
  reader: MessageReader,
  task: Pick<BatchTask, "oldest" | "drops" | "requestBytesMax" | "acceptsGaps" | "inFlightMax">,
  { pending, limits, contentOf }: { pending: PendingBatch; limits: DestinationLimits; contentOf: ContentOf },
): PreparedWindow | ReadGap {
  const left = withoutGone(pending, task);
  const { requestBytesMax, inFlightMax: requestsMax = 1 } = task;
  const groups = cutGroups(nextGroup(left), { limits, requestBytesMax, requestsMax });
  const group = groups.flat();
  const again = group.length === 0 ? new Map<number, ExportRecord>() : readAgain(reader, group, contentOf);
  const gone = new Set(group.filter(({ sequence }) => !again.has(sequence)));
  const [first] = gone;
  if (first !== undefined && !task.acceptsGaps) return unreadable(first);
  return {
    kind: "batch",
    pending: withDamaged(left, gone),
    requests: groups
      .map((entries) => entries.filter((entry) => !gone.has(entry)))
      .filter((entries) => entries.length > 0)
      .map((entries) => ({ group: entries, records: entries.map(({ sequence }) => again.get(sequence)!) })),
  };
}

/** Damage that is believed by now. */
export function withDamaged(pending: PendingBatch, damaged: ReadonlySet<PendingEntry>): PendingBatch {
  return withFates(pending, (entry) => (damaged.has(entry) ? LossReason.Corrupt : entry.fate));
}

export function unreadable({ sequence }: PendingEntry): ReadGap {
  const error = `message ${sequence} is damaged or missing in the log`;
  return { kind: "gap", fromSequence: sequence, error };
}

/** Messages that wait and are gone from the log have their account. */
function withoutGone(
  pending: PendingBatch,
  { oldest, drops }: Pick<BatchTask, "oldest" | "drops">,
): PendingBatch {
  return withFates(pending, (entry) =>
    isOpen(entry) && entry.sequence < oldest.sequence ? reasonOf(entry.sequence, drops) : entry.fate,
  );
}

/** A refused message is among the first ones that wait: those that wait no more are not suspected any longer. */
function withFates(
  pending: PendingBatch,
  fateOf: (entry: PendingEntry) => PendingEntry["fate"],
): PendingBatch {
  let settled = 0;
  const entries = pending.entries.map((entry) => {
    const fate = fateOf(entry);
    if (entry.fate === "waiting" && fate !== "waiting") settled += 1;
    return fate === entry.fate ? entry : { ...entry, fate };
  });
  return { ...pending, entries, suspects: Math.max(0, pending.suspects - settled) };
}

/** Reads the messages of `group` again, which is not empty. Those that cannot be read any more are missing in the answer. */
export function readAgain(
  reader: MessageReader,
  group: readonly PendingEntry[],
  contentOf: ContentOf,
): Map<number, ExportRecord> {
  const wanted = new Set(group.map((entry) => entry.sequence));
  const records = new Map<number, ExportRecord>();
  const endSequence = group.at(-1)!.sequence + 1;
  const bytesMax = group.reduce((sum, entry) => sum + entry.bytes + MESSAGE_LENGTH_BYTES, 0);
  let at = group[0]!.sequence;
  while (at < endSequence) {
    const before = at;
    const messageCountMax = endSequence - at;
    for (const slice of reader.read({ fromSequence: at, endSequence, messageCountMax, bytesMax })) {
      if (slice.kind === "gap") {
        at = Math.max(at, slice.toSequence);
        continue;
      }
      for (const record of messagesOf(slice)) {
        const content = wanted.has(record.sequence) ? contentOf(record) : undefined;
        if (content !== undefined) records.set(record.sequence, { ...content, data: content.data.slice() });
      }
      at = Math.max(at, slice.firstSequence + slice.messageCount);
    }
    if (at === before) break;
  }
  return records;
}
