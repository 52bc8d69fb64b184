import path from "node:path";
import { SeededRandom } from "../support/deterministic.ts";
import { blockOf, Coverage } from "./coverage.ts";
import { literalsOf } from "./dictionary.ts";
import type { FuzzTarget } from "./fuzz-target.ts";
import { Mutator } from "./mutator.ts";

/** compiled to dist/test/fuzz/ */
const dist = path.join(import.meta.dirname, "..", "..");
/** Batches that have nothing new double their size up to so many times the least. */
const BATCH_GROWTH_MAX = 32;
/** Counts of the coverage at first; then they have a bounded share of the time. */
const COUNTS_FIRST = 150;
const FAILED_TRIES_MAX = 500;
/** What a batch may allocate before each of its inputs is looked at by itself. */
const BATCH_ALLOCATED_BYTES_MAX = 4 * 1024 * 1024;

const NO_BYTES = new Uint8Array(0);

export interface FuzzOptions {
  readonly runs: number;
  readonly seed: number;
  /** Called before each input is run. */
  readonly onInput?: (input: Uint8Array) => void;
}

export interface FuzzFailure {
  readonly input: Uint8Array;
  readonly error: Error;
}

export interface FuzzReport {
  readonly runs: number;
  /** Blocks of code that ran. */
  readonly blocks: number;
  readonly corpus: readonly Uint8Array[];
  readonly failure: FuzzFailure | undefined;
}

/** Runs mutated inputs, led to new ones by what they make run, until one breaks a promise or `runs` are over. */
export function fuzz(target: FuzzTarget, options: FuzzOptions): FuzzReport {
  return new Fuzzer(target, options).fuzz();
}

