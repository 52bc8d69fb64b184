import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TestContext } from "node:test";
import type { Bench, BenchOptions, BenchRecord } from "../../bench/bench.ts";
import { createInferenceDataSet } from "../../bench/data-set.ts";

/** All records of a bench that is given little time. It must leave no store behind. */
export async function runShort(
  t: TestContext,
  bench: Bench,
  options: Partial<BenchOptions> = {},
): Promise<BenchRecord[]> {
  const storeRoot = mkdtempSync(path.join(tmpdir(), "millrace-bench-test-"));
  t.after(() => rmSync(storeRoot, { recursive: true, force: true }));
  const records: BenchRecord[] = [];
  const run = bench.run({
    caseFilter: "",
    seconds: 0.2,
    storeRoot,
    profileDirectory: undefined,
    createDataSet: createInferenceDataSet,
    ...options,
  });
  for await (const record of run) records.push(record);
  assert.deepEqual(readdirSync(storeRoot), [], "no store is left behind");
  return records;
}
