import assert from "node:assert/strict";
import { test } from "node:test";
import { compressedBench } from "../../bench/scenario/compressed.ts";
import { runShort } from "./short-run.ts";

test("bench compressed measures what producer and engine cost together, compressed and plain", async (t) => {
  const records = await runShort(t, compressedBench, { caseFilter: "sensor-lines, 64 KiB" });
  assert.deepEqual(
    records.map(({ name }) => name),
    ["plain", "lz4", "lz4 / plain"].map((way) => `sensor-lines, 64 KiB, ${way}`),
  );
  const [plain, lz4, ratios] = records.map(({ values }) => values);
  for (const key of ["messages_per_s", "cpu_s_per_gb", "bytes_per_accepted_byte"])
    for (const values of [plain!, lz4!]) assert.ok(Number(values[key]) > 0, key);
  assert.ok(Number(plain!["wire_bytes_per_accepted_byte"]) > 1);
  assert.ok(Number(lz4!["wire_bytes_per_accepted_byte"]) < 0.5);
  assert.equal(Object.keys(ratios!).length, 5);
  for (const [key, ratio] of Object.entries(ratios!)) assert.ok(Number(ratio) > 0, key);
});
