import { assert } from "../core/assert.ts";
import { MESSAGE_LENGTH_BYTES, readLength } from "../core/message-framing.ts";
import type { LogSlice } from "../log/decoded-block.ts";
import { LossReason, type LossRange } from "./cursor-layout.ts";
import type { PendingBatch, PendingEntry } from "./delivery.ts";
import type { DestinationLimits, ExportRecord } from "./destinations/destination.ts";

/** The committed messages of one stream. A read gives at least one slice if there is a message below `endSequence`. */
export interface MessageReader {
  read(options: {
    fromSequence: number;
    endSequence: number;
    messageCountMax: number;
    bytesMax: number;
  }): readonly LogSlice[];
}

export interface ReadBatch {
  readonly kind: "batch";
  readonly pending: PendingBatch;
  readonly records: ReadonlyMap<number, ExportRecord>;
  /** Messages that no request can hold: their entries are set aside already. */
  readonly tooLarge: readonly number[];
  readonly tooLargeError: string;
}

/** The log holds nothing readable where a message should be. */
export interface ReadGap {
  readonly kind: "gap";
  readonly fromSequence: number;
  readonly error: string;
}

interface ReadOptions {
  readonly position: number;
  readonly oldestSequence: number;
  readonly endSequence: number;
  readonly messageCountMax: number;
  readonly requestBytesMax: number;
  readonly limits: DestinationLimits;
  readonly acceptsGaps: boolean;
  readonly nowMs: number;
}

/**
 * Reads the batch that begins at `position`: as many messages as one request holds. What retention took from the front is
 * accounted for at once; any other gap ends the batch, and where it begins one it has to be accepted by the caller.
 */
export function readBatch(reader: MessageReader, options: ReadOptions): ReadBatch | ReadGap {
  const { position, oldestSequence, endSequence, limits, nowMs } = options;
  const requestBytesMax = Math.min(options.requestBytesMax, limits.requestBytesMax);
  const messageCountMax = Math.min(options.messageCountMax, limits.recordsMax);
  const entries: PendingEntry[] = [];
  const gaps: LossRange[] = [];
  const records = new Map<number, ExportRecord>();
  const tooLarge: number[] = [];
  let tooLargeError = "";
  let requestBytes = 0;

  let at = position;
  if (oldestSequence > position) {
    at = Math.min(oldestSequence, endSequence);
    gaps.push({ from: position, to: at, reason: LossReason.Overwritten, timeMs: nowMs });
  }
  const slices =
    at < endSequence
      ? reader.read({ fromSequence: at, endSequence, messageCountMax, bytesMax: requestBytesMax })
      : [];
  for (const slice of slices) {
    if (slice.kind === "gap") {
      assert(slice.fromSequence === at, `a gap from ${slice.fromSequence} where ${at} was due`);
      if (entries.length > 0) break;
      if (!options.acceptsGaps) return gapAt(slice);
      gaps.push({ from: at, to: slice.toSequence, reason: LossReason.Corrupt, timeMs: nowMs });
      at = slice.toSequence;
      continue;
    }
    for (const record of messagesOf(slice)) {
      if (record.sequence < at) continue;
      assert(record.sequence === at, `message ${record.sequence} came where ${at} was due`);
      const bytes = record.data.length;
      const costBytes = bytes + limits.recordOverheadBytes;
      if (costBytes > limits.recordBytesMax) {
        entries.push({ sequence: at, bytes, fate: LossReason.SetAside, refusals: 0 });
        tooLarge.push(at);
        tooLargeError = `${bytes} bytes, and ${limits.recordBytesMax - limits.recordOverheadBytes} is the limit`;
      } else {
        const isFull = records.size >= messageCountMax || requestBytes + costBytes > requestBytesMax;
        if (isFull && records.size > 0) return readUpTo(at);
        entries.push({ sequence: at, bytes, fate: "waiting", refusals: 0 });
        records.set(at, { ...record, data: record.data.slice() });
        requestBytes += costBytes;
      }
      at += 1;
    }
  }
  if (at > position) return readUpTo(at);
  return {
    kind: "gap",
    fromSequence: at,
    error: `the log gives nothing at ${at}, and ${endSequence} is its end`,
  };

  function readUpTo(end: number): ReadBatch {
    const pending = { endSequence: end, entries, gaps, suspects: 0, anyAccepted: false };
    return { kind: "batch", pending, records, tooLarge, tooLargeError };
  }
}

function gapAt({ fromSequence, toSequence, reason }: LogSlice & { kind: "gap" }): ReadGap {
  const what = reason === "CORRUPT" ? "damaged" : "missing";
  return {
    kind: "gap",
    fromSequence,
    error: `messages ${fromSequence} to ${toSequence - 1} are ${what} in the log`,
  };
}

/** Reads the messages of `group` again. Those that cannot be read any more are missing in the answer. */
export function readAgain(reader: MessageReader, group: readonly PendingEntry[]): Map<number, ExportRecord> {
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
        if (wanted.has(record.sequence))
          records.set(record.sequence, { ...record, data: record.data.slice() });
      }
      at = Math.max(at, slice.firstSequence + slice.messageCount);
    }
    if (at === before) break;
  }
  return records;
}

/** The messages of a slice; their data are views. */
function* messagesOf(slice: LogSlice & { kind: "messages" }): Generator<ExportRecord> {
  let offset = 0;
  let sequence = slice.firstSequence;
  for (const { messageCount, ingestMs } of slice.runs) {
    for (let index = 0; index < messageCount; index += 1) {
      assert(offset + MESSAGE_LENGTH_BYTES <= slice.raw.length, "a slice holds whole messages");
      const start = offset + MESSAGE_LENGTH_BYTES;
      offset = start + readLength(slice.raw, offset);
      yield { sequence, ingestTimeMs: ingestMs, data: slice.raw.subarray(start, offset) };
      sequence += 1;
    }
  }
  assert(sequence === slice.firstSequence + slice.messageCount, "runs cover their slice");
}
