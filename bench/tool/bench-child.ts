import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { BenchRefusal } from "../bench-refusal.ts";
import { endWithBench } from "../clean-up.ts";
import { readResult, type BenchResult } from "../result-file.ts";

const runScript = path.join(import.meta.dirname, "..", "run.js");
const STDERR_CHARACTERS_MAX = 8192;

/** What every run of a bench may be given: `--case`, `--seconds` and the like, as they were written. */
export const passedOptions = {
  case: { type: "string" },
  seconds: { type: "string" },
  rate: { type: "string" },
  "data-set": { type: "string" },
  store: { type: "string" },
} as const;

export interface BenchChildOptions {
  readonly bench: string;
  readonly passed: Readonly<Partial<Record<keyof typeof passedOptions, string>>>;
  /** Where its result goes. */
  readonly outPath: string;
  readonly variables?: Readonly<Record<string, string>>;
  readonly nodeArgs?: readonly string[];
  readonly benchArgs?: readonly string[];
}

/** Runs a bench in a process of its own. @throws BenchRefusal with what the run said when it failed */
export async function runBenchChild(options: BenchChildOptions): Promise<BenchResult> {
  const { bench, passed, outPath, variables = {}, nodeArgs = [], benchArgs = [] } = options;
  const given = Object.keys(passedOptions)
    .map((name) => [name, passed[name as keyof typeof passedOptions]] as const)
    .flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, value]));
  const args = [...nodeArgs, runScript, bench, "--json", "--out", outPath, ...given, ...benchArgs];
  const child = endWithBench(
    spawn(process.execPath, args, {
      // Under the test runner's own variable a child would report to it instead of running as it is.
      env: { ...process.env, NODE_TEST_CONTEXT: undefined, ...variables },
      stdio: ["ignore", "ignore", "pipe"],
    }),
    // It ends what it has started itself.
    "SIGTERM",
  );
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(-STDERR_CHARACTERS_MAX);
  });
  const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
  if (code === 0) return readResult(outPath);
  throw new BenchRefusal(`the run of ${bench} ended with ${code ?? signal ?? "nothing"}: ${stderr.trim()}`);
}
