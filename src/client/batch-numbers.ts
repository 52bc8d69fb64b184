import type { Batch } from "./batch.ts";

/** Gaps without an end: an engine that answers so does not keep to its own numbers. */
const GAPS_IN_A_ROW_MAX = 3;

/**
 * The numbers of a producer's batches, by which the engine knows one that is sent again. It stores only the next one, and what it
 * refuses keeps its number; so when a batch fails, those sent behind it are refused as gaps. Then nothing is sent until
 * all is answered, which ends the round, and the batches that are left are sent again from the failed one on.
 *
 * A gap says which number the engine expects: what has that number or a higher one is not stored, and is numbered anew from there. If
 * the engine does not know the producer any more, it goes on under another id. A batch in doubt cannot go along: only the old
 * number would have told whether it is stored. But the end of the stream may tell that none is. It is asked for after the gap:
 * from then on no copy that comes late over an older connection is taken.
 */
export class BatchNumbers {
  readonly #newId: () => number;
  #id: number;
  /** Of the next batch that is sent for the first time. */
  #next = 0;
  /** Of the newest batch that was acknowledged, under the present id. */
  #acknowledged = -1;
  /** The stream's sequence number behind that batch. */
  #storedEnd = 0;
  /** The lowest serial that failed in this round. */
  #failedSerial = Infinity;
  /** What the engine said in this round that it expects. */
  #expected: number | undefined;
  /** The lowest number that a batch in this round has given back. */
  #freed: number | undefined;
  #isForgotten = false;
  /** It was said so and not settled yet, perhaps over a connection that is gone. */
  #isSuspect = false;
  /** Of a producer that is forgotten: no batch behind the newest acknowledged one is stored. Undefined until the stream was opened. */
  #isNoneStored: boolean | undefined;
  #gapsInARow = 0;

  constructor(newId: () => number) {
    this.#newId = newId;
    this.#id = newId();
  }

  /** Something failed: nothing is sent before all that was sent is answered. */
  get isRoundOver(): boolean {
    return this.#failedSerial < Infinity;
  }

  /** Numbers a batch that is about to be sent. */
  number(batch: Batch): void {
    batch.producer ??= { id: this.#id, sequence: this.#next++ };
  }

  noteAcknowledged(batch: Batch, firstSequence: number): void {
    const { sequence } = batch.producer!;
    this.#gapsInARow = 0;
    this.#isSuspect = false;
    if (sequence <= this.#acknowledged) return;
    this.#acknowledged = sequence;
    this.#storedEnd = firstSequence + batch.messageCount;
  }

  /** Batches go one by one, so that a line that breaks often is whole for long enough to settle what was said. */
  get isSuspect(): boolean {
    return this.#isSuspect;
  }

  /** The producer is forgotten: before the round ends, the stream is to be opened again, to see where it ends. */
  get needsEnd(): boolean {
    return this.#isForgotten && this.#isNoneStored === undefined;
  }

  noteOpened(nextSequence: number): void {
    if (this.#isForgotten) this.#isNoneStored = nextSequence <= this.#storedEnd;
  }

  /** That the producer is forgotten is told again over the next connection, if it is so. */
  noteDisconnected(): void {
    if (!this.#isForgotten) return;
    this.#expected = undefined;
    this.#isForgotten = false;
    this.#isNoneStored = undefined;
    // Not an engine that does not keep to its own numbers: the line broke before it was heard out.
    this.#gapsInARow = 0;
  }

  /** A batch is sent again as it is. */
  noteFailed(batch: Batch): void {
    this.#failedSerial = Math.min(this.#failedSerial, batch.serial);
  }

  /** A batch is given up. If it is certain that it is not stored, its number goes to the next one; else a gap will tell. */
  noteGivenUp(batch: Batch): void {
    if (batch.producer === undefined) return;
    this.noteFailed(batch);
    if (batch.doubt === "none") this.#freed = Math.min(this.#freed ?? Infinity, batch.producer.sequence);
  }

  /** @returns false when this has gone on for too long: the batch is to be given up */
  noteGap(batch: Batch, expected: number): boolean {
    const isFirst = batch.serial < this.#failedSerial;
    this.noteFailed(batch);
    this.#expected = expected;
    if (expected === 0 && this.#acknowledged >= 0) this.#isForgotten = this.#isSuspect = true;
    else if (expected <= batch.producer!.sequence) batch.doubt = "none";
    if (isFirst) this.#gapsInARow += 1;
    if (this.#gapsInARow <= GAPS_IN_A_ROW_MAX) return true;
    this.#gapsInARow = 0;
    return false;
  }

  /** All was answered, or the connection is gone. @returns those of `batches` that cannot be sent again */
  endRound(batches: readonly Batch[]): Batch[] {
    const expected = this.#expected ?? this.#freed;
    this.#failedSerial = Infinity;
    this.#expected = undefined;
    this.#freed = undefined;
    if (expected === undefined) return [];
    const isForgotten = this.#isForgotten;
    // From this number on nothing is stored. Below it is what an acknowledgement went ahead of.
    const sureFrom = this.#isNoneStored === true ? this.#acknowledged + 1 : Infinity;
    if (isForgotten) this.#beginAnew();
    const unsendable: Batch[] = [];
    this.#next = expected;
    for (const batch of batches) {
      if (batch.producer === undefined) continue;
      // Stored already, as far as is known: its number will tell.
      if (!isForgotten && batch.producer.sequence < expected) continue;
      if (isForgotten && batch.doubt === "unknown" && batch.producer.sequence < sureFrom) {
        unsendable.push(batch);
        continue;
      }
      batch.doubt = "none";
      batch.producer = { id: this.#id, sequence: this.#next++ };
    }
    return unsendable;
  }

  #beginAnew(): void {
    this.#id = this.#newId();
    this.#acknowledged = -1;
    this.#storedEnd = 0;
    this.#isForgotten = false;
    this.#isSuspect = false;
    this.#isNoneStored = undefined;
  }
}
