import { SET_ASIDE_IN_FLIGHT_BYTES_MAX } from "../core/set-aside-limits.ts";
import type { ContentOf, MessageReader } from "./batch-reader.ts";
import { isCondemned, type PendingBatch, type PendingEntry } from "./delivery.ts";
import type { BatchTask } from "./export-channel.ts";
import type { AnsweredRequest } from "./export-window.ts";
import { readAgain } from "./resumed-batch.ts";
import { contentOfEntry, type CondemnedMessage } from "./set-aside-entry.ts";

/** How what goes out of a stream's messages is read. */
export interface ContentReader {
  readonly reader: MessageReader;
  readonly contentOf: ContentOf;
}

/** What goes out of the task's messages: themselves, or in a redrive what was set aside of this exporter. */
export function contentOf({ isRedrive, identifier, exporterKind: kind }: BatchTask): ContentOf {
  return (message) => (isRedrive ? contentOfEntry(message.data, { identifier, kind }) : message);
}

/**
 * What of a batch is to be stored in the companion stream, as far as one result may hold it, and what of it the log does not
 * give. What did not go out just now is read again.
 */
export function condemnedOf(
  pending: PendingBatch | undefined,
  answered: readonly AnsweredRequest[],
  open: () => ContentReader,
): { readonly messages: CondemnedMessage[]; readonly missing: ReadonlySet<PendingEntry> } {
  const group = firstWithin(pending?.entries.filter(isCondemned) ?? [], SET_ASIDE_IN_FLIGHT_BYTES_MAX);
  const sent = answered.flatMap(({ group, records }) =>
    group.map(({ sequence }, index) => [sequence, records[index]!] as const),
  );
  const known = new Map(sent);
  const unknown = group.filter(({ sequence }) => !known.has(sequence));
  if (unknown.length > 0) {
    const { reader, contentOf } = open();
    for (const [sequence, record] of readAgain(reader, unknown, contentOf)) known.set(sequence, record);
  }
  const messages = group.flatMap(({ sequence, error = "" }): CondemnedMessage[] => {
    const record = known.get(sequence);
    if (record === undefined) return [];
    const { sequence: sequenceNumber, ingestTimeMs, attempts = 0, data: payload } = record;
    return [{ sequence, sequenceNumber, ingestTimeMs, attempts: attempts + 1, payload, error }];
  });
  return { messages, missing: new Set(group.filter(({ sequence }) => !known.has(sequence))) };
}

/** The first messages that come to at most `bytesMax`, at least one if there is any. */
function firstWithin(entries: readonly PendingEntry[], bytesMax: number): PendingEntry[] {
  let sumBytes = 0;
  const beyond = entries.findIndex(({ bytes }) => (sumBytes += bytes) > bytesMax);
  return entries.slice(0, beyond < 0 ? entries.length : Math.max(1, beyond));
}
