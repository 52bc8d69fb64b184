import type { BatchProducer, BatchRun } from "./block-builder.ts";

/**
 * The runs of a block header, packed: messages that came one at a time have a run each, and nothing of a run may cost as much
 * as what it tells apart. Every number is a varint: 7 bits a byte, lowest first, bit 7 set on all but the last.
 *
 *   4 * message count + kind    ingest, ms after the run before (the first: after the block's first ingest)
 *   kind 0: no producer
 *   kind 1: producer id, producer sequence follow
 *   kind 2: the producer of the last run that had one, with its next sequence
 *
 * Ingest times do not go back within a block, so nothing is lost by the difference.
 */
const RunKind = { Plain: 0, Producer: 1, NextOfProducer: 2 } as const;
const KINDS = 4;
const VARINT_BASE = 128;
const VARINT_BYTES_MAX = 8;
/** Ingest times within a block lie this close together. */
export const INGEST_SPAN_MS_MAX = 2 ** 32 - 1;
/** What a run can take at most: four numbers. */
export const PACKED_RUN_BYTES_MAX = 4 * VARINT_BYTES_MAX;

/** What the size and the bytes of a run are made from, so that both agree. */
interface PackedRun {
  readonly head: number;
  readonly delayMs: number;
  readonly producer: BatchProducer | undefined;
}

/** Carries from run to run what the next one is told apart from. */
class RunPacker {
  #ingestMs: number;
  #producer: BatchProducer | undefined;

  constructor(firstIngestMs: number) {
    this.#ingestMs = firstIngestMs;
  }

  pack(run: BatchRun): PackedRun {
    const delayMs = Math.min(INGEST_SPAN_MS_MAX, Math.max(0, run.ingestMs - this.#ingestMs));
    this.#ingestMs += delayMs;
    const { producer } = run;
    const before = this.#producer;
    if (producer === undefined) return { head: run.messageCount * KINDS, delayMs, producer };
    this.#producer = producer;
    const isNext = before?.id === producer.id && before.sequence + 1 === producer.sequence;
    const kind = isNext ? RunKind.NextOfProducer : RunKind.Producer;
    return { head: run.messageCount * KINDS + kind, delayMs, producer: isNext ? undefined : producer };
  }
}

export function packedRunsBytes(runs: readonly BatchRun[], firstIngestMs: number): number {
  const packer = new RunPacker(firstIngestMs);
  let sizeBytes = 0;
  for (const run of runs) {
    const { head, delayMs, producer } = packer.pack(run);
    sizeBytes += varintBytes(head) + varintBytes(delayMs);
    if (producer !== undefined) sizeBytes += varintBytes(producer.id) + varintBytes(producer.sequence);
  }
  return sizeBytes;
}

/** @returns where the runs end in `target` */
export function writePackedRuns(
  target: Buffer,
  at: number,
  runs: readonly BatchRun[],
  firstIngestMs: number,
): number {
  const packer = new RunPacker(firstIngestMs);
  let end = at;
  for (const run of runs) {
    const { head, delayMs, producer } = packer.pack(run);
    end = writeVarint(target, end, head);
    end = writeVarint(target, end, delayMs);
    if (producer === undefined) continue;
    end = writeVarint(target, end, producer.id);
    end = writeVarint(target, end, producer.sequence);
  }
  return end;
}

/** @returns undefined unless `source` holds exactly `runCount` runs from `at` to its end */
export function readPackedRuns(
  source: Buffer,
  at: number,
  { runCount, firstIngestMs }: { readonly runCount: number; readonly firstIngestMs: number },
): BatchRun[] | undefined {
  const reader = new VarintReader(source, at);
  const runs: BatchRun[] = [];
  let ingestMs = firstIngestMs;
  let producer: BatchProducer | undefined;
  for (let left = runCount; left > 0; left--) {
    const head = reader.next();
    const delayMs = reader.next();
    if (head === undefined || delayMs === undefined || delayMs > INGEST_SPAN_MS_MAX) return undefined;
    ingestMs += delayMs;
    const messageCount = Math.floor(head / KINDS);
    const kind = head % KINDS;
    if (kind === RunKind.Plain) {
      runs.push({ messageCount, ingestMs });
      continue;
    }
    producer =
      kind === RunKind.Producer
        ? readProducer(reader)
        : kind === RunKind.NextOfProducer
          ? nextOf(producer)
          : undefined;
    if (producer === undefined) return undefined;
    runs.push({ messageCount, ingestMs, producer });
  }
  return reader.position === source.length ? runs : undefined;
}

function readProducer(reader: VarintReader): BatchProducer | undefined {
  const id = reader.next();
  const sequence = reader.next();
  return id === undefined || sequence === undefined ? undefined : { id, sequence };
}

function nextOf(producer: BatchProducer | undefined): BatchProducer | undefined {
  return producer === undefined ? undefined : { id: producer.id, sequence: producer.sequence + 1 };
}

function varintBytes(value: number): number {
  let sizeBytes = 1;
  for (let rest = value; rest >= VARINT_BASE; rest = Math.floor(rest / VARINT_BASE)) sizeBytes += 1;
  return sizeBytes;
}

function writeVarint(target: Buffer, at: number, value: number): number {
  let end = at;
  let rest = value;
  for (; rest >= VARINT_BASE; rest = Math.floor(rest / VARINT_BASE)) {
    target[end++] = (rest % VARINT_BASE) + VARINT_BASE;
  }
  target[end++] = rest;
  return end;
}

class VarintReader {
  readonly #source: Buffer;
  position: number;

  constructor(source: Buffer, position: number) {
    this.#source = source;
    this.position = position;
  }

  /** @returns undefined at the end of the source, and for what is no safe integer */
  next(): number | undefined {
    let value = 0;
    let factor = 1;
    for (let left = VARINT_BYTES_MAX; left > 0; left--) {
      const byte = this.#source[this.position];
      if (byte === undefined) return undefined;
      this.position += 1;
      value += (byte % VARINT_BASE) * factor;
      if (byte < VARINT_BASE) return Number.isSafeInteger(value) ? value : undefined;
      factor *= VARINT_BASE;
    }
    return undefined;
  }
}
