import { numberedPayload, parseNumberedPayload } from "./numbered-payload.ts";

/** Messages that went out together and are answered together. */
export interface SentBatch {
  readonly firstCounter: number;
  readonly messageCount: number;
}

export interface StoredMessage {
  readonly sequence: number;
  readonly payload: Uint8Array;
}

/** Where a stream stands; ends are exclusive. */
export interface StoredRange {
  readonly oldestSequence: number;
  readonly nextSequence: number;
}

/** Which message a sequence number holds, in one number. */
const COUNTERS_PER_PRODUCER = 2 ** 32;
const VIOLATIONS_KEPT_MAX = 20;

/** What one producer did, as it saw it. */
class ProducerRecord {
  /** Counters from here on were never sent. */
  sentEnd = 0;
  readonly unanswered: SentBatch[] = [];
  /** Messages whose outcome nobody told: [from, to) of each interruption. */
  readonly unknown: { from: number; to: number }[] = [];
  readonly copies: number[] = [];
  /** The last counter met while walking over the stream. */
  lastStored: number | undefined;
  lastSequence = -1;

  isUnknown(counter: number): boolean {
    return this.unknown.some(({ from, to }) => counter >= from && counter < to);
  }
}

/**
 * The oracle of one stream: remembers what was sent and what was acknowledged, and compares it with what is stored.
 *
 * - an acknowledged message is at exactly its acknowledged sequence number, or below the oldest one of an overwriting stream
 * - nothing is stored that was not sent, and what was once read there stays there
 * - each producer's messages are stored in the order in which it sent them, without holes
 * - a message is stored twice only if its outcome was unknown and it was sent again
 * - answers come in the order of the requests
 */
export class AppendChecker {
  readonly stream: string;
  readonly violations: string[] = [];
  violationCount = 0;
  lostCount = 0;
  acknowledgedCount = 0;
  duplicateCount = 0;
  readonly #isOverwriting: boolean;
  readonly #withLarge: boolean;
  readonly #producers: ProducerRecord[] = [];
  readonly #producerIndex = new Map<string, number>();
  /** By sequence number: what was acknowledged there, and what was read there. */
  readonly #acknowledged: number[] = [];
  readonly #stored: number[] = [];
  #walkedEnd = 0;

  constructor(options: { stream: string; isOverwriting: boolean; withLarge?: boolean }) {
    this.stream = options.stream;
    this.#isOverwriting = options.isOverwriting;
    this.#withLarge = options.withLarge ?? false;
  }

