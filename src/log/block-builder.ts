import { assert } from "../core/assert.ts";
import { BLOCK_RUNS_MAX, BLOCK_TARGET_BYTES } from "../core/limits.ts";
import { MESSAGE_LENGTH_BYTES } from "../core/message-framing.ts";
import type { ProducerBlock } from "./lz4-frame.ts";

/** Who sent a batch, for dropping repeats; id 0 is nobody. */
export interface BatchProducer {
  readonly id: number;
  readonly sequence: number;
}

/** Consecutive messages of one ingest time; with a producer, exactly one batch. */
export interface BatchRun {
  messageCount: number;
  readonly ingestMs: number;
  readonly producer?: BatchProducer | undefined;
}

/** Whether the messages of a run may count as more of the one before it. */
export function goesOn(last: BatchRun, next: BatchRun): boolean {
  return last.ingestMs === next.ingestMs && last.producer === undefined && next.producer === undefined;
}

export interface Batch {
  /** Messages as `u32 LE length, bytes` back to back, in [start, end). May be shared memory; it is copied. */
  readonly source: Uint8Array;
  readonly start: number;
  readonly end: number;
  readonly messageCount: number;
  readonly payloadBytes: number;
  readonly ingestMs: number;
  readonly producer?: BatchProducer | undefined;
}

/** What becomes one block. */
export interface BlockContent {
  readonly raw: Buffer;
  readonly runs: readonly BatchRun[];
  readonly messageCount: number;
  /** `raw` as its producer compressed it, to be stored as it came. */
  readonly producerBlock?: ProducerBlock | undefined;
}

/** Gathers batches of one stream until they are worth a block; reused from block to block. */
export class BlockBuilder implements BlockContent {
  readonly #capacityBytes: number;
  #buffer: Buffer;
  #runs: BatchRun[] = [];
  #rawBytes = 0;
  #messageCount = 0;
  #payloadBytes = 0;

  constructor(capacityBytes: number = BLOCK_TARGET_BYTES) {
    this.#capacityBytes = capacityBytes;
    this.#buffer = Buffer.allocUnsafeSlow(capacityBytes);
  }

  get rawBytes(): number {
    return this.#rawBytes;
  }
  get messageCount(): number {
    return this.#messageCount;
  }
  get payloadBytes(): number {
    return this.#payloadBytes;
  }
  get runs(): readonly BatchRun[] {
    return this.#runs;
  }
  /** A view; valid until the next add or reset. */
  get raw(): Buffer {
    return this.#buffer.subarray(0, this.#rawBytes);
  }

  fits(sizeBytes: number): boolean {
    return this.#rawBytes + sizeBytes <= this.#capacityBytes && this.#runs.length < BLOCK_RUNS_MAX;
  }

  /** Whether a whole block with so many runs still fits. */
  fitsBlock(block: { readonly rawBytes: number; readonly runCount: number }): boolean {
    return this.fits(block.rawBytes) && this.#runs.length + block.runCount <= BLOCK_RUNS_MAX;
  }

  /** Copies a batch. Only a batch that is larger than the capacity on its own, into an empty builder, makes it grow. */
  add(batch: Batch): void {
    const sizeBytes = batch.end - batch.start;
    assert(
      batch.messageCount > 0 && sizeBytes === batch.payloadBytes + 4 * batch.messageCount,
      "batch adds up",
    );
    this.#copy(batch.source.subarray(batch.start, batch.end));
    this.#payloadBytes += batch.payloadBytes;
    this.#addRun(batch);
  }

  /** Copies all messages of a block, as if its batches were added one by one. Makes it grow on the same terms. */
  addBlock(block: { readonly raw: Uint8Array; readonly runs: readonly BatchRun[] }): void {
    const countBefore = this.#messageCount;
    this.#copy(block.raw);
    for (const run of block.runs) this.#addRun(run);
    this.#payloadBytes += block.raw.length - MESSAGE_LENGTH_BYTES * (this.#messageCount - countBefore);
  }

  #copy(raw: Uint8Array): void {
    if (!this.fits(raw.length)) {
      assert(this.#rawBytes === 0, `${raw.length} bytes into a block that holds ${this.#rawBytes}`);
      if (raw.length > this.#buffer.length) this.#buffer = Buffer.allocUnsafeSlow(raw.length);
    }
    this.#buffer.set(raw, this.#rawBytes);
    this.#rawBytes += raw.length;
  }

  #addRun(run: BatchRun): void {
    const { messageCount, ingestMs, producer } = run;
    this.#messageCount += messageCount;
    const last = this.#runs.at(-1);
    if (last !== undefined && goesOn(last, run)) last.messageCount += messageCount;
    else this.#runs.push({ messageCount, ingestMs, producer });
  }

  reset(): void {
    this.#rawBytes = 0;
    this.#messageCount = 0;
    this.#payloadBytes = 0;
    this.#runs = [];
    // One large message must not hold its memory for the rest of the stream's life.
    if (this.#buffer.length > this.#capacityBytes) this.#buffer = Buffer.allocUnsafeSlow(this.#capacityBytes);
  }
}
