import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { microBench } from "../../bench/micro/micro-bench.ts";
import { runShort } from "./short-run.ts";

const SLOW_MS = 10;
const SLOW_EVERY = 4;

test("microBench's rate counts the runs that are slow now and then, which its p50 does not see", async (t) => {
  let runs = 0;
  const run = async (): Promise<number> => {
    if (runs++ % SLOW_EVERY === 0) await sleep(SLOW_MS);
    return 1;
  };
  const bench = microBench("now and then", () => [
    { name: "case", operationCount: 1, bytesPerOperation: 1, run },
  ]);
  const [record] = await runShort(t, bench, { seconds: 0.7 });
  // A timer may be a millisecond early; a machine that is busy only lowers the rate.
  const rateMax = (SLOW_EVERY * 1000) / (SLOW_MS - 1);
  assert.ok(Number(record?.values["operations_per_s"]) < 1.5 * rateMax, JSON.stringify(record?.values));
  assert.ok(Number(record?.values["p50_ns"]) < SLOW_MS * 1e6);
});
