/** One line of a bench's result. Units stand in the keys; null where a key has no meaning for the case. */
export type BenchRecord = Readonly<Record<string, string | number | null>> & { readonly name: string };

export interface BenchOptions {
  /** Only cases whose name contains this. */
  readonly caseFilter: string;
  /** Measured time of each case; warm-up and start come on top. */
  readonly seconds: number;
  /** Where stores are made; a real file system, since a sync on tmpfs costs nothing. */
  readonly storeRoot: string;
  /** Server processes write CPU profiles here. */
  readonly profileDirectory: string | undefined;
}

export interface Bench {
  readonly name: string;
  readonly summary: string;
  readonly secondsDefault: number;
  /** Settings of the measurement itself, for the record of the environment. */
  readonly settings: Readonly<Record<string, string | number>>;
  /** Measures and gives each record as soon as it is known. Throws when what was measured did not do its work. */
  run(options: BenchOptions): AsyncIterable<BenchRecord>;
}
