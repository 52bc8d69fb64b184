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
      for (const { run, slices } of running) slices.push(await run.measure(seconds / roundCount));
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

/** The middle of the ratios of neighbouring rounds, with three digits. */
export function ratioInTurns(
  slices: readonly CostedSlice[],
  others: readonly CostedSlice[],
  of: (slice: CostedSlice) => number,
): number {
  return roundTo(median(ratioRounds(slices, others, of)), RATIO_DIGITS);
}

function ratioRounds(
  slices: readonly CostedSlice[],
  others: readonly CostedSlice[],
  of: (slice: CostedSlice) => number,
): number[] {
  return slices.map((slice, round) => of(slice) / of(others[round]!));
}

/** The ratios of a record, each with its rounds. */
export class TurnRatios {
  readonly values: Record<string, number> = {};
  readonly rounds: Record<string, number[]> = {};

  /** Nothing where a side was not measured. */
  add(
    key: string,
    sides: readonly [slices: readonly CostedSlice[] | undefined, others: readonly CostedSlice[] | undefined],
    of: (slice: CostedSlice) => number,
  ): void {
    const [slices, others] = sides;
    if (!slices || !others) return;
    const ratios = ratioRounds(slices, others, of);
    this.values[key] = roundTo(median(ratios), RATIO_DIGITS);
    this.rounds[key] = ratios.map((ratio) => roundTo(ratio, RATIO_DIGITS + 1));
  }
}

export function messageRate({ messageCount, elapsedS }: CostedSlice): number {
  return messageCount / elapsedS;
}
