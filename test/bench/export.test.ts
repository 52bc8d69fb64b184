import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import type { BenchRecord } from "../../bench/bench.ts";
import { createInferenceDataSet } from "../../bench/data-set.ts";
import { exportBench } from "../../bench/scenario/export.ts";

import { runShort } from "./short-run.ts";

const SCENARIO_S = 0.2;

test("bench export sends everything with one request in flight and with four, and so does the SDK alone", async (t) => {
  const storeRoot = mkdtempSync(path.join(tmpdir(), "millrace-bench-test-"));
  t.after(() => rmSync(storeRoot, { recursive: true, force: true }));
  const records: BenchRecord[] = [];
  const options = {
    caseFilter: "",
    seconds: SCENARIO_S,
    storeRoot,
    profileDirectory: undefined,
    createDataSet: createInferenceDataSet,
  };
  for await (const record of exportBench.run(options)) records.push(record);
  assert.deepEqual(
    records.map(({ name }) => name),
    [1, 4].flatMap((count) => [`the SDK alone, ${count} in flight`, `an exporter, ${count} in flight`]),
  );
  for (const record of records) {
    for (const key of [
      "messages_per_s",
      "sender_cpu_s_per_gb",
      "endpoint_cpu_s_per_gb",
      "records_per_request",
    ])
      assert.ok(Number(record.values[key]) > 0, `${record.name}: ${key}`);
  }
  for (const exporter of [records[1]!, records[3]!]) {
    for (const key of ["vs_sdk", "added_rss_mib"])
      assert.ok(Number(exporter.values[key]) > 0, `${exporter.name}: ${key}`);
    assert.equal(exporter.rounds?.["vs_sdk"]?.length, 1);
  }
  assert.deepEqual(readdirSync(storeRoot), [], "no store is left behind");
});

test("bench export finds a case by any part of a row's name, and gives the rows that have it", async (t) => {
  const records = await runShort(t, exportBench, { caseFilter: "an exporter, 1", seconds: SCENARIO_S });
  assert.deepEqual(
    records.map(({ name }) => name),
    ["an exporter, 1 in flight"],
  );
  assert.ok(Number(records[0]?.values["vs_sdk"]) > 0);
});
