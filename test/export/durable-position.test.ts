import assert from "node:assert/strict";
import { test } from "node:test";
import { ExportBench, numbered } from "../support/export-bench.ts";
import { definitionWith } from "../support/stream-fixture.ts";
import { streamOptionsDefault } from "../../src/core/stream-options.ts";

const first = { identifier: "first", kinesisStreamName: "k" };
const second = { identifier: "second", kinesisStreamName: "k", startSequenceNumber: 4 };

test("durablePosition is what every enabled exporter has durably passed, and each change of it is told", async (t) => {
  const bench = await ExportBench.start(t);
  const told: (number | undefined)[] = [];
  const manager = bench.manager({ onStatusChange: () => void told.push(manager.durablePosition("s")) });
  const stream = bench.addStream(manager, "s", [first, second]);
  assert.equal(manager.durablePosition("s"), 0, "where the slowest begins");
  manager.onProgress("s", await stream.append(numbered(10)));
  await manager.idle();
  const deadlineMs = Date.now() + 20_000;
  // A cursor is synced within a second, with nothing to be sent.
  while (manager.durablePosition("s") !== 10 && Date.now() < deadlineMs) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.equal(manager.durablePosition("s"), 10);
  assert.equal(told.at(-1), 10);
  const ascending = [...told].sort((one, other) => (one ?? 0) - (other ?? 0));
  assert.deepEqual(told, ascending, "it never goes back");

  const disabled = { ...second, disabled: true };
  manager.updateStream(
    "s",
    definitionWith([{ ...first, disabled: true }, disabled], { name: "s" }),
    streamOptionsDefault,
  );
  assert.equal(manager.durablePosition("s"), undefined, "nobody is enabled");
  const third = { identifier: "third", kinesisStreamName: "k" };
  manager.updateStream("s", definitionWith([first, third], { name: "s" }), streamOptionsDefault);
  assert.equal(manager.durablePosition("s"), 0, "an exporter that was added holds messages again");
});

test("a position that an earlier process left is durable once it was synced anew", async (t) => {
  const bench = await ExportBench.start(t);
  const before = bench.manager();
  const stream = bench.addStream(before, "s", [first]);
  before.onProgress("s", await stream.append(numbered(3)));
  await before.idle();
  await before.close({ deadlineMs: 5000 });

  const told: (number | undefined)[] = [];
  const manager = bench.manager({ onStatusChange: () => void told.push(manager.durablePosition("s")) });
  bench.addStream(manager, "s", [first]);
  assert.equal(manager.durablePosition("s"), 0);
  manager.onProgress("s", stream.progress);
  const deadlineMs = Date.now() + 20_000;
  while (told.length === 0 && Date.now() < deadlineMs)
    await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(told, [3]);
});
