import { Bench as Tinybench } from "tinybench";
import type { Bench, BenchOptions, BenchRecord } from "../bench.ts";
import { roundTo } from "../statistics.ts";

const NS_PER_MS = 1e6;
const WARM_UP_MS_MAX = 250;
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
  summary: string,
  createCases: (options: BenchOptions) => readonly MicroCase[],
): Bench {
  return {
    name,
    summary,
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
  const bench = new Tinybench({ time: timeMs, iterations: 1, warmupTime: Math.min(timeMs, WARM_UP_MS_MAX) });
  bench.add(name, async () => {
    last = await run();
  });
  const [task] = await bench.run();
  const result = task?.result;
  if (result?.state !== "completed") {
    throw new Error(`cannot measure "${name}": ${result?.state ?? "no task"}`);
  }
  if (last !== checksum) throw new Error(`"${name}" gave ${last} after ${checksum}`);
  const nsPerOperation = (ms: number): number => (ms * NS_PER_MS) / operationCount;
  const p50Ns = nsPerOperation(result.latency.p50);
  const values = {
    operations_per_s: Math.round(1e9 / p50Ns),
    mib_per_s: roundTo((bytesPerOperation / MIB) * (1e9 / p50Ns), 4),
    p50_ns: roundTo(p50Ns, 4),
    p99_ns: roundTo(nsPerOperation(result.latency.p99), 4),
    checksum,
  };
  return { name, values };
}
