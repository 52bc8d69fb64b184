// `npm run bench -- profile <bench> --case …`
import { mkdirSync } from "node:fs";
import path from "node:path";
import type { BenchRecord } from "../bench.ts";
import { BenchRefusal } from "../bench-refusal.ts";
import { BenchUsageError } from "../bench-usage-error.ts";
import { repositoryRoot } from "../environment.ts";
import { readMeasuredWindows } from "../measured-windows.ts";
import { passedOptions, runBenchChild } from "./bench-child.ts";
import type { ToolContext } from "./bench-tool.ts";
import { readThreads, type ProfiledThread } from "./profiled-threads.ts";
import { integerOption, parseToolArgs } from "./tool-args.ts";

const TOP_DEFAULT = 15;
const TOP_MAX = 1000;
const PLACES_SHOWN = 6;
const BYTES_PER_MIB = 2 ** 20;
const BYTES_PER_GB = 1e9;

const usage = `Usage: npm run bench -- profile <bench> --case <text> [options]

Runs the bench with a CPU profile of every thread of the engine and of the driver, and says which thread was busy and with what.

Options:
  --top <n>         functions of each thread; ${TOP_DEFAULT} without it
  --dir <dir>       where the profiles go; else below .cache/bench/profiles
  --case, --seconds, --rate, --data-set, --store   as of the bench itself
  --json            one JSON object
`;

/** Profiles a bench and prints where each thread's time went. */
export async function profile(args: readonly string[], { benches }: ToolContext): Promise<void> {
  const { values, positionals } = parseToolArgs(args, {
    ...passedOptions,
    top: { type: "string", default: String(TOP_DEFAULT) },
    dir: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  });
  if (values.help) {
    process.stdout.write(usage);
    return;
  }
  const [bench, ...rest] = positionals;
  if (bench === undefined || rest.length > 0 || !Object.hasOwn(benches, bench))
    throw new BenchUsageError(
      `"${positionals.join(" ")}" is no bench; profile takes one of ${Object.keys(benches).join(", ")}`,
    );
  const top = integerOption("top", values.top, { min: 1, max: TOP_MAX });
  const directory = path.resolve(values.dir ?? defaultDirectory(bench));
  const [engineDirectory, driverDirectory] = [path.join(directory, "engine"), path.join(directory, "driver")];
  for (const one of [engineDirectory, driverDirectory]) mkdirSync(one, { recursive: true });
  const { records } = await runBenchChild({
    bench,
    passed: values,
    outPath: path.join(directory, "result.json"),
    nodeArgs: ["--cpu-prof", `--cpu-prof-dir=${driverDirectory}`],
    benchArgs: ["--profile", engineDirectory],
  });
  const windows = readMeasuredWindows(engineDirectory);
  const threads = readThreads([engineDirectory, driverDirectory], { windows, top });
  if (threads.length === 0) throw new BenchRefusal(`the run of ${bench} left no profile in ${directory}`);
  if (values.json) process.stdout.write(`${JSON.stringify({ bench, directory, threads, records })}\n`);
  else for (const line of profileLines({ directory, threads, records })) process.stdout.write(`${line}\n`);
}

function defaultDirectory(bench: string): string {
  const time = new Date().toISOString().replaceAll(/[:.]/g, "-");
  return path.join(repositoryRoot, ".cache", "bench", "profiles", `${time}-${bench}`);
}

const NAME_WIDTH = 40;
const FUNCTION_WIDTH = 46;

function profileLines({
  directory,
  threads,
  records,
}: {
  readonly directory: string;
  readonly threads: readonly ProfiledThread[];
  readonly records: readonly BenchRecord[];
}): string[] {
  const lines = [
    "".padEnd(NAME_WIDTH) +
      ["busy", "idle", "gc", "program", "of, s"].map((head) => head.padStart(9)).join(""),
    ...threads.map((thread) => nameOf(thread).padEnd(NAME_WIDTH) + sharesOf(thread)),
    "",
    "busy: all but waiting, so also the time in which another thread had the core. program: native code outside of any function.",
  ];
  if (threads.some(({ isWindowed }) => !isWindowed))
    lines.push(
      "This bench does not say when it measures: shares are of each thread's whole life, start and end among it.",
    );
  if (!threads.some(({ name }) => name.startsWith("engine")))
    lines.push("No thread of an engine is among them: this bench starts none, or none with a profile.");
  for (const record of records) lines.push(...coreLines(record));
  for (const thread of threads) {
    const places = thread.places
      .slice(0, PLACES_SHOWN)
      .map(({ place, share }) => `${place} ${percent(share)}`);
    lines.push("", `${nameOf(thread)}, own time: ${places.join(", ")}`);
    for (const { name, where, share } of thread.functions)
      lines.push(`${percent(share).padStart(9)}  ${name.padEnd(FUNCTION_WIDTH - 2)}  ${where}`.trimEnd());
  }
  return [
    ...lines,
    "",
    `profiles, for Chrome's DevTools or speedscope: ${path.relative(process.cwd(), directory)}`,
    ...threads.map(({ name, file }) => `  ${name}: ${path.relative(directory, file)}`),
  ];
}

function nameOf({ name, pid }: ProfiledThread): string {
  return `${name} (pid ${pid})`;
}

function sharesOf({ summary: { busy, idle, garbageCollection, program, seconds } }: ProfiledThread): string {
  const shares = [busy, idle, garbageCollection, program].map(percent);
  return [...shares, seconds.toFixed(2)].map((text) => text.padStart(9)).join("");
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

/** How much of a core each thread had as the kernel counts it, which no waiting for a core swells. */
function coreLines({ name, values, threads }: BenchRecord): string[] {
  const { mib_per_s: mibPerS } = values;
  if (threads === undefined || typeof mibPerS !== "number") return [];
  const gbPerS = (mibPerS * BYTES_PER_MIB) / BYTES_PER_GB;
  const cores = Object.entries(threads).map(
    ([thread, cpuSPerGb]) => `${thread} ${(cpuSPerGb * gbPerS).toFixed(2)}`,
  );
  return ["", `cores in use while measuring "${name}", as the kernel counts:`, `  ${cores.join(", ")}`];
}
