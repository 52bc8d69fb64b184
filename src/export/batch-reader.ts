import { assert } from "../core/assert.ts";
import { MESSAGE_LENGTH_BYTES, readLength } from "../core/message-framing.ts";
import type { StreamLoss, StreamPlace } from "../core/stream-ledger.ts";
import type { LogSlice } from "../log/decoded-block.ts";
import type { HiddenPlace } from "../log/segment-reader.ts";
import { BatchBuilder, type ReadBatch } from "./batch-builder.ts";
import { lossesBetween } from "./dropped-ranges.ts";
import type { DestinationLimits, ExportRecord } from "./destinations/destination.ts";

/** The committed messages of one stream. */
export interface MessageReader {
  /** At least one slice if there is a message below `endSequence`; behind a gap, messages or the end. */
  read(options: {
    fromSequence: number;
    endSequence: number;
    messageCountMax: number;
    bytesMax: number;
  }): readonly LogSlice[];
  placeOf(sequence: number): StreamPlace | HiddenPlace;
}

/** The log holds nothing readable where a message should be. */
export interface ReadGap {
  readonly kind: "gap";
  readonly fromSequence: number;
  readonly error: string;
}

interface ReadOptions {
  readonly from: StreamPlace;
  readonly oldest: StreamPlace;
  readonly end: StreamPlace;
  /** Why messages from `from` up to the oldest are gone. */
  readonly drops: readonly StreamLoss[];
  readonly startSequence: number;
  readonly messageCountMax: number;
  readonly requestBytesMax: number;
  readonly limits: DestinationLimits;
  readonly acceptsGaps: boolean;
  /** What is to be sent of a message, undefined for nothing: it is skipped. */
  readonly contentOf: ContentOf;
  readonly nowMs: number;
}

/** What goes out of a message of the log. */
export type ContentOf = (message: ExportRecord) => ExportRecord | undefined;

/**
 * Reads the batch that begins at `from`: as many messages as one request holds. What retention took from the front is
 * accounted for at once; any other gap ends the batch, and where it begins one it has to be accepted by the caller.
 */
export function readBatch(reader: MessageReader, options: ReadOptions): ReadBatch | ReadGap {
  const { end, limits } = options;
  const requestBytesMax = Math.min(options.requestBytesMax, limits.requestBytesMax);
  const messageCountMax = Math.min(options.messageCountMax, limits.recordsMax);
  const batch = new BatchBuilder(options.from, options);
  if (options.oldest.sequence > options.from.sequence) {
    const to = options.oldest.sequence > end.sequence ? end : options.oldest;
    batch.pass(lossesBetween({ ...options, to }), to);
  }
  const fromSequence = batch.at.sequence;
  const slices =
    fromSequence < end.sequence
      ? reader.read({ fromSequence, endSequence: end.sequence, messageCountMax, bytesMax: requestBytesMax })
      : [];
  for (const slice of slices) {
    if (slice.kind === "gap") {
      if (batch.entryCount > 0) break;
      if (!options.acceptsGaps) return gapAt(slice);
      batch.openGap(slice);
      continue;
    }
    batch.goOnAt({ sequence: slice.firstSequence, payloadOffset: slice.payloadOffset });
    for (const record of messagesOf(slice)) {
      const content = options.contentOf(record);
      if (content === undefined) {
        batch.skip(record);
        continue;
      }
      const costBytes = content.data.length + limits.recordOverheadBytes;
      if (costBytes > limits.recordBytesMax) batch.condemn(record, content);
      else if (!batch.hasRoom(costBytes, { messageCountMax, requestBytesMax })) return batch.build();
      else batch.add(record, content, costBytes);
    }
  }
  if (batch.hasOpenGap && batch.at.sequence === end.sequence) batch.goOnAt(end);
  if (batch.isEmpty || batch.hasOpenGap) {
    const error = `the log gives nothing at ${batch.at.sequence}, and ${end.sequence} is its end`;
    return { kind: "gap", fromSequence: options.from.sequence, error };
  }
  return batch.build();
}

function gapAt({ fromSequence, toSequence, reason }: LogSlice & { kind: "gap" }): ReadGap {
  const what = reason === "CORRUPT" ? "damaged" : "missing";
  return {
    kind: "gap",
    fromSequence,
    error: `messages ${fromSequence} to ${toSequence - 1} are ${what} in the log`,
  };
}

/** The messages of a slice; their data are views. */
export function* messagesOf(slice: LogSlice & { kind: "messages" }): Generator<ExportRecord> {
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
