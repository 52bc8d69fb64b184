import assert from "node:assert/strict";
import { test } from "node:test";
import { replayBench } from "../../bench/scenario/replay.ts";
import { runShort } from "./short-run.ts";

test("bench replay reads a stored stream whole in every way", async (t) => {
  const records = await runShort(t, replayBench, { seconds: 0.05 });
  // Only root may empty the page cache.
  const names = records.map(({ name }) => name).filter((name) => !name.includes("page cache"));
  assert.deepEqual(names, [
    "by subscription",
    "by subscription, 4 readers",
    "by subscribe() of the client",
    "by readMessages() of the client",
  ]);
  for (const record of records) {
    for (const key of ["messages_per_s", "mib_per_s", "rss_mib"])
      assert.ok(Number(record.values[key]) > 0, `${record.name}: ${key}`);
  }
});
