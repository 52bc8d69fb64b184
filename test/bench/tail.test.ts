import assert from "node:assert/strict";
import { test } from "node:test";
import { tailBench } from "../../bench/scenario/tail.ts";
import { runShort } from "./short-run.ts";

test("bench tail times every message to every subscriber", async (t) => {
  const records = await runShort(t, tailBench, { seconds: 0.2, rate: 500 });
  assert.deepEqual(
    records.map(({ name, latencies }) => [name, latencies?.["push"]?.count, latencies?.["ack"]?.count]),
    [
      ["1 subscriber", 100, 100],
      ["8 subscribers", 800, 100],
      ["64 subscribers", 6400, 100],
    ],
  );
  for (const record of records) {
    for (const key of ["push_p50_us", "push_p99_us", "push_max_us", "driver_lag_max_us"])
      assert.ok(Number(record.values[key]) > 0, `${record.name}: ${key}`);
  }
});
