import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { Persistence } from "../../src/core/stream-definition.ts";
import { LossReason } from "../../src/core/stream-ledger.ts";
import type { ExportManager } from "../../src/export/export-manager.ts";
import { ExportPool, type TaskPool } from "../../src/export/export-pool.ts";
import { addsUp } from "../../src/export/live-account.ts";
import { SharedMemoryStorage } from "../../src/log/shared-memory-storage.ts";
import { ExportBench, numbered } from "../support/export-bench.ts";
import { KeptMemory } from "../support/kept-memory.ts";
import { definitionWith, StreamFixture } from "../support/stream-fixture.ts";
import { streamOptionsDefault } from "../../src/core/stream-options.ts";
import { destinationEnvironmentDefault } from "../../src/export/worker-settings.ts";

const config = { identifier: "k", kinesisStreamName: "target" };

function statusOf(manager: ExportManager, streamId = "s") {
  const [status] = manager.statuses(streamId);
  assert.ok(status !== undefined);
  return status;
}

test("ExportManager sends every message once, in order, and tells so in the status", async (t) => {
  const bench = await ExportBench.start(t);
  const manager = bench.manager();
  const stream = bench.addStream(manager, "s", [config]);
  assert.deepEqual(manager.statuses("s"), [
    {
      exportConfigIdentifier: "k",
      lastExportedSequenceNumber: -1,
      lastExportTime: 0,
      errorMessage: "",
      exportedBytesFromStream: 0,
      exportedMessagesCount: 0,
    },
  ]);
  manager.onProgress("s", await stream.append(numbered(1200)));
  await manager.idle();
  assert.deepEqual(bench.server.storedIn("target"), numbered(1200));
  assert.deepEqual(
    bench.server.requests.map(({ data }) => data.length),
    [500, 500, 200],
  );
  const keys = bench.server.requests.flatMap((request) => request.keys);
  assert.equal(new Set(keys).size, 1200);
  assert.equal(bench.server.connections, 1, "one kept-alive connection");
  const status = statusOf(manager);
  assert.equal(status.lastExportedSequenceNumber, 1199);
  assert.equal(status.exportedMessagesCount, 1200);
  assert.equal(status.exportedBytesFromStream, numbered(1200).join("").length);
  assert.equal(status.errorMessage, "");
  assert.ok(status.lastExportTime > 0);
});

test("ExportManager sends again exactly the failed records of a PutRecords, before anything newer", async (t) => {
  const bench = await ExportBench.start(t);
  bench.server.answer = (_, index) =>
    index === 0
      ? { kind: "partial", failed: [1, 4] }
      : index === 1
        ? { kind: "partial", failed: [0] }
        : { kind: "accept" };
  const manager = bench.manager();
  const stream = bench.addStream(manager, "s", [{ ...config, batchSize: 5 }]);
  manager.onProgress("s", await stream.append(numbered(7)));
  await manager.idle();
  assert.deepEqual(
    bench.server.requests.map(({ data }) => data),
    [numbered(5), ["message 1", "message 4"], ["message 1"], ["message 5", "message 6"]],
  );
  assert.equal(statusOf(manager).exportedMessagesCount, 7);
  assert.equal(statusOf(manager).exportedBytesFromStream, numbered(7).join("").length);
});

test("ExportManager goes on at its cursor after a restart, and starts where the configuration says", async (t) => {
  const bench = await ExportBench.start(t);
  const first = bench.manager();
  const configs = [config, { identifier: "../later", kinesisStreamName: "late", startSequenceNumber: 8 }];
  const stream = bench.addStream(first, "s", configs);
  assert.equal(first.statuses("s")[1]?.lastExportedSequenceNumber, 7);
  first.onProgress("s", await stream.append(numbered(10)));
  await first.idle();
  await first.close({ deadlineMs: 5000 });
  const files = readdirSync(path.join(bench.directory, "s", "exporters"));
  for (const file of files) assert.match(file, /^[0-9a-f]{32}\.cursor$/);
  assert.equal(statSync(path.join(bench.directory, "s", "exporters", files[0]!)).mode & 0o777, 0o600);

  const second = bench.manager();
  bench.addStream(second, "s", configs);
  assert.equal(statusOf(second).exportedMessagesCount, 10);
  second.onProgress("s", await stream.append(numbered(5, 10)));
  await second.idle();
  assert.deepEqual(bench.server.storedIn("target"), numbered(15));
  assert.deepEqual(bench.server.storedIn("late"), numbered(7, 8));
});

