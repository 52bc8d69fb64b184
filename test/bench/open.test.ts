import assert from "node:assert/strict";
import { test } from "node:test";
import { openBench } from "../../bench/scenario/open.ts";
import { runShort } from "./short-run.ts";

test("bench open keeps its schedule, counts from it, and has all exported", async (t) => {
  const [exporting, alone, ...rest] = await runShort(t, openBench, { rate: 2000, seconds: 0.5 });
  assert.equal(rest.length, 0);
  for (const record of [exporting!, alone!]) {
    // Half a second of 2,000 a second, whatever the engine did.
    assert.equal(record.latencies?.["ack"]?.count, 1000, record.name);
    for (const key of ["ack_p50_us", "ack_p99_99_us", "ack_max_us", "driver_lag_max_us"])
      assert.ok(Number(record.values[key]) > 0, `${record.name}: ${key}`);
    for (const key of ["over_5_ms_share", "over_50_ms_share"]) {
      const share = Number(record.values[key]);
      assert.ok(share >= 0 && share <= 1, `${record.name}: ${key}`);
    }
    const { driver_lag_max_us: lag, ack_max_us: ack } = record.values;
    assert.ok(Number(lag) <= Number(ack), "what the driver was late counts as latency");
  }
  assert.ok(Number(exporting!.values["export_backlog_messages"]) >= 0);
  assert.ok(Number(exporting!.values["export_drained_s"]) >= 0);
  assert.equal(alone!.values["export_backlog_messages"], null);
});
