import { StrategyOnFull, type StreamDefinition } from "../../../src/core/stream-definition.ts";
import type { Storage } from "../../../src/log/storage.ts";
import { emptyStore } from "../../stream/agent-fixture.ts";
import { SeededRandom } from "../../support/deterministic.ts";
import { crashStates, type Faults, type SimStorage } from "../../support/sim-storage.ts";
import { ProducerLife } from "./producer-life.ts";
import { type ProducerEvent, SimProducer } from "./sim-producer.ts";

export interface ProducerScenario {
  readonly name: string;
  readonly seed: number;
  readonly steps: number;
  readonly definition: Partial<StreamDefinition>;
  /** From the first append on: see `SimStorage.plant`. */
  readonly faults: Faults;
}

export interface ProducerExplorerOptions {
  readonly wrap?: (storage: SimStorage) => Storage;
  /** One in so many operations is followed by a crash. */
  readonly crashEvery: number;
  /** One in so many states goes on and is crashed again. */
  readonly nestedEvery: number;
  readonly randomSubsets: number;
}

export interface ProducerExplorerResult {
  readonly states: number;
  readonly outcomes: ReadonlyMap<string, number>;
  /** The first promise that was broken, with the state that broke it. */
  readonly violation: string | undefined;
}

const PRODUCERS = [11, 12, 13];

/**
 * Producers append to an agent whose storage fails and is cut off behind any operation, in every way that its model allows. Then they
 * come back to what is left, send again what they had no answer to, and go on. Every batch must be there once, in order, where its
 * producer was told; without flushOnWrite a power cut may have taken the newest.
 */
export function exploreProducers(
  scenario: ProducerScenario,
  options: ProducerExplorerOptions,
): ProducerExplorerResult {
  const explorer = new ProducerExplorer(scenario, options);
  const violation = explorer.run();
  return { states: explorer.states, outcomes: explorer.outcomes, violation };
}

class ProducerExplorer {
  states = 0;
  readonly outcomes = new Map<string, number>();
  readonly #scenario: ProducerScenario;
  readonly #options: ProducerExplorerOptions;
  readonly #random: SeededRandom;

  constructor(scenario: ProducerScenario, options: ProducerExplorerOptions) {
    this.#scenario = scenario;
    this.#options = options;
    this.#random = new SeededRandom(scenario.seed);
  }

  run(): string | undefined {
    const storage = emptyStore();
    const producers = PRODUCERS.map((id) => new SimProducer(id));
    const life = this.#live(storage, producers, 1, false);
    storage.plant(this.#scenario.faults);
    const created = storage.operations.length;
    life.run(this.#scenario.steps, this.#random);
    this.#count(life);
    if (life.violation !== undefined) return this.#at("in the first life", life.violation);
    return this.#crashAll(storage, { producers, events: life.events, from: created, epoch: 2 });
  }

  #live(storage: SimStorage, producers: SimProducer[], epoch: number, mayHaveLost: boolean): ProducerLife {
    const { definition } = this.#scenario;
    const wrap = this.#options.wrap ?? ((plain: SimStorage): Storage => plain);
    return new ProducerLife({ storage, producers, definition, epoch, wrap, mayHaveLost });
  }

  #crashAll(
    storage: SimStorage,
    before: { producers: SimProducer[]; events: ProducerEvent[]; from: number; epoch: number },
  ): string | undefined {
    const { crashEvery, randomSubsets } = this.#options;
    for (let operation = before.from; operation < storage.operations.length; operation++) {
      if (this.#random.fraction() * crashEvery >= 1) continue;
      const crash = { random: () => this.#random.fraction(), randomSubsets, garbleBytes: 4096 };
      for (const state of crashStates(storage, operation, crash)) {
        this.states += 1;
        const { kind, note } = storage.operations[operation]!;
        const where = `after operation ${operation} (${kind} ${String(note)}), ${state.label}`;
        const broken = this.#checkState(state.storage, state.isKillOnly, operation, before);
        if (broken !== undefined) return this.#at(where, broken);
      }
    }
    return undefined;
  }

  #checkState(
    storage: SimStorage,
    isKillOnly: boolean,
    operation: number,
    before: { producers: SimProducer[]; events: ProducerEvent[]; epoch: number },
  ): string | undefined {
    const mayHaveLost = !isKillOnly && this.#scenario.definition.flushOnWrite !== true;
    const producers = SimProducer.asOf(before.producers, before.events, operation);
    const isNested = before.epoch === 2 && this.states % this.#options.nestedEvery === 0;
    const life = this.#live(storage, producers, before.epoch, mayHaveLost);
    if (isNested && !mayHaveLost) {
      const known = asEvents(producers);
      life.run(6, this.#random);
      this.#count(life);
      if (life.violation !== undefined) return life.violation;
      const events = [...known, ...life.events];
      return this.#crashAll(storage, { producers, events, from: 0, epoch: 3 });
    }
    life.settle({ isProbing: !mayHaveLost });
    this.#count(life);
    if (life.violation !== undefined) return life.violation;
    return this.#compare(life.read(), producers, mayHaveLost);
  }

  #compare(
    messages: ReadonlyMap<number, string>,
    producers: readonly SimProducer[],
    mayHaveLost: boolean,
  ): string | undefined {
    const places = new Map<string, number>();
    for (const [sequence, text] of messages) {
      const twice = places.get(text);
      if (twice !== undefined) return `"${text.slice(0, 12)}" stands at ${twice} and at ${sequence}`;
      places.set(text, sequence);
    }
    const oldest = Math.min(...messages.keys());
    const isWhole = Math.max(...messages.keys()) - oldest + 1 === messages.size;
    const isOverwriting = this.#scenario.definition.strategyOnFull === StrategyOnFull.OverwriteOldestData;
    if (!isWhole || (oldest > 0 && !isOverwriting))
      return `a gap that nobody damaged: ${messages.size} messages from ${oldest} on`;
    for (const producer of producers) {
      for (let index = 0; index < producer.sentCount; index++) {
        const first = producer.answers[index]!;
        if (first < oldest) continue;
        for (const [at, text] of producer.messages(index).entries()) {
          const place = places.get(text);
          const isLost = place === undefined && mayHaveLost;
          if (place !== first + at && !isLost)
            return `"${text.slice(0, 12)}" stands at ${place}, told was ${first + at}`;
        }
      }
    }
    return undefined;
  }

  #count(life: ProducerLife): void {
    for (const [outcome, count] of life.outcomes)
      this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + count);
  }

  #at(where: string, broken: string): string {
    return `${this.#scenario.name}, seed ${this.#scenario.seed}: ${where}: ${broken}`;
  }
}

/** What producers knew before the first operation of a life. */
function asEvents(producers: readonly SimProducer[]): ProducerEvent[] {
  return producers.flatMap(({ sentCount, answers }, producer) =>
    Array.from({ length: sentCount }, (_, index) => ({
      operation: -1,
      producer,
      index,
      firstSequence: answers[index],
    })),
  );
}
