import assert from "node:assert/strict";
import { test } from "node:test";
import type { ExporterOptions } from "../../src/core/exporter-options.ts";
import type { HTTPConfig } from "../../src/core/stream-definition.ts";
import { AccountKeeper } from "../../src/export/account-keeper.ts";
import type { SendFailure } from "../../src/export/destinations/destination.ts";
import type { BatchResult, BatchTask } from "../../src/export/export-channel.ts";
import { accepted, HeldExports, MESSAGE_BYTES } from "./held-exports.ts";
import { endOf, settled } from "./held-tasks.ts";

const OLD = "http://old.example/";
const NEW = "http://new.example/";
const down: SendFailure = {
  kind: "failed",
  scope: "endpoint",
  pace: "backoff",
  timedOut: false,
  error: "connection refused",
};

/** A stream of its name with one HTTP exporter of its name. */
function http(name: string, config: Partial<HTTPConfig> = {}, options: ExporterOptions = {}) {
  const exporter = { identifier: name, uri: OLD, batchSize: 10, ...config };
  return { exports: { http: [exporter] }, exporters: { [name]: options } };
}

const failed = (task: BatchTask): BatchResult => endOf(task, { outcome: down });

for (const [how, end] of [
  ["fails", failed],
  ["is accepted", accepted],
] as const) {
  test(`an endpoint is not held for ever by a probe that ${how} when its exporter sends elsewhere`, async () => {
    const bench = new HeldExports();
    await bench.add("moves", http("moves"));
    await bench.add("stays", http("stays"));
    assert.deepEqual(bench.out, ["moves", "stays"]);
    await bench.end("moves", failed);
    await bench.end("stays", failed);
    await bench.pass(60_000);
    const [probe, ...others] = bench.out;
    assert.ok(probe !== undefined && others.length === 0, "one batch at a time tries a failing endpoint");
    await bench.update(probe, http(probe, { uri: NEW }));
    await bench.end(probe, end);
    await bench.pass(600_000);
    assert.deepEqual(bench.out, ["moves", "stays"], "each tries its own endpoint");
    assert.equal(bench.tasks.batchOf(probe).task.destination.kind, "http");
    assert.deepEqual(
      bench.out.map((name) => (bench.tasks.batchOf(name).task.destination as { uri: string }).uri).sort(),
      [NEW, OLD],
    );
  });
}

test("a thread that dies with a probe frees the endpoint that the probe was for", async () => {
  const bench = new HeldExports();
  await bench.add("moves", http("moves"));
  await bench.add("stays", http("stays", {}, { paused: true }));
  await bench.end("moves", failed);
  await bench.pass(60_000);
  await bench.update("moves", http("moves", { uri: NEW }));
  await bench.update("stays", http("stays"));
  assert.deepEqual(bench.out, ["moves"]);
  bench.tasks.batchOf("moves").die();
  await settled();
  assert.ok(bench.out.includes("stays"));
});

test("an exporter that is sent elsewhere while a batch is out keeps its position, and the next batch goes there", async () => {
  const bench = new HeldExports();
  await bench.add("moves", http("moves"));
  await bench.update("moves", http("moves", { uri: NEW }));
  assert.equal((bench.tasks.batchOf("moves").task.destination as { uri: string }).uri, OLD);
  await bench.end("moves", accepted);
  const { destination, cursor } = bench.tasks.batchOf("moves").task;
  assert.deepEqual([(destination as { uri: string }).uri, cursor.position], [NEW, 10]);
});

test("a cap that is changed while a batch is out begins full, whatever the batch took", async () => {
  const bench = new HeldExports();
  // A batch of ten is a second of it.
  await bench.add("capped", http("capped", {}, { kbitPerSecondMax: 8 }));
  await bench.update("capped", http("capped", {}, { kbitPerSecondMax: 16 }));
  const nothing = { bodyBytes: 0, payloadBytes: 0, countedBytes: 0 };
  const answer = {
    kind: "sent",
    acceptedMessages: 0,
    acceptedBytes: 0,
    failedMessages: 0,
    error: "",
  } as const;
  // It took less than was expected: that was taken from the bucket of the old cap.
  await bench.end("capped", (task) => endOf(task, { outcome: answer, requests: nothing }));
  let batches = 0;
  for (; bench.out.length > 0; batches += 1) await bench.end("capped", accepted);
  assert.equal(batches, 2, "a second of the new cap");
});

test("a start that moves back while a batch is out is where the next batch begins", async () => {
  const bench = new HeldExports();
  await bench.add("moves", http("moves"));
  await bench.end("moves", accepted);
  await bench.update("moves", http("moves", { startSequenceNumber: 3 }));
  await bench.end("moves", accepted);
  const settlement = bench.tasks.batchOf("moves").task;
  assert.deepEqual([settlement.start?.startSequence, settlement.cursor.position], [3, 20]);
  const account = new AccountKeeper(settlement.cursor);
  account.setStart(3);
  account.rewind({ sequence: 3, payloadOffset: 3 * MESSAGE_BYTES });
  await bench.end("moves", (task) =>
    endOf(task, { outcome: { kind: "passed" }, cursor: account.cursor, isStartSettled: true }),
  );
  const { start, cursor } = bench.tasks.batchOf("moves").task;
  assert.deepEqual([start, cursor.position], [undefined, 3]);
});

test("what a removed exporter has under way is ended when its batch is over, and its removal waits for both", async () => {
  const bench = new HeldExports();
  await bench.add("s", { exports: { s3TaskExecutor: [{ identifier: "a" }] } }, 1);
  const kinds = (): string[] => bench.tasks.held.map(({ task }) => task.kind);
  let isRemoved = false;
  const removed = bench.manager.removeStream("s").then(() => (isRemoved = true));
  await settled();
  assert.deepEqual(kinds(), ["batch"]);
  await bench.end("a", (task) => endOf(task, { outcome: { kind: "progress", sentBytes: 5 } }));
  assert.deepEqual([kinds(), isRemoved], [["cancel"], false]);
  bench.tasks.only().end({ kind: "canceled", notices: [], isEnded: true });
  await removed;
  assert.deepEqual(kinds(), []);
});

test("a request that was called back says nothing of its endpoint", async () => {
  const bench = new HeldExports();
  const uploads = { exports: { s3TaskExecutor: [{ identifier: "k" }] } };
  for (const name of ["removed", "stays"]) await bench.add(name, uploads);
  const [first, second] = bench.tasks.held;
  assert.ok(first?.task.kind === "batch" && first.task.streamId === "removed");
  assert.ok(second?.task.kind === "batch" && first.task.recall !== undefined);
  await bench.update("removed", { exports: {} });
  assert.equal(new Int32Array(first.task.recall)[0], 1);
  assert.equal(new Int32Array(second.task.recall!)[0], 0);
  first.end(endOf(first.task, { outcome: { ...down, error: "aborted" } }));
  await settled();
  // Nor does this one: what is known of the endpoint is what the first said.
  second.end(endOf(second.task, { outcome: { kind: "passed" } }));
  await settled();
  const [state] = bench.manager.states("stays");
  assert.equal(state?.state, "sending");
});