  payload(producer: string, counter: number): Buffer {
    return numberedPayload(producer, counter, { withLarge: this.#withLarge });
  }

  /** Call before the batch goes out. */
  sent(producer: string, batch: SentBatch): void {
    const record = this.#record(producer);
    record.unanswered.push(batch);
    record.sentEnd = Math.max(record.sentEnd, batch.firstCounter + batch.messageCount);
  }

  acknowledged(producer: string, batch: SentBatch, firstSequence: number): void {
    const record = this.#record(producer);
    if (record.unanswered.shift() !== batch) this.#violate(`${producer} was answered out of order`);
    if (firstSequence <= record.lastSequence) {
      this.#violate(`${producer} was told ${firstSequence} after ${record.lastSequence}`);
    }
    record.lastSequence = firstSequence + batch.messageCount - 1;
    this.acknowledgedCount += batch.messageCount;
    for (let index = 0; index < batch.messageCount; index++) {
      const code = this.#code(producer, batch.firstCounter + index);
      const sequence = firstSequence + index;
      const known = this.#acknowledged[sequence];
      if (known !== undefined) this.#violate(`sequence number ${sequence} was given out twice`);
      this.#acknowledged[sequence] = code;
    }
  }

  /** The engine refused the batch for good. */
  refused(producer: string, batch: SentBatch, reason: string): void {
    this.#violate(`${producer} was refused message ${batch.firstCounter}: ${reason}`);
  }

  /** The connection ended: what has no answer is unknown. @returns the counter to go on from */
  interrupted(producer: string): number {
    const record = this.#record(producer);
    const first = record.unanswered[0];
    if (first === undefined) return record.sentEnd;
    record.unknown.push({ from: first.firstCounter, to: record.sentEnd });
    record.unanswered.length = 0;
    return first.firstCounter;
  }

  /** What has been walked over already; a check may begin here or before. */
  get walkedEnd(): number {
    return this.#walkedEnd;
  }

  /** Compares a stretch that was read. Stretches of one pass come in order. */
  walk(messages: Iterable<StoredMessage>): void {
    for (const { sequence, payload } of messages) this.#walkOne(sequence, payload);
  }

  /** Ends a pass over `[from, nextSequence)`. */
  finish(range: StoredRange): void {
    if (!this.#isOverwriting && range.oldestSequence !== 0) {
      this.#violate(`the oldest sequence number is ${range.oldestSequence}`);
    }
    for (let sequence = range.nextSequence; sequence < this.#acknowledged.length; sequence++) {
      if (this.#acknowledged[sequence] === undefined) continue;
      this.lostCount += 1;
      this.#violate(
        `sequence number ${sequence} was acknowledged, and the stream ends at ${range.nextSequence}`,
      );
    }
    if (this.#walkedEnd < range.nextSequence) {
      this.#violate(`${this.#walkedEnd} to ${range.nextSequence} could not be read`);
    }
    // Told of once; what the next pass finds is new.
    this.#acknowledged.length = Math.min(this.#acknowledged.length, range.nextSequence);
  }

  #walkOne(sequence: number, payload: Uint8Array): void {
    const code = this.#identify(sequence, payload);
    const known = this.#stored[sequence];
    if (known !== undefined && known !== code) this.#violate(`sequence number ${sequence} changed`);
    const promised = this.#acknowledged[sequence];
    if (promised !== undefined && promised !== code) {
      this.lostCount += 1;
      this.#violate(`sequence number ${sequence} holds ${code}, acknowledged was ${promised}`);
    }
    this.#stored[sequence] = code;
    if (sequence < this.#walkedEnd) return;
    if (sequence > this.#walkedEnd) this.#skip(sequence);
    this.#walkedEnd = sequence + 1;
    if (code >= 0) this.#checkOrder(sequence, code);
  }

  /** Overwritten before anybody read it; in a stream that keeps everything it is a hole. */
  #skip(sequence: number): void {
    if (!this.#isOverwriting) {
      for (let missing = this.#walkedEnd; missing < sequence; missing++) {
        if (this.#acknowledged[missing] !== undefined) this.lostCount += 1;
      }
      this.#violate(`sequence numbers ${this.#walkedEnd} to ${sequence} are missing`);
    }
    for (const record of this.#producers) record.lastStored = undefined;
  }

  #identify(sequence: number, payload: Uint8Array): number {
    const parsed = parseNumberedPayload(payload);
    const index = parsed === undefined ? undefined : this.#producerIndex.get(parsed.producer);
    if (parsed === undefined || index === undefined || parsed.counter >= this.#producers[index]!.sentEnd) {
      this.#violate(`sequence number ${sequence} holds what nobody sent`);
      return -1;
    }
    const sent = this.payload(parsed.producer, parsed.counter);
    if (sent.compare(payload) !== 0) {
      this.#violate(
        `sequence number ${sequence} holds damaged bytes of ${parsed.producer}:${parsed.counter}`,
      );
      return -1;
    }
    return index * COUNTERS_PER_PRODUCER + parsed.counter;
  }

  #checkOrder(sequence: number, code: number): void {
    const record = this.#producers[Math.floor(code / COUNTERS_PER_PRODUCER)]!;
    const counter = code % COUNTERS_PER_PRODUCER;
    const { lastStored } = record;
    const isNext = lastStored === undefined || counter === lastStored + 1;
    // Whoever does not know what became of its messages goes back to the first of them.
    const isAgain = lastStored !== undefined && record.unknown.some(({ from }) => from === counter);
    if (!isNext && !(isAgain && counter <= lastStored)) {
      this.#violate(
        `sequence number ${sequence} holds message ${counter} after ${lastStored} of its producer`,
      );
    }
    record.lastStored = counter;
    const copies = (record.copies[counter] ?? 0) + 1;
    record.copies[counter] = copies;
    if (copies === 1) return;
    this.duplicateCount += 1;
    if (!record.isUnknown(counter))
      this.#violate(`message ${counter} was answered, and is stored ${copies} times`);
  }

  #code(producer: string, counter: number): number {
    this.#record(producer);
    return this.#producerIndex.get(producer)! * COUNTERS_PER_PRODUCER + counter;
  }

  #record(producer: string): ProducerRecord {
    let index = this.#producerIndex.get(producer);
    if (index === undefined) {
      index = this.#producers.push(new ProducerRecord()) - 1;
      this.#producerIndex.set(producer, index);
    }
    return this.#producers[index]!;
  }

  #violate(text: string): void {
    this.violationCount += 1;
    if (this.violations.length < VIOLATIONS_KEPT_MAX) this.violations.push(`${this.stream}: ${text}`);
  }
}
