import type { DataSet } from "./data-set.ts";
import type { LatencySummary } from "./latency-histogram.ts";

/** Figures of a case. Units stand in the keys; null where a key has no meaning for the case. */
export type BenchValues = Readonly<Record<string, string | number | null>>;

/** What a bench says of one case. */
export interface BenchRecord {
  readonly name: string;
  readonly values: BenchValues;
  /**
   * For a key of `values` that is measured in rounds: each round's figure, in the order in which they were measured. The value is their
   * median where it is a rate, and of all rounds together where it is a percentile or a cost.
   */
  readonly rounds?: Readonly<Record<string, readonly number[]>>;
  /** Whole distributions, by what was waited for: `ack`, `push`. */
  readonly latencies?: Readonly<Record<string, LatencySummary>>;
  /** Of a run of a sweep: the case, and what was set for it. The record's name holds both. */
  readonly sweep?: { readonly case: string; readonly parameters: Readonly<Record<string, string>> };
  /** CPU-seconds for each GB of payload, by program and thread: `engine mr-main`, `driver`. */
  readonly threads?: Readonly<Record<string, number>>;
}

export interface BenchOptions {
  /** Only cases whose name contains this. */
  readonly caseFilter: string;
  /** Measured time of each case; warm-up and start come on top. */
  readonly seconds: number;
  /** Where stores are made; a real file system, since a sync on tmpfs costs nothing. */
  readonly storeRoot: string;
  /** Server processes write CPU profiles here, one for each thread. */
  readonly profileDirectory: string | undefined;
  /** Messages a second, for benches that send at a fixed rate; each has its own default. */
  readonly rate?: number;
  /** The messages that are appended: `count` of them, the same for the same count. */
  readonly createDataSet: (count: number) => DataSet;
}

/** An option of the command line that a bench may take. */
export type BenchOption = "rate" | "data-set";

export interface Bench {
  readonly name: string;
  readonly secondsDefault: number;
  /** Options that only some benches have; none where it is missing. */
  readonly takes?: readonly BenchOption[];
  /** Settings of the measurement itself, for the record of the environment. */
  readonly settings: Readonly<Record<string, string | number>>;
  /** Measures and gives each record as soon as it is known. Throws when what was measured did not do its work. */
  run(options: BenchOptions): AsyncIterable<BenchRecord>;
}
