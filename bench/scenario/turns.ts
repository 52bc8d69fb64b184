import { median, roundTo } from "../statistics.ts";
import type { CaseEnd, CostedSlice, RunningCase, ScenarioCase } from "./slice.ts";

const ROUND_S = 1;
const ROUNDS_MAX = 7;
const WARM_UP_S_MAX = 1;
const RATIO_DIGITS = 3;

/** A case after its last round. */
export interface MeasuredCase {
  readonly name: string;
  readonly slices: readonly CostedSlice[];
  readonly end: CaseEnd;
}

/**
 * Measures cases round by round, each case for `seconds` in all. They take turns, because their ratio is asked for and the machine
 * changes from second to second; a slice's neighbour in another case is the one with the same index.
 */
export async function* measureInTurns(
  cases: readonly ScenarioCase[],
  seconds: number,
): AsyncGenerator<MeasuredCase> {
  const running = [];
  const roundCount = Math.min(Math.max(Math.floor(seconds / ROUND_S), 1), ROUNDS_MAX);
  try {
    for (const { name, start } of cases) {
      running.push({ name, run: await start(), slices: [] as CostedSlice[] });
    }
    for (const { run } of running) await run.measure(Math.min(seconds, WARM_UP_S_MAX));
    for (let round = 0; round < roundCount; round++) {
      // Back and forth: what a case leaves behind, warm or throttled, must not always meet the same one.
      for (const { run, slices } of round % 2 === 0 ? running : running.toReversed())
        slices.push(await run.measure(seconds / roundCount));
    }
    for (const { name, run, slices } of running) yield { name, slices, end: await run.finish() };
  } finally {
    await abandonAll(running);
  }
}

/** One that cannot be ended keeps none of the others from it. @throws the first failure, once all were tried */
async function abandonAll(running: readonly { readonly run: RunningCase }[]): Promise<void> {
  const ends = await Promise.allSettled(running.map(async ({ run }) => run.abandon()));
  const failed = ends.find((end) => end.status === "rejected");
  if (failed) throw failed.reason;
}

/** The ratios of neighbouring rounds: their median, and each of them. */
export class TurnRatios {
  readonly values: Record<string, number | null> = {};
  readonly rounds: Record<string, number[]> = {};

  /** Nothing where a side was not measured; null where a side has no such figure. */
  add<S = CostedSlice>(
    key: string,
    sides: readonly [slices: readonly S[] | undefined, others: readonly S[] | undefined],
    of: (slice: S) => number,
  ): void {
    const [slices, others] = sides;
    if (!slices || !others) return;
    const ratios = slices.map((slice, round) => of(slice) / of(others[round]!));
    const isKnown = !ratios.some(Number.isNaN) && Number.isFinite(median(ratios));
    this.values[key] = isKnown ? roundTo(median(ratios), RATIO_DIGITS) : null;
    // A driver may be so idle in a round that the system's ticks see none of it.
    if (ratios.every(Number.isFinite))
      this.rounds[key] = ratios.map((ratio) => roundTo(ratio, RATIO_DIGITS + 1));
  }
}

export function messageRate({ messageCount, elapsedS }: CostedSlice): number {
  return messageCount / elapsedS;
}
