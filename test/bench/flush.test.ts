import assert from "node:assert/strict";
import { test } from "node:test";
import { flushBench } from "../../bench/scenario/flush.ts";
import { runShort } from "./short-run.ts";

test("bench flush counts the syncs of awaited appends and of producers beside each other", async (t) => {
  const records = await runShort(t, flushBench, { seconds: 0.2, caseFilter: "awaited" });
  const disk = records.pop();
  assert.ok(Number(disk?.values["syncs_per_s"]) > 0 && Number(disk?.values["sync_p50_us"]) > 0);
  const [one, , many] = records;
  assert.deepEqual(
    records.map(({ name }) => name.replace("append one message awaited", "")),
    ["", ", 8 producers", ", 64 producers"],
  );
  // Whoever waits alone has a sync for each message, those who wait together share it; a roll syncs by itself.
  assert.ok(Number(one?.values["messages_per_sync"]) <= 1);
  assert.ok(Number(many?.values["messages_per_sync"]) > 1);
});
