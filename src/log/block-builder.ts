import { assert } from "../core/assert.ts";
import { BLOCK_RUNS_MAX, BLOCK_TARGET_BYTES } from "../core/limits.ts";

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

/** Gathers batches of one stream until they are worth a block; reused from block to block. */
export class BlockBuilder {
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

  /** Copies a batch. Only a batch that is larger than the capacity on its own, into an empty builder, makes it grow. */
  add(batch: Batch): void {
    const sizeBytes = batch.end - batch.start;
    assert(
      batch.messageCount > 0 && sizeBytes === batch.payloadBytes + 4 * batch.messageCount,
      "batch adds up",
    );
    if (!this.fits(sizeBytes)) {
      assert(this.#rawBytes === 0, `batch of ${sizeBytes} bytes into a block that holds ${this.#rawBytes}`);
      if (sizeBytes > this.#buffer.length) this.#buffer = Buffer.allocUnsafeSlow(sizeBytes);
    }
    this.#buffer.set(batch.source.subarray(batch.start, batch.end), this.#rawBytes);
    this.#rawBytes += sizeBytes;
    this.#messageCount += batch.messageCount;
    this.#payloadBytes += batch.payloadBytes;
    const last = this.#runs.at(-1);
    if (
      last !== undefined &&
      last.producer === undefined &&
      batch.producer === undefined &&
      last.ingestMs === batch.ingestMs
    ) {
      last.messageCount += batch.messageCount;
    } else {
      this.#runs.push({
        messageCount: batch.messageCount,
        ingestMs: batch.ingestMs,
        producer: batch.producer,
      });
    }
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