/** Runs one input, and looks at what it allocates. @returns what it broke */
export function tryInput(target: FuzzTarget, input: Uint8Array): Error | undefined {
  const { arrayBuffers } = process.memoryUsage();
  try {
    target.run(input);
  } catch (thrown) {
    return asError(thrown);
  }
  const allocatedBytes = process.memoryUsage().arrayBuffers - arrayBuffers;
  const bytesMax = target.allocatedBytesMax(input);
  if (allocatedBytes <= bytesMax) return undefined;
  return new Error(`${allocatedBytes} bytes allocated for ${input.length}, at most ${bytesMax} are right`);
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

interface Entry {
  readonly input: Uint8Array;
  /** Kept whatever others do. */
  readonly isSeed: boolean;
  /** Features of which this is the shortest input. */
  ownedCount: number;
}

class Fuzzer {
  readonly #target: FuzzTarget;
  readonly #options: FuzzOptions;
  readonly #random: SeededRandom;
  readonly #mutator: Mutator;
  readonly #coverage: Coverage;
  readonly #blocks = new Set<number>();
  readonly #owners = new Map<number, Entry>();
  #corpus: Entry[] = [];
  #runs = 0;
  #counts = 0;
  #failure: FuzzFailure | undefined;

  constructor(target: FuzzTarget, options: FuzzOptions) {
    this.#target = target;
    this.#options = options;
    this.#random = new SeededRandom(options.seed);
    const places = target.sources.map((source) => path.join(dist, source));
    const words = literalsOf(places);
    this.#mutator = new Mutator(this.#random, { words, inputBytesMax: target.inputBytesMax });
    this.#coverage = new Coverage((url) => target.sources.some((source) => url.includes(`/dist/${source}`)));
  }

  fuzz(): FuzzReport {
    this.#takeSeeds();
    const batchMin = this.#target.inputsPerCount;
    let batchSize = batchMin;
    while (this.#runs < this.#options.runs && this.#failure === undefined) {
      const batch = Array.from({ length: Math.min(batchSize, this.#options.runs - this.#runs) }, () =>
        this.#mutator.mutate(this.#choose(), this.#choose()),
      );
      // Inputs are counted together, and apart only where there is something new.
      const isFresh = this.#runAll(batch);
      batchSize = isFresh ? batchMin : Math.min(batchMin * BATCH_GROWTH_MAX, batchSize * 2);
    }
    this.#coverage.close();
    const corpus = this.#corpus.map(({ input }) => input);
    return { runs: this.#runs, blocks: this.#blocks.size, corpus, failure: this.#failure };
  }

  #takeSeeds(): void {
    for (const input of this.#target.seeds()) {
      this.#options.onInput?.(input);
      this.#fail(input, tryInput(this.#target, input));
      this.#corpus.push({ input, ownedCount: 0, isSeed: true });
    }
    for (const feature of this.#count()) this.#blocks.add(blockOf(feature));
  }

  #choose(): Uint8Array {
    return this.#corpus[this.#random.between(0, this.#corpus.length - 1)]!.input;
  }

  #runAll(batch: readonly Uint8Array[]): boolean {
    const { arrayBuffers } = process.memoryUsage();
    for (const input of batch) {
      this.#runs += 1;
      this.#options.onInput?.(input);
      try {
        this.#target.run(input);
      } catch (thrown) {
        this.#fail(input, asError(thrown));
        return false;
      }
    }
    const allocatedBytes = process.memoryUsage().arrayBuffers - arrayBuffers;
    const bytesMax = Math.max(BATCH_ALLOCATED_BYTES_MAX, this.#target.allocatedBytesMax(NO_BYTES));
    if (allocatedBytes > bytesMax)
      for (const input of batch) this.#fail(input, tryInput(this.#target, input));
    if (this.#failure !== undefined || !this.#mayCount) return false;
    return this.#learn(batch);
  }

  /** Finds the inputs that ran something new since the last count, by halves. @returns whether there are any */
  #learn(inputs: readonly Uint8Array[]): boolean {
    const features = this.#count();
    if (features.every((feature) => this.#blocks.has(blockOf(feature)))) return false;
    const [only, ...others] = inputs;
    if (only !== undefined && others.length === 0) this.#keep(only, features);
    else this.#learnFrom(inputs);
    return true;
  }

  #learnFrom(inputs: readonly Uint8Array[]): void {
    const middle = inputs.length >> 1;
    for (const half of [inputs.slice(0, middle), inputs.slice(middle)]) {
      if (!this.#mayCount) return;
      for (const input of half) this.#target.run(input);
      this.#learn(half);
    }
  }

  #count(): number[] {
    this.#counts += 1;
    return this.#coverage.take();
  }

  get #mayCount(): boolean {
    return this.#counts < COUNTS_FIRST + this.#runs / this.#target.inputsPerCount;
  }

  /** Keeps an input that is the first or the shortest to run something, and drops those that are neither any more. */
  #keep(input: Uint8Array, features: readonly number[]): void {
    const entry: Entry = { input, ownedCount: 0, isSeed: false };
    for (const feature of features) {
      this.#blocks.add(blockOf(feature));
      const owner = this.#owners.get(feature);
      if (owner !== undefined && owner.input.length <= input.length) continue;
      if (owner !== undefined) owner.ownedCount -= 1;
      entry.ownedCount += 1;
      this.#owners.set(feature, entry);
    }
    this.#corpus = [...this.#corpus.filter(({ isSeed, ownedCount }) => isSeed || ownedCount > 0), entry];
  }

  #fail(input: Uint8Array, error: Error | undefined): void {
    if (this.#failure !== undefined || error === undefined) return;
    const shortest = this.#shrink(input, (shorter) => tryInput(this.#target, shorter)?.name === error.name);
    this.#failure = { input: shortest, error: tryInput(this.#target, shortest) ?? error };
  }

  /** Leaves out parts, large ones first, while `holds` says that what matters is still there. */
  #shrink(input: Uint8Array, holds: (shorter: Uint8Array) => boolean): Uint8Array {
    let shortest = input;
    let tries = 0;
    for (let size = Math.ceil(shortest.length / 2); size >= 1; size = Math.floor(size / 2)) {
      for (let at = 0; at < shortest.length && tries < FAILED_TRIES_MAX; tries++) {
        const shorter = Buffer.concat([shortest.subarray(0, at), shortest.subarray(at + size)]);
        if (holds(shorter)) shortest = shorter;
        else at += size;
      }
    }
    return shortest;
  }
}
