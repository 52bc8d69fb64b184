import assert from "node:assert/strict";
import { test } from "node:test";
import type { ExporterOptions } from "../../src/core/exporter-options.ts";
import { Persistence } from "../../src/core/stream-definition.ts";
import type { CancelTask } from "../../src/export/export-channel.ts";
import { isRedriveId } from "../../src/export/redrives.ts";
import { accepted, HeldExports, MESSAGE_BYTES } from "./held-exports.ts";
import { endOf, settled } from "./held-tasks.ts";

const onDisk = { persistence: Persistence.File };
const target = { companionId: "companion", sourceId: "s", identifier: "k" };
const kinesis = { kinesis: [{ identifier: "k", kinesisStreamName: "k", batchSize: 10 }] };
const uploads = { s3TaskExecutor: [{ identifier: "k" }] };

test("a redrive and its exporter together keep to the exporter's cap", async () => {
  const bench = new HeldExports();
  // A batch of ten a second.
  const options: ExporterOptions = { kbitPerSecondMax: (8 * 10 * MESSAGE_BYTES) / 1000 };
  await bench.add("companion", { exports: {}, ...onDisk });
  await bench.add("s", { exports: kinesis, exporters: { k: options }, ...onDisk });
  bench.manager.redrives.start(target);
  const sent = { exporter: 0, redrive: 0 };
  for (let ms = 0; ms <= 8000; ms += 100) {
    await bench.pass(100);
    for (const { task, end } of bench.tasks.held) {
      assert.ok(task.kind === "batch");
      sent[task.isRedrive ? "redrive" : "exporter"] += 1;
      end(accepted(task));
      await settled();
    }
  }
  const { exporter, redrive } = sent;
  assert.ok(exporter + redrive >= 8 && exporter + redrive <= 11, JSON.stringify(sent));
  assert.ok(exporter >= 3 && redrive >= 3, JSON.stringify(sent));
});

test("a redrive has no share of its own beside its exporter's", async () => {
  const bench = new HeldExports();
  const slow = { kinesis: [{ identifier: "k", kinesisStreamName: "k", batchSize: 10, priority: 10 }] };
  const fast = { kinesis: [{ identifier: "b", kinesisStreamName: "b", batchSize: 10, priority: 1 }] };
  await bench.add("companion", { exports: {}, ...onDisk }, 1000);
  await bench.add("s", { exports: slow, exporters: { k: { minSharePercent: 20 } }, ...onDisk }, 1000);
  await bench.add("better", { exports: fast, ...onDisk }, 10_000);
  bench.manager.redrives.start(target);
  await settled();
  const sent = { k: 0, b: 0, redrive: 0 };
  for (let batch = 0; batch < 300; batch += 1) {
    const [first] = bench.tasks.held;
    assert.ok(first?.task.kind === "batch");
    sent[first.task.isRedrive ? "redrive" : (first.task.identifier as "k" | "b")] += 1;
    first.end(accepted(first.task));
    await settled();
  }
  const all = sent.k + sent.b + sent.redrive;
  assert.ok(sent.k / all > 0.18 && sent.k / all < 0.23, JSON.stringify(sent));
  assert.ok(sent.redrive / all < 0.02, JSON.stringify(sent));
});

for (const [what, remove] of [
  ["its exporter is removed", (bench: HeldExports) => bench.update("s", { exports: {}, ...onDisk })],
  ["its stream is removed", (bench: HeldExports) => bench.manager.removeStream("s")],
  ["the companion is removed", (bench: HeldExports) => bench.manager.removeStream("companion")],
] as const) {
  test(`the upload of a redrive is ended when ${what}, and no other begins on its position before`, async () => {
    const bench = new HeldExports();
    await bench.add("companion", { exports: {}, ...onDisk });
    await bench.add("s", { exports: uploads, ...onDisk }, 0);
    bench.manager.redrives.start(target);
    await settled();
    await bench.end("k", (task) => endOf(task, { outcome: { kind: "progress", sentBytes: 5 } }));
    assert.deepEqual(bench.out, ["k"], "the next part");
    let isRemoved = false;
    const removed = remove(bench).then(() => (isRemoved = true));
    await settled();
    assert.equal(bench.manager.redrives.isEnding(target), true);
    await bench.end("k", (task) => endOf(task, { outcome: { kind: "progress", sentBytes: 5 } }));
    const canceled: CancelTask[] = [];
    for (let turns = 0; turns < 20; turns += 1) {
      for (const { task, end } of bench.tasks.held) {
        if (task.kind === "cancel") {
          canceled.push(task);
          if (isRedriveId(task.exporterId)) assert.equal(bench.manager.redrives.isEnding(target), true);
          end({ kind: "canceled", notices: [], isEnded: true });
        } else if (task.kind === "forget") end({ kind: "cursors", files: [], error: "" });
        else assert.fail(`a ${task.kind} task is out`);
      }
      await settled();
    }
    const [ofRedrive, ...others] = canceled.filter(({ exporterId }) => isRedriveId(exporterId));
    assert.ok(ofRedrive !== undefined && others.length === 0, JSON.stringify(canceled));
    assert.deepEqual([ofRedrive.streamDirectory, ofRedrive.streamName], ["/nowhere/companion", "s"]);
    await removed;
    assert.ok(isRemoved);
    assert.equal(bench.manager.redrives.isEnding(target), false);
  });
}
