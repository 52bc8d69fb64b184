// `npm run bench -- compare a.json b.json`
import { formatFigure } from "../figure-kinds.ts";
import { readResult } from "../result-file.ts";
import {
  checkSameBench,
  checkSameDataSet,
  checkSameMachine,
  differencesOf,
  haveSettingsThatDiffer,
  loadWarnings,
} from "./comparability.ts";
import {
  RUNS_MIN,
  compareResults,
  type ComparedFigure,
  type Comparison,
  type NamedResult,
} from "./comparison.ts";
import { BenchUsageError } from "../bench-usage-error.ts";
import { parseToolArgs } from "./tool-args.ts";

const usage = `Usage: npm run bench -- compare a.json b.json [--json] [--across-machines]

Each side may be several results of the same, separated by commas: a1.json,a2.json b1.json,b2.json
The ratio is b to a. With rounds it is the ratio of their medians, with a bootstrap interval of 95 %: rounds of one run share what the
machine did meanwhile, so several runs a side, taken in turns, tell more than many rounds.
`;

/** Compares two sides of results and prints what can be said. @throws BenchRefusal where they are not comparable */
export function compare(args: readonly string[]): void {
  const { values, positionals } = parseToolArgs(args, {
    json: { type: "boolean", default: false },
    "across-machines": { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  });
  if (values.help) {
    process.stdout.write(usage);
    return;
  }
  if (positionals.length !== 2) throw new BenchUsageError("compare takes two sides: a.json b.json");
  const [a, b] = positionals.map(readSide) as [NamedResult[], NamedResult[]];
  const all = [...a, ...b];
  checkSameBench(all);
  checkSameDataSet(all);
  const ratiosOnly = values["across-machines"];
  if (!ratiosOnly) checkSameMachine(all);
  const comparison = compareResults(a, b, {
    ratiosOnly,
    notes: haveSettingsThatDiffer(all) ? ["settings differ"] : [],
  });
  const told = {
    differences: differencesOf(all),
    warnings: [...runWarnings(a, b), ...loadWarnings(all)],
    ...comparison,
  };
  if (values.json) {
    const paths = (side: readonly NamedResult[]): string[] => side.map(({ path }) => path);
    process.stdout.write(`${JSON.stringify({ a: paths(a), b: paths(b), ...told })}\n`);
    return;
  }
  for (const line of comparisonLines({ a, b, ...told })) process.stdout.write(`${line}\n`);
}

/** Simulated runs of the same code, one a side, "differed" in about a third of all comparisons. */
function runWarnings(a: readonly NamedResult[], b: readonly NamedResult[]): string[] {
  if (Math.min(a.length, b.length) >= RUNS_MIN) return [];
  const which = a.length === b.length ? "one run each" : "one run on a side";
  return [`${which}: a difference may be the run's and not the code's; give two runs or more a side`];
}

function readSide(paths: string): NamedResult[] {
  const given = paths.split(",").filter((path) => path !== "");
  if (given.length === 0)
    throw new BenchUsageError(`compare takes a result on each side, "${paths}" is none`);
  return given.map((path) => ({ path, result: readResult(path) }));
}

const KEY_WIDTH = 28;
const NUMBER_WIDTH = 12;
const RATIO_WIDTH = 8;
const INTERVAL_WIDTH = 16;

function comparisonLines(
  told: Comparison & {
    readonly a: readonly NamedResult[];
    readonly b: readonly NamedResult[];
    readonly differences: readonly string[];
    readonly warnings: readonly string[];
  },
): string[] {
  const side = (results: readonly NamedResult[]): string => results.map(({ path }) => path).join(", ");
  const lines = [`a: ${side(told.a)}`, `b: ${side(told.b)}`];
  if (told.differences.length > 0)
    lines.push("", "not the same in all results:", ...told.differences.map((line) => `  ${line}`));
  lines.push(...told.warnings.map((line) => `warning: ${line}`));
  if (told.cases.length === 0) lines.push("", "no figure is in both");
  for (const { name, figures } of told.cases) {
    lines.push("", headLine(name), ...figures.map(figureLine));
  }
  for (const [which, missing] of [
    ["a", told.missing.a],
    ["b", told.missing.b],
  ] as const) {
    if (missing.length > 0) lines.push("", `not in ${which}:`, ...missing.map((name) => `  ${name}`));
  }
  return lines;
}

function headLine(name: string): string {
  const columns = [
    "a".padStart(NUMBER_WIDTH),
    "b".padStart(NUMBER_WIDTH),
    "b/a".padStart(RATIO_WIDTH),
    "95 % of b/a".padStart(INTERVAL_WIDTH),
  ];
  const row = "".padEnd(KEY_WIDTH + 2) + columns.join("");
  return name.length <= KEY_WIDTH ? name.padEnd(KEY_WIDTH + 2) + row.slice(KEY_WIDTH + 2) : `${name}\n${row}`;
}

function figureLine({ key, a, b, ratio, interval, verdict, note }: ComparedFigure): string {
  const columns = [
    formatFigure(a).padStart(NUMBER_WIDTH),
    formatFigure(b).padStart(NUMBER_WIDTH),
    (ratio === null ? "-" : ratio.toFixed(3)).padStart(RATIO_WIDTH),
    (interval === null ? "" : interval.map((end) => end.toFixed(3)).join(" to ")).padStart(INTERVAL_WIDTH),
  ];
  const said = note === null ? verdict : `${verdict} (${note})`;
  return `  ${key.padEnd(KEY_WIDTH)}${columns.join("")}  ${said}`;
}
