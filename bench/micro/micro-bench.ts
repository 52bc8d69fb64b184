import { Bench as Tinybench } from "tinybench";
import type { Bench, BenchOptions, BenchRecord } from "../bench.ts";
import { median, roundTo } from "../statistics.ts";

const NS_PER_MS = 1e6;
const WARM_UP_MS_MAX = 250;
/** Of one case after another: enough of them to see how far they are apart. */
const ROUNDS = 7;
const DIGITS = 4;
const MIB = 1024 * 1024;

/** One case: `run` does `operationCount` operations, since a clock read costs as much as many of them do. */
export interface MicroCase {
  readonly name: string;
  readonly operationCount: number;
  /** Bytes that one operation goes through. */
  readonly bytesPerOperation: number;
  /** @returns a number that depends on everything the operations gave, so that none of them can be left out */
  readonly run: () => number | Promise<number>;
  readonly close?: () => Promise<void>;
}

export function microBench(
  name: string,
  createCases: (options: BenchOptions) => readonly MicroCase[],
): Bench {
  return {
    name,
    secondsDefault: 1,
    settings: {},
    run: (options) => runMicro(createCases(options), options),
  };
}

async function* runMicro(cases: readonly MicroCase[], options: BenchOptions): AsyncGenerator<BenchRecord> {
  try {
    for (const microCase of cases) {
      if (microCase.name.includes(options.caseFilter)) yield await measure(microCase, options.seconds * 1000);
    }
  } finally {
    for (const { close } of cases) await close?.();
  }
}

async function measure(
  { name, operationCount, bytesPerOperation, run }: MicroCase,
  timeMs: number,
): Promise<BenchRecord> {
  // The same work gives the same number on every machine and after every change that should change nothing.
  const checksum = await run();
  let last = checksum;
  const runOnce = async (): Promise<void> => {
    last = await run();
  };
  const nsPerOperation = (ms: number): number => (ms * NS_PER_MS) / operationCount;
  const rounds = { operations_per_s: [] as number[], p50_ns: [] as number[], p99_ns: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    const warmupTime = round === 0 ? Math.min(timeMs, WARM_UP_MS_MAX) : 0;
    const { mean, p50, p99 } = await measureRound(name, runOnce, { time: timeMs / ROUNDS, warmupTime });
    // All operations over all of their time: what is slow now and then, a collection for one, counts.
    rounds.operations_per_s.push(Math.round(1e9 / nsPerOperation(mean)));
    rounds.p50_ns.push(roundTo(nsPerOperation(p50), DIGITS));
    rounds.p99_ns.push(roundTo(nsPerOperation(p99), DIGITS));
  }
  if (last !== checksum) throw new Error(`"${name}" gave ${last} after ${checksum}`);
  const operationsPerS = median(rounds.operations_per_s);
  const values = {
    operations_per_s: operationsPerS,
    mib_per_s: roundTo((bytesPerOperation / MIB) * operationsPerS, DIGITS),
    p50_ns: median(rounds.p50_ns),
    p99_ns: median(rounds.p99_ns),
    checksum,
  };
  return { name, values, rounds };
}

async function measureRound(
  name: string,
  run: () => Promise<void>,
  { time, warmupTime }: { readonly time: number; readonly warmupTime: number },
): Promise<{ readonly mean: number; readonly p50: number; readonly p99: number }> {
  const bench = new Tinybench({ time, iterations: 1, warmup: warmupTime > 0, warmupTime });
  bench.add(name, run);
  const [task] = await bench.run();
  const result = task?.result;
  if (result?.state !== "completed") {
    throw new Error(`cannot measure "${name}": ${result?.state ?? "no task"}`);
  }
  return result.latency;
}
