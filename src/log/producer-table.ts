import { assert } from "../core/assert.ts";
import { SequenceGapError } from "../core/errors.ts";
import { PRODUCER_WINDOW_BATCHES, PRODUCERS_PER_STREAM_MAX } from "../core/limits.ts";
import type { BatchProducer, BatchRun } from "./block-builder.ts";

/** Where a batch stands in its stream: the answer that its producer got, or would have got. */
export interface StoredBatch {
  readonly firstSequence: number;
  /** 0: nothing is known of this batch, but that later ones of its producer are there. */
  readonly messageCount: number;
}

/** What is remembered of one producer. */
export interface ProducerState {
  readonly id: number;
  /** The producer's own number of its newest batch. */
  readonly lastSequence: number;
  /** Oldest first, ending with the newest batch; at most PRODUCER_WINDOW_BATCHES. */
  readonly batches: readonly StoredBatch[];
}

/** One producer's newest batches, each in the slot that its own number gives it. */
class ProducerWindow {
  readonly id: number;
  lastSequence = -1;
  #length = 0;
  readonly #firstSequences: number[] = [];
  readonly #messageCounts: number[] = [];

  constructor(id: number) {
    this.id = id;
  }

  push(sequence: number, batch: StoredBatch): void {
    const skipped = sequence - this.lastSequence - 1;
    // It was forgotten and began anew, or it is first met here.
    if (skipped < 0 || this.#length === 0) this.#length = 0;
    else
      for (let left = Math.min(skipped, PRODUCER_WINDOW_BATCHES); left > 0; left--)
        this.#put(sequence - left);
    this.lastSequence = sequence;
    this.#put(sequence, batch);
  }

  #put(sequence: number, batch: StoredBatch = { firstSequence: 0, messageCount: 0 }): void {
    const slot = sequence % PRODUCER_WINDOW_BATCHES;
    this.#firstSequences[slot] = batch.firstSequence;
    this.#messageCounts[slot] = batch.messageCount;
    if (this.#length < PRODUCER_WINDOW_BATCHES) this.#length += 1;
  }

  /** @returns undefined when the window does not hold it */
  find(sequence: number): StoredBatch | undefined {
    if (sequence > this.lastSequence || sequence <= this.lastSequence - this.#length) return undefined;
    const slot = sequence % PRODUCER_WINDOW_BATCHES;
    const messageCount = this.#messageCounts[slot]!;
    return messageCount === 0 ? undefined : { firstSequence: this.#firstSequences[slot]!, messageCount };
  }

  /** As it was when the stream ended at `endSequence`; undefined when nothing of it lies below. */
  stateBelow(endSequence: number): ProducerState | undefined {
    let lastSequence = this.lastSequence;
    const oldest = this.lastSequence - this.#length + 1;
    const isBelow = (batch: StoredBatch | undefined): boolean =>
      batch !== undefined && batch.firstSequence + batch.messageCount <= endSequence;
    while (lastSequence >= oldest && !isBelow(this.find(lastSequence))) lastSequence -= 1;
    if (lastSequence < oldest) return undefined;
    const batches: StoredBatch[] = [];
    for (let sequence = oldest; sequence <= lastSequence; sequence++) {
      batches.push(this.find(sequence) ?? { firstSequence: 0, messageCount: 0 });
    }
    return { id: this.id, lastSequence, batches };
  }
}

/**
 * Which batches of which producers a stream has taken, so that one that is sent again gets its first answer and is not stored
 * again. A producer numbers its batches from 0 on. Stored is only the next one, so what a producer has stored has no holes, and
 * a batch that was refused or failed keeps its number.
 *
 * Of each producer the newest PRODUCER_WINDOW_BATCHES are remembered, of each stream PRODUCERS_PER_STREAM_MAX producers: one
 * more, and the one whose last batch is longest ago is forgotten. A producer that is not known can only begin: any other
 * batch is a gap, since nobody could tell whether it has been stored before.
 */
export class ProducerTable {
  /** In the order of their last batches, the oldest first. */
  readonly #windows = new Map<number, ProducerWindow>();
  #newest: ProducerWindow | undefined;

  get producerCount(): number {
    return this.#windows.size;
  }

  /** The number of a producer's next batch; 0: it is not known. */
  expectedSequence(id: number): number {
    return (this.#windows.get(id)?.lastSequence ?? -1) + 1;
  }

  /**
   * @returns undefined for the next batch of its producer, which is to be stored; the batch as it was stored for a repeat
   * @throws {SequenceGapError} for any other
   */
  find(producer: BatchProducer, messageCount: number): StoredBatch | undefined {
    const { id, sequence } = producer;
    const window = this.#windows.get(id);
    const expected = (window?.lastSequence ?? -1) + 1;
    if (sequence === expected) return undefined;
    const stored = window?.find(sequence);
    // Not the batch that was stored: to answer for that one would lose this one.
    if (stored?.messageCount === messageCount) return stored;
    throw new SequenceGapError(expected, gapText(producer, expected, stored, messageCount));
  }

  /** A batch was stored. In the order of the stream. */
  record(producer: BatchProducer, batch: StoredBatch): void {
    const { id, sequence } = producer;
    assert(id > 0 && batch.messageCount > 0, `batch of producer ${id} with ${batch.messageCount} messages`);
    const window = this.#touch(id);
    window.push(sequence, batch);
  }

  /**
   * The runs of a block that begins with `firstSequence`. In the order of the stream.
   * @returns the end of the last one that has a producer; undefined when none has
   */
  recordRuns(runs: readonly BatchRun[], firstSequence: number): number | undefined {
    let recordedEnd: number | undefined;
    let sequence = firstSequence;
    for (const { producer, messageCount } of runs) {
      const end = sequence + messageCount;
      if (producer !== undefined) {
        this.record(producer, { firstSequence: sequence, messageCount });
        recordedEnd = end;
      }
      sequence = end;
    }
    return recordedEnd;
  }

  /** What an earlier process remembered; in the order of `statesBelow`. */
  restore(state: ProducerState): void {
    const window = this.#touch(state.id);
    const first = state.lastSequence - state.batches.length + 1;
    for (const [offset, batch] of state.batches.entries()) window.push(first + offset, batch);
  }

  #touch(id: number): ProducerWindow {
    if (this.#newest?.id === id) return this.#newest;
    let window = this.#windows.get(id);
    if (window !== undefined) this.#windows.delete(id);
    else {
      window = new ProducerWindow(id);
      if (this.#windows.size === PRODUCERS_PER_STREAM_MAX) this.#forgetOldest();
    }
    this.#windows.set(id, window);
    this.#newest = window;
    return window;
  }

  #forgetOldest(): void {
    for (const id of this.#windows.keys()) {
      this.#windows.delete(id);
      return;
    }
  }

  /** The producers as they were when the stream ended at `endSequence`, the least recently used first. */
  statesBelow(endSequence: number): ProducerState[] {
    const states: ProducerState[] = [];
    for (const window of this.#windows.values()) {
      const state = window.stateBelow(endSequence);
      if (state !== undefined) states.push(state);
    }
    return states;
  }
}

function gapText(
  { id, sequence }: BatchProducer,
  expected: number,
  stored: StoredBatch | undefined,
  messageCount: number,
): string {
  const action = `Cannot append batch ${sequence} of producer ${id}`;
  if (stored !== undefined)
    return `${action}: ${messageCount} messages, it was stored with ${stored.messageCount}`;
  if (expected === 0) return `${action}: the stream does not know this producer, or not any more`;
  if (sequence > expected) return `${action}: batch ${expected} is next`;
  return `${action}: batch ${expected} is next, and only the last ${PRODUCER_WINDOW_BATCHES} are remembered`;
}
