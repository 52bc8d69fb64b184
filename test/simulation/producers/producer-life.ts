import type { StreamDefinition } from "../../../src/core/stream-definition.ts";
import type { Storage } from "../../../src/log/storage.ts";
import { AgentFixture, type UpEvent } from "../../stream/agent-fixture.ts";
import type { SeededRandom } from "../../support/deterministic.ts";
import type { SimStorage } from "../../support/sim-storage.ts";
import type { ProducerEvent, SimProducer } from "./sim-producer.ts";

const READ_TOKEN = 0;
/** Unanswered batches of a producer: as many as its window remembers. */
const IN_FLIGHT_MAX = 12;
const TURNS_MAX = 400;

interface Flight {
  readonly producer: number;
  readonly index: number;
  /** The connection that it went over is still there. */
  isHeard: boolean;
}

export interface LifeOptions {
  readonly storage: SimStorage;
  readonly producers: SimProducer[];
  readonly definition: Partial<StreamDefinition>;
  readonly epoch: number;
  readonly wrap: (storage: SimStorage) => Storage;
  /** Acknowledged batches may be gone: a power cut came between. */
  readonly mayHaveLost: boolean;
}

/** One process: an agent with one stream, and producers that send, resend and are told. */
export class ProducerLife {
  readonly events: ProducerEvent[] = [];
  readonly outcomes = new Map<string, number>();
  readonly #fixture: AgentFixture;
  readonly #options: LifeOptions;
  readonly #flights = new Map<number, Flight>();
  /** Producers of which a batch failed: they wait for all their answers, and go back to the first without one. */
  readonly #failed = new Set<number>();
  #nextToken = 1;
  /** The first promise that was broken. */
  violation: string | undefined;

  constructor(options: LifeOptions) {
    this.#options = options;
    const { storage, epoch, wrap } = options;
    this.#fixture = new AgentFixture({ storage, epoch, wrap, blockBytes: 4096, commitAlignBytes: 4096 });
    const create = epoch === 1;
    const reply = this.#fixture.open(0, options.definition, { create });
    if (reply.kind === "failed") this.violation = `the stream did not open: ${reply.text}`;
  }

  /** Sends, cuts and completes as a seed says. */
  run(steps: number, random: SeededRandom): void {
    const { storage, producers } = this.#options;
    for (const at of producers.keys()) this.#resend(at);
    for (let step = 0; step < steps && this.violation === undefined; step++) {
      const producer = random.between(0, producers.length - 1);
      for (let burst = random.between(1, 5); burst > 0; burst--) this.#sendNext(producer);
      if (random.fraction() < 0.25) this.#cut(producer);
      if (random.fraction() < 0.4) continue;
      this.#work();
      if (random.fraction() < 0.5) storage.completeSyncs();
      if (random.fraction() < 0.2) this.#fixture.clock.advance(1100);
      this.#work();
    }
  }

  /** Storage works, and everyone sends until all is answered, two more batches each included. */
  settle({ isProbing }: { isProbing: boolean }): void {
    const { storage, producers } = this.#options;
    storage.heal();
    this.#fixture.clock.advance(60_000);
    this.#work();
    for (const [at, producer] of producers.entries()) {
      // Answered ones again, as a producer does that has lost the answers.
      const from = isProbing ? Math.max(0, producer.lowestUnanswered - 30) : producer.lowestUnanswered;
      const end = producer.sentCount + 2;
      for (let index = from; index < end; index++) this.#send(at, index);
    }
    for (let turn = 0; this.violation === undefined; turn++) {
      this.#work();
      storage.completeSyncs();
      this.#work();
      for (const at of producers.keys()) this.#resendAfterFailure(at);
      if (this.#flights.size === 0 && this.#failed.size === 0) return;
      if (turn > TURNS_MAX) this.violation = "the agent does not answer";
    }
  }

  /** What the stream holds, by sequence number. */
  read(): Map<number, string> {
    const messages = new Map<number, string>();
    for (let from = 0, turn = 0; turn < TURNS_MAX; turn++) {
      this.#fixture.read(READ_TOKEN, 0, { from, min: 0, max: 100_000, bytesMax: 30_000 });
      let next = from;
      for (const event of this.#fixture.work()) {
        if (event.kind === "gap") next = event.toSequence;
        if (event.kind !== "records") continue;
        for (const [offset, text] of event.payloads.entries())
          messages.set(event.firstSequence + offset, text);
        if (event.payloads.length > 0) next = event.firstSequence + event.payloads.length;
      }
      if (next === from) return messages;
      from = next;
    }
    throw new Error("reading does not end");
  }

  #sendNext(at: number): void {
    const producer = this.#options.producers[at]!;
    this.#resendAfterFailure(at);
    if (this.#failed.has(at) || producer.sentCount - producer.lowestUnanswered >= IN_FLIGHT_MAX) return;
    this.#send(at, producer.sentCount);
  }

  /** A connection breaks: its answers are lost, and all without one is sent again over the next. */
  #cut(at: number): void {
    for (const flight of this.#flights.values()) if (flight.producer === at) flight.isHeard = false;
    this.#failed.delete(at);
    this.#resend(at);
  }

  #resendAfterFailure(at: number): void {
    if (!this.#failed.has(at)) return;
    for (const flight of this.#flights.values()) if (flight.producer === at && flight.isHeard) return;
    this.#failed.delete(at);
    this.#resend(at);
  }

  #resend(at: number): void {
    const producer = this.#options.producers[at]!;
    for (let index = producer.lowestUnanswered; index < producer.sentCount; index++) this.#send(at, index);
  }

  #send(at: number, index: number): void {
    const producer = this.#options.producers[at]!;
    const token = this.#nextToken++;
    this.#flights.set(token, { producer: at, index, isHeard: true });
    producer.sentCount = Math.max(producer.sentCount, index + 1);
    this.#note(at, index, undefined);
    const sequence = index - producer.shift;
    this.#fixture.append(token, 0, {
      messages: producer.messages(index),
      producer: { id: producer.id, sequence },
    });
  }

  #note(producer: number, index: number, firstSequence: number | undefined): void {
    this.events.push({
      operation: this.#options.storage.operations.length - 1,
      producer,
      index,
      firstSequence,
    });
  }

  #work(): void {
    for (const event of this.#fixture.work()) this.#onEvent(event);
  }

  #onEvent(event: UpEvent): void {
    if (event.kind !== "appended" && event.kind !== "failed") return;
    const flight = this.#flights.get(event.token)!;
    this.#flights.delete(event.token);
    const outcome = event.kind === "failed" ? event.code : event.isRepeat === true ? "repeat" : "stored";
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
    if (!flight.isHeard) return;
    const { producer: at, index } = flight;
    if (event.kind === "appended") {
      this.#note(at, index, event.firstSequence);
      this.violation ??= this.#options.producers[at]!.hear(index, event.firstSequence);
    } else if (event.code === "SEQUENCE_GAP" && !this.#failed.has(at)) {
      this.#onGap(at, index, event.expectedSequence!);
    } else this.#failed.add(at);
  }

  /** Nothing before it failed, so the engine lacks what it has acknowledged, or does not know what it has. */
  #onGap(at: number, index: number, expected: number): void {
    const producer = this.#options.producers[at]!;
    const lowest = producer.lowestUnanswered;
    const hasLost = expected <= lowest - producer.shift;
    if (!this.#options.mayHaveLost || !hasLost) {
      this.violation ??= `batch ${index} of producer ${producer.id} is a gap: ${expected} expected`;
      return;
    }
    producer.forget(expected + producer.shift);
    producer.shift = lowest - expected;
    this.#failed.add(at);
  }
}
