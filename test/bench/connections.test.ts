import assert from "node:assert/strict";
import { test } from "node:test";
import { connectionsBench } from "../../bench/scenario/connections.ts";
import { runShort } from "./short-run.ts";

test("bench connections shares one load among connections to one stream", async (t) => {
  const records = await runShort(t, connectionsBench, { seconds: 0.1 });
  const ratios = records.pop();
  assert.deepEqual(
    records.map(({ name }) => name),
    ["1 connection", "5 connections", "50 connections"],
  );
  for (const record of records) {
    for (const key of ["messages_per_s", "ack_p50_us", "rss_mib"])
      assert.ok(Number(record.values[key]) > 0, `${record.name}: ${key}`);
  }
  assert.equal(typeof records.at(-1)?.values["kib_per_connection"], "number");
  for (const key of ["connections_5_vs_1", "connections_50_vs_1"])
    assert.equal(ratios?.rounds?.[key]?.length, 1, key);
});
