import assert from "node:assert/strict";
import { test } from "node:test";
import { mixedBench } from "../../bench/scenario/mixed.ts";
import { runShort } from "./short-run.ts";

test("bench mixed measures appends and replay alone and beside each other", async (t) => {
  const records = await runShort(t, mixedBench, { seconds: 0.2 });
  const ratios = records.pop();
  assert.equal(records.length, 5);
  for (const record of records) assert.ok(Number(record.values["messages_per_s"]) > 0, record.name);
  for (const key of ["ingest_vs_alone", "replay_vs_alone"]) assert.ok(Number(ratios?.values[key]) > 0, key);
});
