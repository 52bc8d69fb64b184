import assert from "node:assert/strict";
import { test } from "node:test";
import type { StreamOptionsChange } from "../../src/core/stream-options.ts";
import { COMPANION, DEADLINE_MS, payloadOf, SetAsideBench, STREAM } from "./set-aside-bench.ts";

test("messages that are refused stand in the companion stream with all that is known of them, and the rest arrives", async (t) => {
  const bench = await SetAsideBench.start(t);
  await bench.create();
  const before = Date.now();
  await bench.append("good 0", "bad 1", "good 2", "good 3", "bad 4", "good 5");
  const exporter = await bench.allSettled();
  assert.equal(exporter.exported.messages, 4);
  assert.deepEqual(exporter.setAside, { messages: 2, payloadBytes: 10 });
  const arrived = [...new Set(bench.kinesis.storedIn(STREAM))].sort();
  assert.deepEqual(arrived, ["good 0", "good 2", "good 3", "good 5"]);
  const entries = await bench.entries();
  assert.deepEqual(entries.map((entry) => [entry.sequenceNumber, payloadOf(entry)]).sort(), [
    [1, "bad 1"],
    [4, "bad 4"],
  ]);
  for (const entry of entries) {
    const { time, ingestTime, payload, sequenceNumber } = entry;
    assert.ok(ingestTime >= before && time >= ingestTime && time <= Date.now());
    assert.deepEqual(entry, {
      ...{ time, ingestTime, payload, sequenceNumber },
      version: 1,
      stream: STREAM,
      exporter: "cloud",
      destination: { kind: "kinesis", target: STREAM },
      error: "ValidationException: a bad record",
      attempts: 1,
      sizeBytes: 5,
    });
  }
  const { options, definition } = await bench.client.describeStream(COMPANION);
  assert.equal(options.companionOf, STREAM);
  assert.deepEqual([definition.maxSize, definition.flushOnWrite], [16 * 1024 * 1024, true]);
});

test("a companion stream is known again after kill -9, and a kill repeats at most one entry", async (t) => {
  const bench = await SetAsideBench.start(t);
  await bench.create();
  const bad: string[] = [];
  let appended = 0;
  const kills = 3;
  for (let round = 0; round < kills; round += 1) {
    bad.push(`bad ${round}`);
    await bench.append(`good ${round}`, `bad ${round}`, `better ${round}`);
    appended += 3;
    // The kill comes right behind the first sight of the entry: before the position has passed it, or after.
    const deadlineMs = Date.now() + DEADLINE_MS;
    while (!(await bench.client.listStreams()).includes(COMPANION)) assert.ok(Date.now() < deadlineMs);
    while ((await bench.client.describeStream(COMPANION)).storage.nextSequence <= round) {
      assert.ok(Date.now() < deadlineMs);
    }
    await bench.killAndRestart();
  }
  const exporter = await bench.allSettled();
  assert.equal(exporter.appended.messages, appended);
  assert.equal(exporter.setAside.messages, bad.length);
  assert.deepEqual((await bench.client.listStreams()).toSorted(), [STREAM, COMPANION]);
  const stored = (await bench.entries()).map(payloadOf);
  assert.deepEqual([...new Set(stored)].sort(), bad);
  assert.ok(stored.length <= bad.length + kills, `${stored.length} entries for ${bad.length} messages`);
});

test("an export stands still while its companion stream is full and rejects, says so, and goes on when it has room", async (t) => {
  const bench = await SetAsideBench.start(t);
  await bench.create(STREAM, { setAside: { maxSize: 65_536, strategyOnFull: "RejectNewData" } });
  const big = "x".repeat(40_000);
  await bench.append("good", `bad 1 ${big}`, "good", `bad 2 ${big}`, "good");
  const stuck = await bench.exporterOnce(({ errorMessage }) => /is full/.test(errorMessage));
  assert.match(stuck.errorMessage, /cannot set aside .*"readings\.set-aside".*is full, \d+ of 65536 bytes/);
  assert.ok(stuck.pending.messages > 0 && stuck.position <= 3);
  assert.equal((await bench.entries()).length, 1);
  await bench.client.configureStream(STREAM, { setAside: { maxSize: 262_144 } });
  const exporter = await bench.allSettled();
  assert.deepEqual([exporter.exported.messages, exporter.setAside.messages], [3, 2]);
  const numbers = (await bench.entries()).map(({ sequenceNumber }) => sequenceNumber);
  assert.deepEqual(numbers.sort(), [1, 3]);
});

test("a companion stream that overwrites keeps the newest, and an entry that is too large goes without its payload", async (t) => {
  const bench = await SetAsideBench.start(t);
  await bench.create(STREAM, { setAside: { maxSize: 65_536 } });
  const big = "x".repeat(40_000);
  await bench.append("good", `bad 1 ${big}`, `bad 2 ${big}`, `bad 3 ${big}${big}`, "good");
  const exporter = await bench.allSettled();
  assert.deepEqual([exporter.exported.messages, exporter.setAside.messages], [2, 3]);
  const entries = await bench.entries();
  const omitted = entries.filter(({ payloadOmitted }) => payloadOmitted === true);
  assert.deepEqual(
    omitted.map(({ sequenceNumber, payload, sizeBytes }) => [sequenceNumber, payload, sizeBytes]),
    [[3, undefined, 80_006]],
  );
  assert.ok(entries.length < 3, "one was overwritten");
});

test("a stream that has the companion's name keeps it, and the companion is another one", async (t) => {
  const bench = await SetAsideBench.start(t);
  await bench.create(COMPANION);
  await bench.create();
  await bench.append("good", "bad", "good");
  await bench.allSettled();
  const taken = await bench.client.describeStream(COMPANION);
  assert.equal(taken.storage.nextSequence, 0);
  assert.deepEqual((await bench.entries(`${COMPANION}-2`)).map(payloadOf), ["bad"]);
  await assert.rejects(
    bench.client.configureStream(STREAM, { companionOf: "other" } as StreamOptionsChange),
    /companionOf.* is not known/,
  );
  // What was set aside outlives the stream, and is its namesake's too.
  await bench.client.deleteMessageStream(STREAM);
  await bench.create();
  await bench.append("good", "bad again", "good");
  await bench.allSettled();
  assert.deepEqual((await bench.entries(`${COMPANION}-2`)).map(payloadOf), ["bad", "bad again"]);
});

test("nothing is set aside while a destination refuses everything", async (t) => {
  const bench = await SetAsideBench.start(t);
  bench.kinesis.answer = () => ({ kind: "error", status: 400, type: "ValidationException" });
  await bench.create();
  await bench.append("good 0", "good 1");
  await bench.kinesis.until(() => bench.kinesis.requests.length >= 14);
  const exporter = await bench.exporter();
  assert.deepEqual([exporter.position, exporter.setAside.messages, exporter.pending.messages], [0, 0, 2]);
  assert.deepEqual(await bench.client.listStreams(), [STREAM]);
  bench.kinesis.answer = () => ({ kind: "accept" });
  assert.equal((await bench.allSettled()).exported.messages, 2);
});
