import assert from "node:assert/strict";
import { test } from "node:test";
import { streamsBench } from "../../bench/scenario/streams.ts";
import { runShort } from "./short-run.ts";

test("bench streams appends to many streams in turn", async (t) => {
  const records = await runShort(t, streamsBench, { seconds: 0.1, caseFilter: "64 KiB" });
  const ratios = records.pop();
  assert.deepEqual(
    records.map(({ name }) => name),
    ["1 stream", "5 streams in turn", "50 streams in turn"].map((kind) => `64 KiB batches, ${kind}`),
  );
  for (const record of records) {
    for (const key of ["messages_per_s", "ack_p50_us", "rss_mib", "bytes_per_accepted_byte"])
      assert.ok(Number(record.values[key]) > 0, `${record.name}: ${key}`);
  }
  for (const key of ["streams_5_vs_1_64_kib", "streams_50_vs_1_64_kib"])
    assert.equal(ratios?.rounds?.[key]?.length, 1, key);
});

test("bench streams says what each stream takes", async (t) => {
  const [memory, ...rest] = await runShort(t, streamsBench, { seconds: 0.1, caseFilter: "memory" });
  assert.equal(rest.length, 0);
  for (const key of ["kib_per_stream", "rss_kib_per_stream"])
    assert.equal(typeof memory?.values[key], "number", key);
});
