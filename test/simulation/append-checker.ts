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

/** `rejected`: not stored, and never will be. `unknown`: it may be. */
export type FailureKind = "rejected" | "unknown";

/** What one producer did, as it saw it. */
class ProducerRecord {
  /** Counters from here on were never sent. */
  sentEnd = 0;
  readonly unanswered: SentBatch[] = [];
  /** Messages whose outcome nobody told: [from, to) of each interruption. */
  readonly unknown: { from: number; to: number }[] = [];
  /** By counter, what was answered other than by an acknowledgement. */
  readonly failures: (FailureKind | undefined)[] = [];
  readonly copies: number[] = [];
  /** The last counter met while walking over the stream. */
  lastStored: number | undefined;
  lastSequence = -1;

  isUnknown(counter: number): boolean {
    if (this.failures[counter] === "unknown") return true;
    return this.unknown.some(({ from, to }) => counter >= from && counter < to);
  }

  /** Whether each of [from, to) may be missing where the messages around it are stored. */
  mayLack(from: number, to: number): boolean {
    for (let counter = from; counter < to; counter++) {
      if (this.failures[counter] === undefined) return false;
    }
    return true;
  }
}

/**
 * The oracle of one stream: remembers what was sent and what was acknowledged, and compares it with what is stored.
 *
 * - an acknowledged message is at exactly its acknowledged sequence number, or below the oldest one of an overwriting stream
 * - nothing is stored that was not sent, and what was once read there stays there
 * - each producer's messages are stored in the order in which it sent them, without holes but for what was refused
 * - what was refused for good is not stored
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
  rejectedCount = 0;
  unknownCount = 0;
  readonly #isOverwriting: boolean;
  readonly #withLarge: boolean;
  readonly #producers: ProducerRecord[] = [];
  readonly #producerIndex = new Map<string, number>();
  /** By sequence number: what was acknowledged there, when, and what was read there. */
  readonly #acknowledged: number[] = [];
  readonly #acknowledgedMs: number[] = [];
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
    for (let index = 0; index < batch.messageCount; index++)
      record.failures[batch.firstCounter + index] = undefined;
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
      this.#acknowledgedMs[sequence] = performance.now();
    }
  }

  /** The engine answered that the batch is not stored, or that it cannot tell, where that was to be expected. */
  failed(producer: string, batch: SentBatch, kind: FailureKind): void {
    const record = this.#record(producer);
    const at = record.unanswered.indexOf(batch);
    if (at < 0) this.#violate(`${producer} was answered twice`);
    record.unanswered.splice(at, 1);
    for (let index = 0; index < batch.messageCount; index++)
      record.failures[batch.firstCounter + index] = kind;
    if (kind === "rejected") this.rejectedCount += batch.messageCount;
    else this.unknownCount += batch.messageCount;
  }

  /** The engine refused the batch for good, where nothing allows it to. */
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

  /**
   * The power was cut, and the stream, which does not flush on write, now ends at `nextSequence`: what was beyond may be gone,
   * and its numbers are given again. @returns what was acknowledged of it, and since when at the longest
   */
  forget(nextSequence: number): { messageCount: number; oldestMs: number } {
    let messageCount = 0;
    let oldestMs = Infinity;
    for (let sequence = nextSequence; sequence < this.#acknowledged.length; sequence++) {
      const code = this.#acknowledged[sequence];
      if (code === undefined) continue;
      messageCount += 1;
      oldestMs = Math.min(oldestMs, this.#acknowledgedMs[sequence]!);
      this.#recordOf(code).failures[code % COUNTERS_PER_PRODUCER] = "unknown";
    }
    for (const byNumber of [this.#acknowledged, this.#acknowledgedMs, this.#stored])
      byNumber.length = Math.min(byNumber.length, nextSequence);
    this.#walkedEnd = Math.min(this.#walkedEnd, nextSequence);
    for (const record of this.#producers)
      record.lastSequence = Math.min(record.lastSequence, nextSequence - 1);
    return { messageCount, oldestMs };
  }

  /** Producer and counter, as a payload begins, of all that the last passes read. */
  storedLabels(): Set<string> {
    const names = [...this.#producerIndex.keys()];
    return new Set(
      this.#stored.map(
        (code) => `${names[Math.floor(code / COUNTERS_PER_PRODUCER)]!}:${code % COUNTERS_PER_PRODUCER}`,
      ),
    );
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
    // Of a stream that overwrites nothing may be left: everything went for a batch that was then torn.
    if (this.#isOverwriting && range.oldestSequence > this.#walkedEnd) {
      this.#skip(range.oldestSequence);
      this.#walkedEnd = range.oldestSequence;
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
    const record = this.#recordOf(code);
    const counter = code % COUNTERS_PER_PRODUCER;
    const { lastStored } = record;
    const isNext =
      lastStored === undefined || (counter > lastStored && record.mayLack(lastStored + 1, counter));
    // Whoever does not know what became of its messages goes back to the first of them.
    const isAgain = lastStored !== undefined && record.unknown.some(({ from }) => from === counter);
    if (!isNext && !(isAgain && counter <= lastStored)) {
      this.#violate(
        `sequence number ${sequence} holds message ${counter} after ${lastStored} of its producer`,
      );
    }
    record.lastStored = counter;
    if (record.failures[counter] === "rejected")
      this.#violate(`message ${counter} was refused, and is stored at ${sequence}`);
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

  #recordOf(code: number): ProducerRecord {
    return this.#producers[Math.floor(code / COUNTERS_PER_PRODUCER)]!;
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
