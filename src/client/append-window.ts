import { APPEND_BATCH_MESSAGES_MAX, CLIENT_IN_FLIGHT_BYTES_MAX } from "../core/limits.ts";
import { APPEND_BATCH_PRODUCER_HEADER_BYTES } from "../wire/append-batch-layout.ts";
import type { BatchOwner } from "./batch.ts";
import { Batch } from "./batch.ts";
import type { BatchPacker } from "./batch-packer.ts";

/**
 * The batches of one producer: one that is being filled, those sealed and not sent, those sent and not answered. Sealed and
 * sent ones together are the window; while it is full no new batch is begun, so what a producer holds is bounded.
 *
 *   filling  --seal-->  queue  --takeNext-->  in flight  --settle-->  gone
 *                         ^                       |
 *                         +------- putBack -------+
 */
export class AppendWindow {
  readonly #owner: BatchOwner;
  readonly #batchBufferBytes: number;
  readonly #inFlightMax: number;
  readonly #packer: BatchPacker | undefined;
  #filling: Batch | undefined;
  /** In order of serial. */
  #queue: Batch[] = [];
  readonly #inFlight = new Set<Batch>();
  /** Bytes of the batches in #queue and #inFlight. */
  #bytes = 0;
  #lastSerial = 0;
  #sentBytes = 0;
  #flushWaiters: { readonly serial: number; resolve(): void }[] = [];
  /** Buffers of answered batches, to be filled again. */
  readonly #freeBuffers: Uint8Array[] = [];

  constructor(
    owner: BatchOwner,
    options: { batchBytes: number; inFlightMax: number; packer: BatchPacker | undefined },
  ) {
    this.#owner = owner;
    this.#packer = options.packer;
    this.#batchBufferBytes = APPEND_BATCH_PRODUCER_HEADER_BYTES + options.batchBytes;
    this.#inFlightMax = options.inFlightMax;
  }

  /** Serial of the newest sealed batch; they begin at 1. */
  get lastSerial(): number {
    return this.#lastSerial;
  }

  /** Of all frames that were given out to be sent. */
  get sentBytes(): number {
    return this.#sentBytes;
  }

  get isFull(): boolean {
    const batchCount = this.#queue.length + this.#inFlight.size;
    return batchCount >= this.#inFlightMax || this.#bytes >= CLIENT_IN_FLIGHT_BYTES_MAX;
  }

  get isQueueEmpty(): boolean {
    return this.#queue.length === 0;
  }

  /** Batches that are to be sent, in order. */
  get queue(): readonly Batch[] {
    return this.#queue;
  }

  get inFlightCount(): number {
    return this.#inFlight.size;
  }

  /** Serial of the oldest batch of the window, Infinity when it is empty. */
  get lowestSerial(): number {
    let lowest = Infinity;
    for (const { serial } of this.#inFlight) lowest = Math.min(lowest, serial);
    for (const { serial } of this.#queue) lowest = Math.min(lowest, serial);
    return lowest;
  }

  /** The batch with room for one more message, or undefined when a new one is needed first. */
  batchWithRoom(payloadBytes: number): Batch | undefined {
    const filling = this.#filling;
    if (!filling?.hasRoom(payloadBytes) || filling.messageCount === APPEND_BATCH_MESSAGES_MAX)
      return undefined;
    return filling;
  }

  /** Begins a batch for a message of this size; the one before is sealed, the window not full. */
  begin(payloadBytes: number): Batch {
    const bytes = Batch.bytesFor(payloadBytes, 1);
    const buffer =
      bytes > this.#batchBufferBytes
        ? new Uint8Array(bytes)
        : (this.#freeBuffers.pop() ?? new Uint8Array(this.#batchBufferBytes));
    this.#filling = new Batch(this.#owner, buffer);
    return this.#filling;
  }

  /** Closes the batch that is being filled. @returns false when there is none */
  seal(): boolean {
    const filling = this.#filling;
    if (!filling) return false;
    this.#filling = undefined;
    this.enqueue(filling);
    return true;
  }

  enqueue(batch: Batch): void {
    this.#packer?.pack(batch);
    batch.serial = ++this.#lastSerial;
    this.#bytes += batch.usedBytes;
    this.#queue.push(batch);
  }

  /** The next batch to send, now in flight. */
  takeNext(): Batch | undefined {
    if (this.#inFlight.size >= this.#inFlightMax) return undefined;
    const batch = this.#queue.shift();
    if (!batch) return undefined;
    this.#inFlight.add(batch);
    this.#sentBytes += batch.frameBytes;
    return batch;
  }

  /** A batch in flight is to be sent again, before those sealed after it. */
  putBack(batch: Batch): void {
    this.#inFlight.delete(batch);
    const index = this.#queue.findIndex((queued) => queued.serial > batch.serial);
    this.#queue.splice(index < 0 ? this.#queue.length : index, 0, batch);
  }

  /** All batches in flight are to be sent again: nobody knows what became of them. */
  putBackAll(): void {
    for (const batch of this.#inFlight) batch.doubt = "unknown";
    this.#queue = [...this.#inFlight, ...this.#queue].sort((one, other) => one.serial - other.serial);
    this.#inFlight.clear();
  }

  /** A batch was answered for good, or is given up. */
  settle(batch: Batch): void {
    if (!this.#inFlight.delete(batch)) this.#queue = this.#queue.filter((queued) => queued !== batch);
    this.#bytes -= batch.usedBytes;
    if (this.#flushWaiters.length === 0) return;
    const lowest = this.lowestSerial;
    for (const waiter of this.#flushWaiters) if (waiter.serial < lowest) waiter.resolve();
    this.#flushWaiters = this.#flushWaiters.filter((waiter) => waiter.serial >= lowest);
  }

  /** Resolves when every batch sealed so far was settled. */
  async whenSettled(): Promise<void> {
    if (this.lowestSerial > this.#lastSerial) return;
    await new Promise<void>((resolve) => {
      this.#flushWaiters.push({ serial: this.#lastSerial, resolve });
    });
  }

  /**
   * Takes the buffer of an answered batch back. The engine's answer means that the kernel has every byte of it, so no socket
   * refers to it any more.
   */
  recycle(batch: Batch): void {
    const isUsual = batch.buffer.length === this.#batchBufferBytes;
    if (isUsual && this.#freeBuffers.length <= this.#inFlightMax) this.#freeBuffers.push(batch.buffer);
  }

  /** Empties the window and the batch being filled. @returns what was in them, in order, each to be settled */
  drain(): Batch[] {
    this.seal();
    this.putBackAll();
    const left = this.#queue;
    this.#queue = [];
    return left;
  }
}