test("ExportManager syncs a position about a second after it was written, with nothing more to send", async (t) => {
  const bench = await ExportBench.start(t);
  const workers = new ExportPool({
    settings: { storeDirectory: bench.directory, destinations: destinationEnvironmentDefault },
    threadsMax: 1,
    tasksMax: 2,
    environment: undefined,
  });
  const kinds: string[] = [];
  const pool: TaskPool = {
    run: (task) => {
      kinds.push(task.kind);
      return workers.run(task);
    },
    close: () => workers.close(),
  };
  const manager = bench.manager({ pool, threadPoolSize: 1 });
  const stream = bench.addStream(manager, "s", [config]);
  // The first write of a process is on the medium at once.
  for (let batch = 0; batch < 2; batch++) {
    manager.onProgress("s", await stream.append(numbered(3, 3 * batch)));
    await manager.idle();
  }
  for (let tries = 0; kinds.at(-1) !== "sync"; tries++) {
    assert.ok(tries < 100, `tasks: ${kinds.join()}`);
    await after(100);
  }
});

test("ExportManager empties the better priority before the worse one starts", async (t) => {
  const bench = await ExportBench.start(t);
  const manager = bench.manager();
  const worse = bench.addStream(manager, "worse", [
    { identifier: "w", kinesisStreamName: "worse", priority: 10 },
  ]);
  const better = bench.addStream(manager, "better", [
    { identifier: "b", kinesisStreamName: "better", priority: 1, batchSize: 10 },
  ]);
  const progress = { worse: await worse.append(numbered(20)), better: await better.append(numbered(95)) };
  manager.onProgress("worse", progress.worse);
  manager.onProgress("better", progress.better);
  await manager.idle();
  const order = bench.server.requests.map(({ streamName }) => streamName);
  // The last batch of the better one may be in flight when the worse one starts.
  assert.deepEqual(order.slice(0, 9), Array(9).fill("better"));
  assert.deepEqual(bench.server.storedIn("better"), numbered(95));
  assert.deepEqual(bench.server.storedIn("worse"), numbered(20));
});

test("ExportManager keeps everything while the endpoint is down and sends it when it is back", async (t) => {
  const bench = await ExportBench.start(t);
  await bench.server.close();
  let told: () => void = () => undefined;
  const failed = new Promise<void>((resolve) => (told = resolve));
  const manager = bench.manager({
    onStatusChange: (streamId) => manager.statuses(streamId)[0]?.errorMessage !== "" && told(),
  });
  const stream = bench.addStream(manager, "s", [config]);
  manager.onProgress("s", await stream.append(numbered(30)));
  await failed;
  assert.match(statusOf(manager).errorMessage, /ECONNREFUSED/);
  assert.equal(statusOf(manager).lastExportedSequenceNumber, -1);
  assert.equal(manager.snapshot()[0]?.pending.messages, 30);
  await bench.server.listen();
  await manager.idle();
  assert.deepEqual(bench.server.storedIn("target"), numbered(30));
  assert.equal(statusOf(manager).errorMessage, "");
});

test("ExportManager sets aside one poison record, delivers the rest and keeps the account", async (t) => {
  const bench = await ExportBench.start(t);
  bench.server.answer = ({ data }) =>
    data.includes("message 3")
      ? { kind: "error", status: 400, type: "ValidationException" }
      : { kind: "accept" };
  const manager = bench.manager();
  const stream = bench.addStream(manager, "s", [config]);
  manager.onProgress("s", await stream.append(numbered(6)));
  await manager.idle();
  const rest = numbered(6).filter((text) => text !== "message 3");
  assert.deepEqual([...bench.server.storedIn("target")].sort(), rest);
  const [ledger] = manager.snapshot();
  assert.ok(ledger !== undefined && addsUp(ledger));
  assert.deepEqual(ledger.accounts.exported, { messages: 5, payloadBytes: 45 });
  assert.deepEqual(ledger.accounts.setAside, { messages: 1, payloadBytes: 9 });
  assert.deepEqual(
    ledger.losses.map((loss) => ({ ...loss, timeMs: 0 })),
    [
      {
        reason: LossReason.SetAside,
        fromSequence: 3,
        toSequence: 4,
        fromPayloadOffset: 27,
        toPayloadOffset: 36,
        timeMs: 0,
      },
    ],
  );
});

