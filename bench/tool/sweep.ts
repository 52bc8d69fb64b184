// `npm run bench -- sweep <bench> workers=1..4 blockBytes=64k,256k`
import { tmpdir } from "node:os";
import path from "node:path";
import { makeBenchDirectory, removeBenchDirectory } from "../clean-up.ts";
import type { BenchRecord } from "../bench.ts";
import { BenchUsageError } from "../bench-usage-error.ts";
import { checkOutputs } from "../place-checks.ts";
import { defaultResultPath, writeResult, type BenchResult } from "../result-file.ts";
import { environmentLines } from "../table-printer.ts";
import { passedOptions, runBenchChild } from "./bench-child.ts";
import type { ToolContext } from "./bench-tool.ts";
import { writeReport } from "./report.ts";
import { mergeRuns } from "./sweep-merge.ts";
import { combinationText, planSweep, sweepOrder, type Combination } from "./sweep-plan.ts";
import { sweepLines } from "./sweep-table.ts";
import { integerOption, parseToolArgs } from "./tool-args.ts";

const ROUNDS_DEFAULT = 3;
const ROUNDS_MAX = 50;
const SEED_DEFAULT = 1;
const SEED_MAX = 2 ** 32 - 1;

const usage = `Usage: npm run bench -- sweep <bench> name=values … [options]

Runs the bench once for each combination and round, each in a process of its own, in random order. A name is a setting's key in
src/config/schema.ts (workers, blockBytes, ringBytes, syncBytes, …), threads for exportThreads, or its variable. Values: 1,2,4 or 1..4;
sizes may end in k, m or g: blockBytes=64k,256k,1m

Options:
  --rounds <n>      runs of each combination, 1 to ${ROUNDS_MAX}; ${ROUNDS_DEFAULT} without it
  --seed <n>        of the order
  --case, --seconds, --rate, --data-set, --store   as of the bench itself
  --out <file>      where the result goes as JSON; else to .cache/bench/results
  --report <file>   a page of HTML of it too
  --json            one JSON object a line instead of a table
`;

/** Runs a bench under each combination of settings, and says which did best. */
export async function sweep(args: readonly string[], { benches }: ToolContext): Promise<void> {
  const { values, positionals } = parseToolArgs(args, {
    ...passedOptions,
    rounds: { type: "string" },
    seed: { type: "string" },
    out: { type: "string" },
    report: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  });
  if (values.help) {
    process.stdout.write(usage);
    return;
  }
  const [bench, ...words] = positionals;
  checkBench(bench, benches);
  if (words.length === 0) throw new BenchUsageError("sweep takes settings, such as workers=1..4");
  const rounds = integerOption("rounds", values.rounds ?? String(ROUNDS_DEFAULT), {
    min: 1,
    max: ROUNDS_MAX,
  });
  const seed = integerOption("seed", values.seed ?? String(SEED_DEFAULT), { min: 0, max: SEED_MAX });
  const combinations = planSweep(words);
  checkOutputs({ out: values.out, report: values.report });
  const sweepSettings = { sweep: words.join(" "), sweep_rounds: rounds, sweep_seed: seed };
  let result: BenchResult | undefined;
  let outPath = values.out;
  const done = new Map<Combination, BenchResult[]>();
  for await (const { combination, run } of runAll(bench, { combinations, rounds, seed, passed: values })) {
    done.set(combination, [...(done.get(combination) ?? []), run]);
    result = sweepResult(result ?? run, { combinations, done, sweepSettings });
    outPath ??= defaultResultPath(`${bench}-sweep`, result.environment);
    // After each run: what took hours is there when the next one fails.
    writeResult(outPath, result);
  }
  print(result!, values.json);
  if (values.report !== undefined)
    writeReport(values.report, [{ title: path.basename(outPath!, ".json"), result: result! }]);
  if (!values.json) process.stdout.write(`\nresult: ${path.relative(process.cwd(), outPath!)}\n`);
}

function checkBench(bench: string | undefined, benches: ToolContext["benches"]): asserts bench is string {
  const withEngine = Object.entries(benches).filter(([, { isMicro }]) => isMicro !== true);
  if (bench !== undefined && withEngine.some(([name]) => name === bench)) return;
  const why = bench !== undefined && Object.hasOwn(benches, bench) ? "runs no engine" : "is no bench";
  throw new BenchUsageError(
    `"${bench ?? ""}" ${why}; sweep takes one of ${withEngine.map(([name]) => name).join(", ")}`,
  );
}

async function* runAll(
  bench: string,
  {
    combinations,
    passed,
    ...order
  }: {
    readonly combinations: readonly Combination[];
    readonly rounds: number;
    readonly seed: number;
    readonly passed: Parameters<typeof runBenchChild>[0]["passed"];
  },
): AsyncGenerator<{ readonly combination: Combination; readonly run: BenchResult }> {
  const directory = makeBenchDirectory(tmpdir(), "sweep");
  const total = combinations.length * order.rounds;
  let count = 0;
  try {
    for (const { round, combination } of sweepOrder(combinations, order)) {
      count += 1;
      process.stderr.write(`${count}/${total} round ${round + 1}: ${combinationText(combination)}\n`);
      const outPath = path.join(directory, "run.json");
      const run = await runBenchChild({ bench, passed, outPath, variables: combination.variables });
      yield { combination, run };
    }
  } finally {
    removeBenchDirectory(directory);
  }
}

/** Of the runs that there are: of each combination the cases in their order. */
function sweepResult(
  first: BenchResult,
  {
    combinations,
    done,
    sweepSettings,
  }: {
    readonly combinations: readonly Combination[];
    readonly done: ReadonlyMap<Combination, readonly BenchResult[]>;
    readonly sweepSettings: Readonly<Record<string, string | number>>;
  },
): BenchResult {
  const swept = new Set(combinations.flatMap(({ variables }) => Object.keys(variables)));
  const kept = Object.entries(first.environment.settings).filter(([name]) => !swept.has(name));
  const settings = { ...Object.fromEntries(kept), ...sweepSettings };
  const records = combinations.flatMap((combination): BenchRecord[] => {
    const runs = (done.get(combination) ?? []).flatMap((run) => run.records);
    const names = [...new Set(runs.map(({ name }) => name))];
    return names.map((name) =>
      mergeRuns(
        runs.filter((record) => record.name === name),
        combination,
      ),
    );
  });
  return { ...first, environment: { ...first.environment, settings }, records };
}

function print({ environment, records }: BenchResult, json: boolean): void {
  const lines = json
    ? records.map((record) => JSON.stringify({ ...record, environment }))
    : [...environmentLines(environment), ...sweepLines(records)];
  for (const line of lines) process.stdout.write(`${line}\n`);
}
