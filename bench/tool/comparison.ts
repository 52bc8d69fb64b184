import { figureKind, isRatioKey } from "../figure-kinds.ts";
import type { BenchRecord } from "../bench.ts";
import type { BenchResult } from "../result-file.ts";
import { median, roundTo } from "../statistics.ts";
import { ratioInterval, type RoundsByRun } from "./ratio-interval.ts";

/** Below it complete disagreement of both sides is not rare even when nothing differs. */
const ROUNDS_FEW_BELOW = 5;
/** With one run a side its rounds all share what the machine did meanwhile: two runs of the same code then often "differ". */
export const RUNS_MIN = 2;
const WITHIN_ONE_RUN = "within one run";
const DIGITS = 4;

/** A result and what it is called. */
export interface NamedResult {
  readonly path: string;
  readonly result: BenchResult;
}

/** One figure of one case on both sides. Where there are rounds, a value is the median of them. */
export interface ComparedFigure {
  readonly key: string;
  readonly a: number;
  readonly b: number;
  /** `b` to `a`; null where `a` is zero. */
  readonly ratio: number | null;
  /** 95 % of the resampled ratios; null without rounds. */
  readonly interval: readonly [low: number, high: number] | null;
  readonly verdict: string;
  readonly note: string | null;
}

export interface ComparedCase {
  readonly name: string;
  readonly figures: readonly ComparedFigure[];
}

export interface Comparison {
  readonly cases: readonly ComparedCase[];
  /** Cases that one side has no figures of, by side. */
  readonly missing: { readonly a: readonly string[]; readonly b: readonly string[] };
}

/** Compares case by case what both sides have. `ratiosOnly` leaves out all that a machine decides; `notes` go with every verdict. */
export function compareResults(
  a: readonly NamedResult[],
  b: readonly NamedResult[],
  { ratiosOnly, notes = [] }: { readonly ratiosOnly: boolean; readonly notes?: readonly string[] },
): Comparison {
  const casesA = recordsByName(a);
  const casesB = recordsByName(b);
  const cases: ComparedCase[] = [];
  for (const [name, records] of casesA) {
    const others = casesB.get(name);
    if (others === undefined) continue;
    const keys = [...new Set(records.flatMap(({ values }) => Object.keys(values)))];
    const figures = keys
      .filter((key) => !ratiosOnly || isRatioKey(key))
      .map((key) => compareFigure(key, { a: records, b: others, notes }))
      .filter((figure) => figure !== undefined);
    if (figures.length > 0) cases.push({ name, figures });
  }
  const lacking = (mine: ReadonlyMap<string, unknown>, theirs: ReadonlyMap<string, unknown>): string[] =>
    [...theirs.keys()].filter((name) => !mine.has(name));
  return { cases, missing: { a: lacking(casesA, casesB), b: lacking(casesB, casesA) } };
}

function recordsByName(results: readonly NamedResult[]): Map<string, BenchRecord[]> {
  const byName = new Map<string, BenchRecord[]>();
  for (const { result } of results) {
    for (const record of result.records)
      byName.set(record.name, [...(byName.get(record.name) ?? []), record]);
  }
  return byName;
}

/** Undefined where a side has no number. */
function compareFigure(
  key: string,
  sides: {
    readonly a: readonly BenchRecord[];
    readonly b: readonly BenchRecord[];
    readonly notes: readonly string[];
  },
): ComparedFigure | undefined {
  const roundsA = roundsOf(key, sides.a);
  const roundsB = roundsOf(key, sides.b);
  if (roundsA.flat().length === 0 || roundsB.flat().length === 0) return undefined;
  const a = roundTo(median(roundsA.flat()), DIGITS);
  const b = roundTo(median(roundsB.flat()), DIGITS);
  const found = ratioInterval(roundsA, roundsB);
  if (found === undefined) {
    const ratio = a === 0 ? null : roundTo(b / a, DIGITS);
    const hasRounds = Math.min(roundsA.flat().length, roundsB.flat().length) > 1;
    const verdict = hasRounds ? "no interval: rounds of zero" : "one value";
    return { key, a, b, ratio, interval: null, verdict, note: null };
  }
  const interval = [roundTo(found.low, DIGITS), roundTo(found.high, DIGITS)] as const;
  const rounds = [roundsA.flat().length, roundsB.flat().length] as const;
  const notes = [
    ...(Math.min(...rounds) < ROUNDS_FEW_BELOW ? [`few rounds: ${rounds[0]} and ${rounds[1]}`] : []),
    ...(Math.min(runCount(roundsA), runCount(roundsB)) < RUNS_MIN ? [WITHIN_ONE_RUN] : []),
    ...sides.notes,
  ];
  return {
    key,
    a,
    b,
    ratio: roundTo(found.ratio, DIGITS),
    interval,
    verdict: verdictOf(key, found),
    note: notes.length > 0 ? notes.join("; ") : null,
  };
}

function runCount(runs: RoundsByRun): number {
  return runs.filter((rounds) => rounds.length > 0).length;
}

/** A figure without rounds is one round of its run. */
function roundsOf(key: string, records: readonly BenchRecord[]): RoundsByRun {
  return records.map(({ values, rounds }) => {
    const measured = rounds?.[key];
    if (measured !== undefined && measured.length > 0) return measured;
    const value = values[key];
    return typeof value === "number" ? [value] : [];
  });
}

function verdictOf(key: string, { low, high }: { readonly low: number; readonly high: number }): string {
  if (low <= 1 && high >= 1) return "no difference shown";
  const {
    better,
    words: [whenBetter, whenWorse],
  } = figureKind(key);
  return low > 1 === (better === "higher") ? whenBetter : whenWorse;
}
