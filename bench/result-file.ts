import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import * as v from "valibot";
import type { BenchRecord } from "./bench.ts";
import { BenchRefusal } from "./bench-refusal.ts";
import { repositoryRoot, type BenchEnvironment } from "./environment.ts";

export const RESULT_FORMAT = "millrace-bench-1";
const RESULT_BYTES_MAX = 64 * 1024 * 1024;

/** One run of a bench: where, of what, and what came out. */
export interface BenchResult {
  readonly format: typeof RESULT_FORMAT;
  readonly bench: string;
  readonly environment: BenchEnvironment;
  readonly records: readonly BenchRecord[];
}

/** JSON has numbers that a double takes for infinite. */
const finite = v.pipe(v.number(), v.finite());
const figure = v.union([finite, v.string(), v.null()]);
const latencySummary = v.object({
  count: finite,
  min_us: finite,
  mean_us: finite,
  max_us: finite,
  percentiles_us: v.array(v.tuple([finite, finite])),
});
const resultSchema = v.object({
  format: v.literal(RESULT_FORMAT),
  bench: v.string(),
  environment: v.object({
    cpu: v.string(),
    cores: finite,
    memory_mib: finite,
    kernel: v.string(),
    node: v.string(),
    commit: v.nullable(v.string()),
    started_at: v.string(),
    load_average: finite,
    store_file_system: v.string(),
    data_set: v.string(),
    settings: v.record(v.string(), v.union([v.string(), finite])),
  }),
  records: v.array(
    v.object({
      name: v.string(),
      values: v.record(v.string(), figure),
      rounds: v.exactOptional(v.record(v.string(), v.array(finite))),
      latencies: v.exactOptional(v.record(v.string(), latencySummary)),
      sweep: v.exactOptional(v.object({ case: v.string(), parameters: v.record(v.string(), v.string()) })),
      threads: v.exactOptional(v.record(v.string(), finite)),
    }),
  ),
});

/** Where a run's result goes when nobody says: out of git's sight, a name of its own each. */
export function defaultResultPath(bench: string, { started_at: startedAt }: BenchEnvironment): string {
  const directory = path.join(repositoryRoot, ".cache", "bench", "results");
  return path.join(directory, `${startedAt.replaceAll(/[:.]/g, "-")}-${bench}.json`);
}

/** Writes the whole result anew, so that a reader never sees half of one. */
export function writeResult(filePath: string, result: BenchResult): void {
  mkdirSync(path.dirname(path.resolve(filePath)), { recursive: true });
  const temporaryPath = `${filePath}.tmp`;
  writeFileSync(temporaryPath, `${JSON.stringify(result, undefined, 2)}\n`);
  renameSync(temporaryPath, filePath);
}

/** @throws BenchRefusal that names the file where it is none, or one of another format */
export function readResult(filePath: string): BenchResult {
  const action = `Cannot read the result ${filePath}`;
  let parsed: unknown;
  try {
    const text = readFileSync(filePath, "utf8");
    if (text.length > RESULT_BYTES_MAX) throw new Error(`over ${RESULT_BYTES_MAX} bytes`);
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new BenchRefusal(`${action}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  const checked = v.safeParse(resultSchema, parsed);
  if (checked.success) return checked.output;
  const [issue] = checked.issues;
  const where = v.getDotPath(issue) ?? "the whole";
  throw new BenchRefusal(`${action}: ${where}: ${issue.message}`);
}
