// When a process was measured, on the clock that CPU profiles have too: a profile covers the whole life of a thread, start and end among it.
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { PerformanceMeasure, performance } from "node:perf_hooks";
import * as v from "valibot";

const MEASURE_NAME = "millrace-bench";
const US_PER_MS = 1000;

/** Microseconds of the monotonic clock. */
export interface MeasuredWindow {
  readonly pid: number;
  readonly startUs: number;
  readonly endUs: number;
}

/** Keeps that the process was measured from `startMs` of `performance.now()` until now. */
export function noteMeasured(pid: number, startMs: number): void {
  performance.measure(MEASURE_NAME, { start: startMs, end: performance.now(), detail: { pid } });
}

/** All that was kept, for the directory of the profiles. */
export function writeMeasuredWindows(directory: string): void {
  const offsetUs = Number(process.hrtime.bigint() / 1000n) - performance.now() * US_PER_MS;
  const entries = performance
    .getEntriesByName(MEASURE_NAME)
    .filter((entry) => entry instanceof PerformanceMeasure);
  const windows = entries.map((entry): MeasuredWindow => {
    const { pid } = entry.detail as { pid: number };
    const startUs = offsetUs + entry.startTime * US_PER_MS;
    return { pid, startUs: Math.round(startUs), endUs: Math.round(startUs + entry.duration * US_PER_MS) };
  });
  writeFileSync(windowsPath(directory), JSON.stringify(windows));
}

const windowsSchema = v.array(v.object({ pid: v.number(), startUs: v.number(), endUs: v.number() }));

export function readMeasuredWindows(directory: string): MeasuredWindow[] {
  return v.parse(windowsSchema, JSON.parse(readFileSync(windowsPath(directory), "utf8")));
}

function windowsPath(directory: string): string {
  return path.join(directory, "measured.json");
}