test("ExportManager never sends a message over the record limit and says which it was", async (t) => {
  const bench = await ExportBench.start(t);
  const manager = bench.manager();
  const stream = bench.addStream(manager, "s", [config]);
  manager.onProgress("s", await stream.append(["a", "x".repeat(1_048_576 - 35), "y".repeat(1_048_576 - 36)]));
  await manager.idle();
  assert.deepEqual(
    bench.server.storedIn("target").map(({ length }) => length),
    [1, 1_048_540],
  );
  const status = statusOf(manager);
  assert.match(status.errorMessage, /sequence number 1: 1048541 bytes, and 1048540 is the limit/);
  assert.equal(status.exportedBytesFromStream, 1_048_541);
  assert.equal(manager.snapshot()[0]?.accounts.setAside.payloadBytes, 1_048_541);
});

test("ExportManager cuts batches by bytes as well as by count", async (t) => {
  const bench = await ExportBench.start(t);
  const manager = bench.manager();
  const stream = bench.addStream(manager, "s", [config]);
  manager.onProgress("s", await stream.append(Array(12).fill("z".repeat(900_000)) as string[]));
  await manager.idle();
  assert.deepEqual(
    bench.server.requests.map(({ data }) => data.length),
    [5, 5, 2],
  );
});

test("ExportManager reports what retention took before it was sent and goes on at the oldest", async (t) => {
  const bench = await ExportBench.start(t);
  const manager = bench.manager();
  const stream = bench.addStream(manager, "s", [config], { maxSize: 60_000, segmentSize: 20_000 });
  let progress = stream.progress;
  for (let block = 0; block < 20; block += 1) progress = await stream.append(numbered(100, block * 100));
  assert.ok(progress.oldestSequence > 0);
  manager.onProgress("s", progress);
  await manager.idle();
  assert.deepEqual(bench.server.storedIn("target"), numbered(2000).slice(progress.oldestSequence));
  const [ledger] = manager.snapshot();
  assert.ok(ledger !== undefined && addsUp(ledger));
  assert.deepEqual(ledger.accounts.overwritten, {
    messages: progress.oldestSequence,
    payloadBytes: progress.oldestPayloadOffset,
  });
  assert.equal(ledger.position, 2000);
  assert.equal(ledger.losses[0]?.reason, LossReason.Overwritten);
});

test("ExportManager exports a Memory stream from shared memory without a file", async (t) => {
  const bench = await ExportBench.start(t);
  const kept = new KeptMemory();
  const storage = new SharedMemoryStorage({ hooks: kept.hooks });
  const directory = path.join(bench.directory, "memory");
  const stream = new StreamFixture(storage, directory, { segmentSize: 10_000 });
  const manager = bench.manager();
  const definition = definitionWith([config], { persistence: Persistence.Memory });
  manager.addStream({
    streamId: "s",
    name: "s",
    directory,
    definition,
    options: streamOptionsDefault,
    memory: () => kept.files,
    drops: () => stream.drops,
  });
  let progress = stream.progress;
  for (let block = 0; block < 12; block += 1) progress = await stream.append(numbered(150, block * 150));
  manager.onProgress("s", progress);
  await manager.idle();
  assert.deepEqual(bench.server.storedIn("target"), numbered(1800));
  assert.throws(() => readdirSync(directory), /ENOENT/);
});

test("ExportManager waits for the batch in flight when a stream is removed, and sends nothing after", async (t) => {
  const bench = await ExportBench.start(t);
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  bench.server.answer = async () => {
    await held;
    return { kind: "accept" };
  };
  // Two that want one slot: a task of one batch.
  const manager = bench.manager({ threadPoolSize: 1 });
  const configs = ["one", "other"].map((identifier) => ({ ...config, identifier, batchSize: 1 }));
  const stream = bench.addStream(manager, "s", configs);
  manager.onProgress("s", await stream.append(numbered(3)));
  await bench.server.until(() => bench.server.requests.length === 1);
  let isRemoved = false;
  const removed = manager.removeStream("s").then(() => (isRemoved = true));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(isRemoved, false);
  release();
  await removed;
  assert.equal(bench.server.requests.length, 1);
  assert.deepEqual(manager.snapshot(), []);
});

