import { Bench as Tinybench } from "tinybench";
import type { Bench, BenchOptions, BenchRecord } from "../bench.ts";
import { roundTo } from "../statistics.ts";

const MS_PER_NS = 1e6;
const WARM_UP_MS_MAX = 250;
const MIB = 1024 * 1024;

/** One case: `run` does `operationCount` operations, since a clock read costs as much as many of them do. */
export interface MicroCase {
  readonly name: string;
  readonly operationCount: number;
  /** Bytes that one operation goes through. */
  readonly bytesPerOperation: number;
  /** @returns a number that depends on everything the operations gave, so that none of them can be left out */
  readonly run: () => number;
}

export function microBench(name: string, summary: string, createCases: () => readonly MicroCase[]): Bench {
  return {
    name,
    summary,
    secondsDefault: 1,
    settings: {},
    run: (options) => runMicro(createCases(), options),
  };
}

async function* runMicro(
  cases: readonly MicroCase[],
  { caseFilter, seconds }: BenchOptions,
): AsyncGenerator<BenchRecord> {
  for (const { name, operationCount, bytesPerOperation, run } of cases) {
    if (!name.includes(caseFilter)) continue;
    // The same work gives the same number on every machine and after every change that should change nothing.
    const checksum = run();
    const timeMs = seconds * 1000;
    const bench = new Tinybench({
      time: timeMs,
      iterations: 1,
      warmupTime: Math.min(timeMs, WARM_UP_MS_MAX),
    });
    let last = checksum;
    bench.add(name, () => {
      last = run();
    });
    const [task] = await bench.run();
    const result = task?.result;
    if (result?.state !== "completed")
      throw new Error(`cannot measure "${name}": ${result?.state ?? "no task"}`);
    if (last !== checksum) throw new Error(`"${name}" gave ${last} after ${checksum}`);
    const nsPerOperation = (ms: number): number => (ms * MS_PER_NS) / operationCount;
    const p50Ns = nsPerOperation(result.latency.p50);
    yield {
      name,
      operations_per_s: Math.round(1e9 / p50Ns),
      mib_per_s: roundTo((bytesPerOperation / MIB) * (1e9 / p50Ns), 4),
      p50_ns: roundTo(p50Ns, 4),
      p99_ns: roundTo(nsPerOperation(result.latency.p99), 4),
      checksum,
    };
  }
}
