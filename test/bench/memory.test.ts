import assert from "node:assert/strict";
import { test } from "node:test";
import { memoryBench } from "../../bench/scenario/memory.ts";
import { runShort } from "./short-run.ts";

test("bench memory follows an engine from idle over all its work to idle", async (t) => {
  const records = await runShort(t, memoryBench, { seconds: 0.2 });
  assert.deepEqual(
    records.map(({ name }) => name),
    [
      "idle, no streams",
      "start of a stream",
      "append 64 KiB batches",
      "fill a second stream",
      "append and replay",
      "replay",
      "export",
      "idle again",
    ],
  );
  for (const { name, values } of records) {
    const { rss_min_mib: least, rss_median_mib: middle, rss_max_mib: most } = values;
    assert.ok(Number(least) > 20 && Number(least) <= Number(middle) && Number(middle) <= Number(most), name);
    assert.ok(Number(values["anonymous_median_mib"]) > 0 && Number(values["file_median_mib"]) > 0, name);
  }
});
