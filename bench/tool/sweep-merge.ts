import type { BenchRecord, BenchValues } from "../bench.ts";
import { median, roundTo } from "../statistics.ts";
import { combinationText, type Combination } from "./sweep-plan.ts";

const DIGITS = 4;

/**
 * What the runs of one combination say of one case: values are medians over the runs, and a run is a round. Rounds within a run share what
 * the machine did meanwhile, and would make it look steadier than it is.
 */
export function mergeRuns(runs: readonly BenchRecord[], combination: Combination): BenchRecord {
  const { name } = runs[0]!;
  const keys = [...new Set(runs.flatMap(({ values }) => Object.keys(values)))];
  const numbers = (key: string): number[] =>
    runs.map(({ values }) => values[key]).filter((value) => typeof value === "number");
  const values: BenchValues = Object.fromEntries(
    keys.map((key) => {
      const measured = numbers(key);
      return [key, measured.length > 0 ? roundTo(median(measured), DIGITS) : (runs[0]!.values[key] ?? null)];
    }),
  );
  const rounds = Object.fromEntries(
    keys.map((key) => [key, numbers(key)] as const).filter(([, measured]) => measured.length > 0),
  );
  const threadNames = [...new Set(runs.flatMap(({ threads }) => Object.keys(threads ?? {})))];
  const threads = Object.fromEntries(
    threadNames.map((thread) => [thread, median(runs.map((run) => run.threads?.[thread] ?? 0))]),
  );
  return {
    name: `${name} [${combinationText(combination)}]`,
    values,
    rounds,
    ...middleLatencies(runs),
    sweep: { case: name, parameters: combination.parameters },
    ...(threadNames.length > 0 ? { threads } : {}),
  };
}

/** Distributions cannot be joined by their percentiles: they are those of the run whose mean is the middle one. */
function middleLatencies(runs: readonly BenchRecord[]): Pick<BenchRecord, "latencies"> {
  const kinds = [...new Set(runs.flatMap(({ latencies }) => Object.keys(latencies ?? {})))];
  if (kinds.length === 0) return {};
  const latencies = kinds.map((kind) => {
    const summaries = runs
      .map((run) => run.latencies?.[kind])
      .filter((summary) => summary !== undefined)
      .sort((a, b) => a.mean_us - b.mean_us);
    return [kind, summaries[summaries.length >> 1]!] as const;
  });
  return { latencies: Object.fromEntries(latencies) };
}
