/** One candidate and what its rounds gave. */
export interface Measured<T> {
  readonly value: T;
  /** Messages a second, a round each. */
  readonly rates: readonly number[];
}

/** How sure a choice is. */
export const Certainty = {
  /** Every round of the best was faster than every round of the default, and by enough to matter. */
  Clear: "clear",
  /** The default was the fastest. */
  DefaultIsBest: "default is best",
  /** Another was faster, but its rounds and those of the default overlap, or by too little. */
  WithinNoise: "within the noise",
} as const;
export type Certainty = (typeof Certainty)[keyof typeof Certainty];

export interface Choice<T> {
  readonly value: T;
  readonly certainty: Certainty;
  /** The fastest by its median, chosen or not. */
  readonly fastest: T;
  /** By how much the median of the fastest is above that of the default, as a share of it. */
  readonly gain: number;
}

/** Less than this is not worth a setting. */
export const GAIN_MIN = 0.05;

/** With fewer, ranges that do not overlap say nothing. */
export const ROUNDS_TO_BE_SURE = 3;

/**
 * The fastest candidate if that is beyond doubt, else the default. With three rounds each, chance alone puts all rounds of one candidate
 * above all of the default once in twenty measurements, and those of one of several candidates more often; {@link GAIN_MIN} keeps out
 * most of what does.
 */
export function choose<T>(measured: readonly Measured<T>[], defaultValue: T): Choice<T> {
  const standard = measured.find(({ value }) => value === defaultValue);
  if (standard === undefined) throw new Error("the default is among the candidates");
  const fastest = measured.reduce((best, one) => (median(one.rates) > median(best.rates) ? one : best));
  const gain = median(fastest.rates) / median(standard.rates) - 1;
  const chosen = (value: T, certainty: Certainty): Choice<T> => ({
    value,
    certainty,
    fastest: fastest.value,
    gain,
  });
  if (fastest === standard) return chosen(defaultValue, Certainty.DefaultIsBest);
  const isApart =
    standard.rates.length >= ROUNDS_TO_BE_SURE && Math.min(...fastest.rates) > Math.max(...standard.rates);
  return isApart && gain >= GAIN_MIN
    ? chosen(fastest.value, Certainty.Clear)
    : chosen(defaultValue, Certainty.WithinNoise);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** From the slowest round to the fastest, as a share of the median. */
export function spread(rates: readonly number[]): number {
  return (Math.max(...rates) - Math.min(...rates)) / median(rates);
}

const WORKERS_LISTED_MAX = 4;
const WORKERS_TRIED_MAX = 16;

/** Worker counts worth trying: each up to four, then doubled, up to the cores; and the default. */
export function workerCandidates(cores: number, defaultWorkers: number): number[] {
  const candidates = new Set([defaultWorkers]);
  for (
    let count = 1;
    count <= Math.min(cores, WORKERS_TRIED_MAX);
    count += count < WORKERS_LISTED_MAX ? 1 : count
  )
    candidates.add(count);
  return [...candidates].sort((a, b) => a - b);
}

const KIB = 1024;

export function blockCandidates(defaultBytes: number): number[] {
  const candidates = new Set([64 * KIB, 128 * KIB, 256 * KIB, 1024 * KIB, defaultBytes]);
  return [...candidates].sort((a, b) => a - b);
}
