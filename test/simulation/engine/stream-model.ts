/** What ended the process before the one that is looked at; "running" while it goes on. */
export type Ending = "running" | "stop" | "kill" | "power cut";

type BatchState = "pending" | "acknowledged" | "unknown" | "refused";

export interface ModelBatch {
  readonly client: string;
  readonly firstCounter: number;
  readonly payloads: readonly string[];
  state: BatchState;
  firstSequence: number;
}

export interface StreamTraits {
  readonly name: string;
  readonly isMemory: boolean;
  readonly flushOnWrite: boolean;
  readonly isOverwriting: boolean;
}

export interface StreamContents {
  readonly oldestSequence: number;
  readonly nextSequence: number;
  readonly messages: ReadonlyMap<number, string>;
}

/** The oracle of one stream: what was sent, what was promised about it, and whether what is stored fits. */
export class StreamModel {
  readonly traits: StreamTraits;
  readonly batches: ModelBatch[] = [];
  readonly #byPayload = new Map<string, { readonly batch: ModelBatch; readonly index: number }>();
  #oldestSeen = 0;
  acknowledgedCount = 0;
  lostCount = 0;

  constructor(traits: StreamTraits) {
    this.traits = traits;
  }

  sent(client: string, firstCounter: number, payloads: readonly string[]): ModelBatch {
    const batch: ModelBatch = { client, firstCounter, payloads, state: "pending", firstSequence: -1 };
    this.batches.push(batch);
    payloads.forEach((payload, index) => this.#byPayload.set(payload, { batch, index }));
    return batch;
  }

  acknowledged(batch: ModelBatch, firstSequence: number): void {
    batch.state = "acknowledged";
    batch.firstSequence = firstSequence;
    this.acknowledgedCount += batch.payloads.length;
  }

  /** Whoever waited for an answer will get none. */
  interrupted(): void {
    for (const batch of this.batches) if (batch.state === "pending") batch.state = "unknown";
  }

  /** The exclusive end of what must be there. */
  get acknowledgedEnd(): number {
    let end = 0;
    for (const { state, firstSequence, payloads } of this.batches)
      if (state === "acknowledged") end = Math.max(end, firstSequence + payloads.length);
    return end;
  }

  /** A Memory stream after its process: empty, numbering from 0. */
  emptied(): void {
    for (const batch of this.batches) batch.state = "refused";
    this.#oldestSeen = 0;
  }

  /** @returns the first broken promise */
  check(contents: StreamContents, ending: Ending): string | undefined {
    const broken = this.#checkContents(contents, ending);
    if (broken !== undefined) return `stream "${this.traits.name}": ${broken}`;
    if (ending !== "running") this.#settle(contents);
    this.#oldestSeen = contents.oldestSequence;
    return undefined;
  }

  #checkContents(
    { oldestSequence, nextSequence, messages }: StreamContents,
    ending: Ending,
  ): string | undefined {
    const { isOverwriting, flushOnWrite } = this.traits;
    if (oldestSequence < this.#oldestSeen)
      return `begins at ${oldestSequence}, and began at ${this.#oldestSeen}`;
    if (!isOverwriting && oldestSequence !== 0) return `begins at ${oldestSequence}, and never overwrites`;
    for (let sequence = oldestSequence; sequence < nextSequence; sequence++)
      if (!messages.has(sequence))
        return `message ${sequence} of ${oldestSequence} to ${nextSequence} is not there`;
    const mayLoseItsEnd = ending === "power cut" && !flushOnWrite;
    if (!mayLoseItsEnd && this.acknowledgedEnd > nextSequence)
      return `${this.acknowledgedEnd} acknowledged, and it ends at ${nextSequence}`;
    const lastCounters = new Map<string, number>();
    const seen = new Set<string>();
    for (let sequence = oldestSequence; sequence < nextSequence; sequence++) {
      const payload = messages.get(sequence)!;
      const known = this.#byPayload.get(payload);
      if (known === undefined) return `message ${sequence} was never sent: ${payload.slice(0, 30)}`;
      const { batch, index } = known;
      const name = `${batch.client}:${batch.firstCounter + index}`;
      if (seen.has(payload)) return `${name} is stored twice, the second time at ${sequence}`;
      seen.add(payload);
      if (batch.state === "refused") return `${name} was refused or lost, and is stored at ${sequence}`;
      if (batch.state === "acknowledged" && batch.firstSequence + index !== sequence)
        return `${name} was acknowledged at ${batch.firstSequence + index}, and is stored at ${sequence}`;
      const last = lastCounters.get(batch.client) ?? -1;
      if (batch.firstCounter + index <= last) return `${name} at ${sequence} follows ${batch.client}:${last}`;
      lastCounters.set(batch.client, batch.firstCounter + index);
      const whole = this.#isWhole(batch, sequence - index, { oldestSequence, nextSequence, messages });
      if (!whole) return `only a part of the batch of ${name} is stored`;
    }
    for (const batch of this.batches) {
      if (batch.state !== "acknowledged") continue;
      const end = batch.firstSequence + batch.payloads.length;
      if (end > nextSequence && batch.firstSequence < nextSequence)
        return `half of the batch before ${end} is lost`;
      for (let at = Math.max(batch.firstSequence, oldestSequence); at < Math.min(end, nextSequence); at++)
        if (messages.get(at) !== batch.payloads[at - batch.firstSequence])
          return `message ${at} is not what was acknowledged there`;
    }
    return undefined;
  }

  #isWhole(batch: ModelBatch, start: number, contents: StreamContents): boolean {
    const { oldestSequence, nextSequence, messages } = contents;
    if (start + batch.payloads.length > nextSequence) return false;
    return batch.payloads.every(
      (payload, index) => start + index < oldestSequence || messages.get(start + index) === payload,
    );
  }

  /** After a restart everything has its final answer. */
  #settle({ oldestSequence, nextSequence, messages }: StreamContents): void {
    const places = new Map<string, number>();
    for (const [sequence, payload] of messages) places.set(payload, sequence);
    for (const batch of this.batches) {
      if (batch.state === "acknowledged" && batch.firstSequence >= nextSequence) {
        batch.state = "refused";
        this.lostCount += batch.payloads.length;
      } else if (batch.state === "unknown") {
        const last = places.get(batch.payloads.at(-1)!);
        if (last !== undefined) this.acknowledged(batch, last - batch.payloads.length + 1);
        else if (oldestSequence === 0) batch.state = "refused";
      }
    }
  }
}
