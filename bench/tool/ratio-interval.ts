import type { Random } from "../../src/core/random.ts";
import { seededRandom } from "../seeded-random.ts";
import { median } from "../statistics.ts";

const RESAMPLES = 2000;
const SEED = 20_261_127;
const CONFIDENCE = 0.95;

/** How many times as much, and where 95 % of the resampled ratios lie. */
export interface RatioInterval {
  readonly ratio: number;
  readonly low: number;
  readonly high: number;
}

/** The rounds of one figure, by run. */
export type RoundsByRun = readonly (readonly number[])[];

/**
 * The ratio of the medians of all rounds, `other` to `base`, with a bootstrap interval. Runs are resampled and then rounds within them,
 * because rounds of one run share what the machine did meanwhile. The same rounds give the same interval.
 * Undefined where a side has fewer than two rounds, or a median of zero divides, be it of resampled rounds.
 */
export function ratioInterval(base: RoundsByRun, other: RoundsByRun): RatioInterval | undefined {
  if (base.flat().length < 2 || other.flat().length < 2) return undefined;
  const ratio = median(other.flat()) / median(base.flat());
  if (!Number.isFinite(ratio)) return undefined;
  const random = seededRandom(SEED);
  const ratios: number[] = [];
  for (let sample = 0; sample < RESAMPLES; sample++)
    ratios.push(median(resample(other, random)) / median(resample(base, random)));
  if (!ratios.every(Number.isFinite)) return undefined;
  ratios.sort((a, b) => a - b);
  const tail = Math.floor((RESAMPLES * (1 - CONFIDENCE)) / 2);
  return { ratio, low: ratios[tail]!, high: ratios[RESAMPLES - 1 - tail]! };
}

function resample(runs: RoundsByRun, random: Random): number[] {
  const draw = <T>(values: readonly T[]): T[] =>
    values.map(() => values[Math.floor(random.fraction() * values.length)]!);
  return draw(runs.filter((rounds) => rounds.length > 0)).flatMap(draw);
}
