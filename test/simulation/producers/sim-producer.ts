/** What one producer did and was told, in the order of the storage's operations. */
export interface ProducerEvent {
  /** The last operation that the storage had done. */
  readonly operation: number;
  readonly producer: number;
  readonly index: number;
  /** Where the engine said that the batch stands; undefined: it was sent. */
  readonly firstSequence: number | undefined;
}

/** A producer as it sees itself: its batches, and which of them it was told are stored. */
export class SimProducer {
  readonly id: number;
  /** How many batches it has sent; each is another one by what stands in it. */
  sentCount = 0;
  /** By batch; -1: it was stored, and a power cut took it. */
  readonly answers: (number | undefined)[] = [];
  /** A batch's number is its index less this: acknowledged ones that a power cut took gave their numbers back. */
  shift = 0;

  constructor(id: number) {
    this.id = id;
  }

  /** Messages of a batch, one to three, long enough that segments fill. */
  messages(index: number): string[] {
    const filler = ((index * 7919 + this.id * 31) % 89) * 4;
    return Array.from({ length: 1 + ((index + this.id) % 3) }, (_, at) =>
      `${this.id}:${index}:${at} `.padEnd(40 + filler, `${index}${this.id}`),
    );
  }

  get lowestUnanswered(): number {
    let index = 0;
    while (index < this.sentCount && this.answers[index] !== undefined) index += 1;
    return index;
  }

  /** @returns what is wrong with the answer */
  hear(index: number, firstSequence: number): string | undefined {
    const known = this.answers[index];
    this.answers[index] = firstSequence;
    const name = `batch ${index} of producer ${this.id}`;
    if (known !== undefined && known !== firstSequence)
      return `${name} was told to stand at ${known}, and now at ${firstSequence}`;
    const before = this.answers[index - 1];
    if (before !== undefined && before >= firstSequence) return `${name} stands before the one before it`;
    return undefined;
  }

  /** What it was told from a batch on is gone. */
  forget(from: number): void {
    for (let index = from; index < this.lowestUnanswered; index++) this.answers[index] = -1;
  }

  /** Itself as it was behind an operation. */
  static asOf(
    producers: readonly SimProducer[],
    events: readonly ProducerEvent[],
    operation: number,
  ): SimProducer[] {
    const copies = producers.map(({ id }) => new SimProducer(id));
    for (const event of events) {
      if (event.operation > operation) break;
      const copy = copies[event.producer]!;
      copy.sentCount = Math.max(copy.sentCount, event.index + 1);
      if (event.firstSequence !== undefined) copy.answers[event.index] = event.firstSequence;
    }
    return copies;
  }
}