test("ExportManager goes on with work in steps at once, when the notices of the step before are appended", async (t) => {
  const bench = await ExportBench.start(t);
  const events: string[] = [];
  const pool: TaskPool = {
    run: (task) => {
      assert.equal(task.kind, "batch");
      const { cursor, continuation } = task;
      events.push(`step after ${continuation ?? "nothing"}`);
      const rest = { pending: undefined, isStartSettled: false, condemned: [] };
      const result = { kind: "batch", ...rest, file: undefined, cursorError: "" } as const;
      if (continuation !== "second") {
        const step = continuation === undefined ? "first" : "second";
        const outcome = { kind: "progress", sentBytes: 5, continuation: step } as const;
        const notices = [{ streamName: "status", payload: `${step} is done` }];
        return Promise.resolve({ ...result, cursor, outcome, notices });
      }
      const accepted = { acceptedMessages: 1, acceptedBytes: 9, failedMessages: 0, error: "" };
      const outcome = { kind: "sent", ...accepted } as const;
      return Promise.resolve({ ...result, cursor: { ...cursor, revision: 1, position: 1 }, outcome });
    },
    close: () => Promise.resolve(),
  };
  const manager = bench.manager({
    pool,
    appendNotice: async ({ streamName, payload }) => {
      await after(20);
      events.push(`${streamName}: ${payload}`);
    },
  });
  const stream = bench.addStream(manager, "s", [config]);
  manager.onProgress("s", await stream.append(numbered(1)));
  await manager.idle();
  assert.deepEqual(events, [
    "step after nothing",
    "status: first is done",
    "step after first",
    "status: second is done",
    "step after second",
  ]);
});

test("ExportManager has work ended whose message is gone from the stream, and goes on with what comes then", async (t) => {
  const bench = await ExportBench.start(t);
  const events: string[] = [];
  const told: string[] = [];
  const rest = { pending: undefined, isStartSettled: false, condemned: [] };
  const pool: TaskPool = {
    run: (task) => {
      if (task.kind === "cancel") {
        events.push(`cancel: ${task.reason}`);
        const notices = [{ streamName: "status", payload: "canceled" }];
        return Promise.resolve({ kind: "canceled", isEnded: true, notices });
      }
      assert.equal(task.kind, "batch");
      events.push(`step at ${Math.max(task.cursor.position, task.oldest.sequence)}`);
      const outcome =
        events.length === 1
          ? ({ kind: "progress", sentBytes: 5 } as const)
          : ({ kind: "failed", scope: "exporter", pace: "slow", timedOut: false, error: "away" } as const);
      const result = { kind: "batch", ...rest, file: undefined, cursorError: "" } as const;
      return Promise.resolve({ ...result, cursor: task.cursor, outcome });
    },
    close: () => Promise.resolve(),
  };
  const appendNotice = ({ payload }: { payload: string }): Promise<void> => {
    told.push(payload);
    return Promise.resolve();
  };
  const manager = bench.manager({ pool, appendNotice });
  const stream = bench.addStream(manager, "s", [config]);
  const one = await stream.append(numbered(1));
  manager.onProgress("s", one);
  const until = async (isMet: () => boolean): Promise<void> => {
    for (let tries = 0; !isMet(); tries += 1) {
      assert.ok(tries < 500, events.join());
      await after(10);
    }
  };
  await until(() => events.length === 2);
  // It expires while its destination is away.
  const { syncedEndSequence: oldestSequence, syncedEndPayloadOffset: oldestPayloadOffset } = one;
  manager.onProgress("s", { ...one, oldestSequence, oldestPayloadOffset });
  await until(() => told.length === 1);
  assert.deepEqual(events, ["step at 0", "step at 0", "cancel: the task expired or was overwritten"]);
  manager.retry("s");
  const two = await stream.append(numbered(1, 1));
  manager.onProgress("s", { ...two, oldestSequence, oldestPayloadOffset });
  await until(() => events.length === 4);
  assert.equal(events.at(-1), "step at 1");
});
