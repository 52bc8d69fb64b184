import { createHistogram, type RecordableHistogram } from "node:perf_hooks";
import { roundTo } from "./statistics.ts";

const NS_PER_US = 1000;
/** An hour: nothing that is measured here waits longer. */
const LATENCY_NS_MAX = 3.6e12;
/** Digits that count in each value: 0.1 %. */
const FIGURES = 3;
const DIGITS_SHOWN = 4;

/** The percentiles that a summary holds, in the order of a plot of the tail. */
export const summaryPercentiles = [
  0, 10, 25, 50, 75, 90, 95, 97.5, 99, 99.5, 99.75, 99.9, 99.95, 99.975, 99.99, 99.999, 100,
] as const;

/** A distribution in microseconds. */
export interface LatencySummary {
  readonly count: number;
  readonly min_us: number;
  readonly mean_us: number;
  readonly max_us: number;
  /** Pairs of percentile and value, one for each of {@link summaryPercentiles}. */
  readonly percentiles_us: readonly (readonly [percentile: number, valueUs: number])[];
}

/** Latencies in buckets of a tenth of a percent (an HDR histogram), in memory that does not grow with their count. */
export class LatencyHistogram {
  readonly #histogram: RecordableHistogram = createHistogram({
    lowest: 1,
    highest: LATENCY_NS_MAX,
    figures: FIGURES,
  });

  get count(): number {
    return this.#histogram.count;
  }

  /** Takes a time in microseconds; one below a nanosecond counts as one. @throws RangeError over an hour */
  add(latencyUs: number): void {
    const ns = Math.max(1, Math.round(latencyUs * NS_PER_US));
    if (!(ns <= LATENCY_NS_MAX))
      throw new RangeError(`Cannot record a latency of ${latencyUs} us: over an hour`);
    this.#histogram.record(ns);
  }

  addAll(other: LatencyHistogram): void {
    if (other.count > 0) this.#histogram.add(other.#histogram);
  }

  /** The value in microseconds that `percent` of all do not exceed, 0 to 100, or undefined without values. */
  percentile(percent: number): number | undefined {
    if (this.count === 0) return undefined;
    // The histogram takes percentiles above 0 only, and answers with the upper end of a bucket.
    if (percent === 0) return this.#histogram.min / NS_PER_US;
    return Math.min(this.#histogram.percentile(percent), this.#histogram.max) / NS_PER_US;
  }

  /** Undefined without values. */
  summary(): LatencySummary | undefined {
    if (this.count === 0) return undefined;
    const shown = (us: number): number => roundTo(us, DIGITS_SHOWN);
    return {
      count: this.count,
      min_us: shown(this.#histogram.min / NS_PER_US),
      mean_us: shown(this.#histogram.mean / NS_PER_US),
      max_us: shown(this.#histogram.max / NS_PER_US),
      percentiles_us: summaryPercentiles.map(
        (percent) => [percent, shown(this.percentile(percent)!)] as const,
      ),
    };
  }
}

/** Keys `<what>_p50_us` to `<what>_max_us` of a record; null without values. */
export function latencyValues(what: string, histogram: LatencyHistogram): Record<string, number | null> {
  const at = (percent: number): number | null => {
    const valueUs = histogram.percentile(percent);
    return valueUs === undefined ? null : roundTo(valueUs, DIGITS_SHOWN);
  };
  return {
    [`${what}_p50_us`]: at(50),
    [`${what}_p99_us`]: at(99),
    [`${what}_p99_9_us`]: at(99.9),
    [`${what}_p99_99_us`]: at(99.99),
    [`${what}_max_us`]: at(100),
  };
}
