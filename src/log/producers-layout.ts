import { assert } from "../core/assert.ts";
import {
  APPEND_BATCH_MESSAGES_MAX,
  PRODUCER_WINDOW_BATCHES,
  PRODUCERS_PER_STREAM_MAX,
} from "../core/limits.ts";
import { DURABLE_FILE_BYTES_MAX } from "./durable-file.ts";
import type { ProducerState, StoredBatch } from "./producer-table.ts";
import { isSafeU64, readSafeU64, writeSafeU64 } from "./segment-layout.ts";

/*
 * The content of a stream's file `producers` (producers-file.ts), little-endian: what is remembered of the producers of all
 * messages below a sequence number. What came later stands in the block headers from there on.
 *
 *   0 u64 sequence number    8 u32 producer count    12 producers, the least recently used first
 *
 *   producer: 0 u64 id    8 u64 its newest batch    16 u16 batch count    18 batches, the oldest first, each 10 bytes
 *   batch:    0 u64 first sequence    8 u16 message count; 0: nothing is known of it
 */
const HEAD_BYTES = 12;
const PRODUCER_BYTES = 18;
const BATCH_BYTES = 10;
const PRODUCER_BYTES_MAX = PRODUCER_BYTES + PRODUCER_WINDOW_BATCHES * BATCH_BYTES;

assert(
  HEAD_BYTES + PRODUCERS_PER_STREAM_MAX * PRODUCER_BYTES_MAX <= DURABLE_FILE_BYTES_MAX,
  "what is remembered of all producers fits a durable file",
);
assert(APPEND_BATCH_MESSAGES_MAX < 2 ** 16, "the message count of a batch fits its field");

export interface StoredProducers {
  /** Exclusive: of all messages below it. */
  readonly endSequence: number;
  readonly states: readonly ProducerState[];
}

export function encodeProducers({ endSequence, states }: StoredProducers): Buffer {
  let sizeBytes = HEAD_BYTES;
  for (const { batches } of states) sizeBytes += PRODUCER_BYTES + batches.length * BATCH_BYTES;
  const content = Buffer.allocUnsafe(sizeBytes);
  writeSafeU64(content, endSequence, 0);
  content.writeUInt32LE(states.length, 8);
  let at = HEAD_BYTES;
  for (const { id, lastSequence, batches } of states) {
    writeSafeU64(content, id, at);
    writeSafeU64(content, lastSequence, at + 8);
    content.writeUInt16LE(batches.length, at + 16);
    at += PRODUCER_BYTES;
    for (const { firstSequence, messageCount } of batches) {
      writeSafeU64(content, firstSequence, at);
      content.writeUInt16LE(messageCount, at + 8);
      at += BATCH_BYTES;
    }
  }
  return content;
}

/** @returns undefined for what `encodeProducers` cannot have made; the checksum has been checked before */
export function decodeProducers(content: Buffer): StoredProducers | undefined {
  if (content.length < HEAD_BYTES || !isSafeU64(content, 0)) return undefined;
  const producerCount = content.readUInt32LE(8);
  if (producerCount > PRODUCERS_PER_STREAM_MAX) return undefined;
  const states: ProducerState[] = [];
  let at = HEAD_BYTES;
  for (let left = producerCount; left > 0; left--) {
    if (at + PRODUCER_BYTES > content.length) return undefined;
    if (!isSafeU64(content, at) || !isSafeU64(content, at + 8)) return undefined;
    const id = readSafeU64(content, at);
    const lastSequence = readSafeU64(content, at + 8);
    const batchCount = content.readUInt16LE(at + 16);
    at += PRODUCER_BYTES;
    if (id === 0 || batchCount === 0 || batchCount > PRODUCER_WINDOW_BATCHES) return undefined;
    if (batchCount > lastSequence + 1 || at + batchCount * BATCH_BYTES > content.length) return undefined;
    const batches = readBatches(content, at, batchCount);
    if (batches === undefined) return undefined;
    states.push({ id, lastSequence, batches });
    at += batchCount * BATCH_BYTES;
  }
  return at === content.length ? { endSequence: readSafeU64(content, 0), states } : undefined;
}

function readBatches(content: Buffer, start: number, batchCount: number): StoredBatch[] | undefined {
  const batches: StoredBatch[] = [];
  for (let at = start; at < start + batchCount * BATCH_BYTES; at += BATCH_BYTES) {
    if (!isSafeU64(content, at)) return undefined;
    batches.push({ firstSequence: readSafeU64(content, at), messageCount: content.readUInt16LE(at + 8) });
  }
  return batches;
}
