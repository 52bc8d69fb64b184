import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { MillraceError } from "../../src/core/errors.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { LogReader } from "../../src/log/log-reader.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { ManualClock } from "../support/deterministic.ts";
import {
  addBatch,
  blockOf,
  costOf,
  logOptions,
  newStorage,
  readAll,
  smallPolicy,
  STREAM_DIRECTORY,
} from "../support/log-fixture.ts";
import { BlockBuilder } from "../../src/log/block-builder.ts";
import { type Fault, SimStorage } from "../support/sim-storage.ts";

function message(number: number): string {
  return `message ${number} ${"abcdefghij".repeat(10 + (number % 40))}`;
}

function fill(log: StreamLog, blocks: number, storage?: SimStorage): void {
  for (let block = 0; block < blocks; block++) {
    const first = log.nextSequence;
    const batch = blockOf([message(first), message(first + 1), message(first + 2)]);
    log.admit(costOf(batch));
    log.append(batch);
    log.sync(() => undefined);
    storage?.completeSyncs();
  }
}

const code =
  (wanted: string) =>
  (error: unknown): boolean =>
    error instanceof MillraceError && error.code === wanted;

function expectMessages(log: Parameters<typeof readAll>[0], from: number, to: number): void {
  const { messages, gaps } = readAll(log, from, to);
  assert.deepEqual(gaps, []);
  assert.equal(messages.size, to - from);
  for (const [sequence, text] of messages) assert.equal(text, message(sequence));
}

describe("StreamLog", () => {
  it("gives back what was appended, before and after the sync, in any portions, here and in another thread's reader", () => {
    const storage = newStorage();
    const log = StreamLog.create(logOptions(storage));
    fill(log, 38, storage);
    fill(log, 2);
    expectMessages(log, 0, 120);
    storage.completeSyncs();
    assert.equal(log.syncedEndSequence, 120);
    expectMessages(log, 0, 120);
    const reader = new LogReader({ storage, directory: STREAM_DIRECTORY });
    expectMessages(reader, 0, 120);
    for (const [messageCountMax, bytesMax] of [
      [1, 1],
      [7, 700],
      [1000, 1],
    ] as const) {
      const portions = { messageCountMax, bytesMax };
      assert.equal(readAll(log, 5, 118, portions).messages.size, 113);
      assert.equal(readAll(reader, 5, 118, portions).messages.size, 113);
    }
  });

  it("keeps ingest times per batch and never lets them go back", () => {
    const log = StreamLog.create(logOptions(newStorage()));
    const builder = new BlockBuilder(4096);
    addBatch(builder, ["a", "b"], { ingestMs: 1000 });
    addBatch(builder, ["c"], { ingestMs: 900 });
    addBatch(builder, ["d"], { ingestMs: 1500, producer: { id: 1, sequence: 1 } });
    log.append(builder);
    const [slice] = log.read({ fromSequence: 1, messageCountMax: 10, bytesMax: 1000 });
    assert.deepEqual(slice?.kind === "messages" && slice.runs, [
      { messageCount: 2, ingestMs: 1000 },
      { messageCount: 1, ingestMs: 1500 },
    ]);
  });

  it("goes on where it was after a clean stop, with nothing to repair", () => {
    const storage = newStorage();
    const log = StreamLog.create(logOptions(storage));
    fill(log, 25, storage);
    const { totalBytes } = log;
    log.close();
    const opened = StreamLog.open(logOptions(storage, { epoch: 2 }));
    assert.equal(opened.recovery.tornTailBytes, 0);
    assert.deepEqual(opened.recovery.corrupt, []);
    assert.equal(opened.log.nextSequence, 75);
    assert.equal(opened.log.totalBytes, totalBytes);
    fill(opened.log, 5, storage);
    expectMessages(opened.log, 0, 90);
  });

  it("lets a sync that was asked for while one runs wait for the next one", () => {
    const storage = newStorage();
    const log = StreamLog.create(logOptions(storage, { policy: { ...smallPolicy, segmentSize: 100_000 } }));
    const order: string[] = [];
    log.append(blockOf(["a"]));
    const before = storage.count("sync");
    log.sync(() => order.push("first"));
    log.append(blockOf(["b"]));
    log.sync(() => order.push(`second, ${storage.count("sync") - before} syncs`));
    log.sync(() => order.push("third"));
    assert.equal(order.length, 0);
    storage.completeSyncs();
    assert.deepEqual(order, ["first", "second, 2 syncs", "third"]);
    log.sync(() => order.push("nothing to wait for"));
    assert.equal(
      log.writes.syncCount,
      storage.count("sync") - before,
      "each sync is counted, whoever waited for it",
    );
    assert.equal(order.length, 4);
  });

  it("answers a failed sync by writing the window to a new segment, and never syncs the failed file again", () => {
    const storage = newStorage({ "sync@3": { code: "EIO" } });
    const log = StreamLog.create(logOptions(storage, { policy: { ...smallPolicy, segmentSize: 100_000 } }));
    fill(log, 1, storage);
    const outcomes: unknown[] = [];
    log.append(blockOf([message(3)]));
    log.sync((error) => outcomes.push(error));
    const failing = storage.operations.length;
    storage.completeSyncs();
    assert.deepEqual(outcomes, [undefined]);
    const names = storage.operations
      .slice(failing + 1)
      .filter(({ kind }) => kind === "sync")
      .map(({ note }) => note);
    // The stream's second segment is the time for its ledger file.
    const replacement = "00000000000000000003-0000.lz4";
    assert.deepEqual(names, [replacement, replacement, "ledger.tmp"]);
    expectMessages(log, 0, 4);
    expectMessages(new LogReader({ storage, directory: STREAM_DIRECTORY }), 0, log.syncedEndSequence);
  });

  it("goes on for as long as a new segment answers each failed sync", () => {
    // Each time two syncs make the new segment, and the third is the next one of its own. One makes the ledger's file between.
    const faults = Object.fromEntries([2, 5, 9, 12, 15].map((at) => [`sync@${at}`, { code: "EIO" }]));
    const storage = newStorage(faults);
    const log = StreamLog.create(logOptions(storage, { policy: { ...smallPolicy, segmentSize: 100_000 } }));
    const outcomes: unknown[] = [];
    for (let sequence = 0; sequence < 5; sequence++) {
      log.append(blockOf([message(sequence)]));
      log.sync((error) => outcomes.push(error));
      storage.completeSyncs();
      assert.equal(log.state, "ok");
    }
    assert.deepEqual(
      outcomes,
      Array.from({ length: 5 }, () => undefined),
    );
    assert.equal(storage.count("open"), 7);
    expectMessages(log, 0, 5);
  });

  it("becomes read-only when new segments fail too, keeps what it owes, and comes back by itself", () => {
    const faults: Record<string, Fault> = { "sync@3": { code: "EIO" } };
    for (const at of [3, 4, 5, 6]) faults[`open@${at - 1}`] = { code: "EIO" };
    const storage = newStorage(faults);
    const clock = new ManualClock();
    const log = StreamLog.create(
      logOptions(storage, { clock, policy: { ...smallPolicy, segmentSize: 100_000 } }),
    );
    fill(log, 1, storage);
    log.append(blockOf([message(3)]));
    const outcomes: unknown[] = [];
    log.sync((error) => outcomes.push(error?.code));
    storage.completeSyncs();
    assert.deepEqual(outcomes, ["UNKNOWN_OUTCOME"]);
    assert.deepEqual(log.atRisk, { fromSequence: 3, toSequence: 4 });
    while (log.state === "ok") assert.throws(() => log.append(blockOf(["x"])), code("STORAGE_READ_ONLY"));
    assert.equal(log.syncedEndSequence, 3);
    expectMessages(log, 0, 4);
    for (let tries = 0; log.state === "read-only" && tries < 10; tries++) {
      clock.advance(60_000);
      log.tick();
    }
    assert.equal(log.state, "ok");
    assert.equal(log.atRisk, undefined);
    assert.equal(log.syncedEndSequence, 4);
    expectMessages(log, 0, 4);
  });

  it("makes durable what only memory holds when it is closed, if the storage takes it again", () => {
    const faults: Record<string, Fault> = { "sync@3": { code: "EIO" } };
    for (const at of [2, 3]) faults[`open@${at}`] = { code: "EIO" };
    const storage = newStorage(faults);
    const log = StreamLog.create(logOptions(storage, { policy: { ...smallPolicy, segmentSize: 100_000 } }));
    fill(log, 1, storage);
    log.append(blockOf([message(3)]));
    log.sync(() => undefined);
    storage.completeSyncs();
    while (log.state === "ok") assert.throws(() => log.append(blockOf(["x"])), code("STORAGE_READ_ONLY"));
    assert.deepEqual(log.atRisk, { fromSequence: 3, toSequence: 4 });
    log.close();
    const durable = new SimStorage({ image: storage.durableImage(storage.operations.length) });
    const { log: next } = StreamLog.open(logOptions(durable, { epoch: 2 }));
    assert.equal(next.nextSequence, 4);
    expectMessages(next, 0, 4);
  });

  it("answers an error of a write by what may have reached the file", () => {
    // Write 1 is the head, 2 the first block, 3 the rest of it when 2 was short.
    const table: [Record<string, Fault>, string][] = [
      [{ "write@2": { code: "ENOSPC" } }, "STREAM_FULL"],
      [{ "write@2": { code: "EDQUOT" } }, "STREAM_FULL"],
      [{ "write@2": { code: "EIO" } }, "UNKNOWN_OUTCOME"],
      [{ "write@2": { writtenBytes: 5 }, "write@3": { code: "ENOSPC" } }, "UNKNOWN_OUTCOME"],
    ];
    for (const [faults, wanted] of table) {
      const storage = newStorage(faults);
      const log = StreamLog.create(logOptions(storage));
      assert.throws(() => log.append(blockOf(["lost"])), code(wanted), JSON.stringify(faults));
      assert.equal(log.nextSequence, 0);
      fill(log, 1, storage);
      expectMessages(log, 0, 3);
    }
    const storage = newStorage({ "write@2": { writtenBytes: 7 }, "write@3": { writtenBytes: 0 } });
    const log = StreamLog.create(logOptions(storage));
    fill(log, 2, storage);
    expectMessages(log, 0, 6);
  });

  it("refuses what does not fit, or deletes the oldest segments, and accounts for each deleted message", () => {
    const small = newStorage();
    const full = StreamLog.create(logOptions(small, { policy: { ...smallPolicy, maxSize: 5000 } }));
    assert.throws(() => full.admit(5001), code("MESSAGE_TOO_LARGE"));
    assert.throws(() => fill(full, 100, small), code("STREAM_FULL"));

    const storage = newStorage();
    const policy = {
      ...smallPolicy,
      maxSize: 12_000,
      segmentSize: 3000,
      strategyOnFull: StrategyOnFull.OverwriteOldestData,
    };
    const log = StreamLog.create(logOptions(storage, { policy }));
    fill(log, 60, storage);
    assert.ok(log.totalBytes <= 12_000 && log.oldestSequence > 0);
    const { accounts, drops } = log.ledger.snapshot;
    assert.equal(drops[0]?.fromSequence, 0);
    assert.equal(drops.at(-1)?.toSequence, log.oldestSequence);
    const dropped = { messages: log.oldestSequence, payloadBytes: log.oldestPayloadOffset };
    assert.deepEqual(accounts.overwritten, dropped);
    expectMessages(log, log.oldestSequence, 180);
  });

  it("detects any flipped bit of its segments: at most one block is lost, and no wrong message is given out", () => {
    const storage = newStorage();
    const log = StreamLog.create(logOptions(storage, { policy: { ...smallPolicy, flushOnWrite: false } }));
    fill(log, 12, storage);
    log.close();
    let damaged = 0;
    for (const { name } of storage.list(STREAM_DIRECTORY)) {
      const file = `${STREAM_DIRECTORY}/${name}`;
      const sizeBytes = storage.read(file).length;
      for (let at = 0; at < sizeBytes; at += at < 4096 ? 61 : 3) {
        const copy = storage.copy();
        copy.flip(file, at, 1 << (at % 8));
        const { log: opened } = StreamLog.open(
          logOptions(copy, { epoch: 2, policy: { ...smallPolicy, flushOnWrite: false } }),
        );
        const { messages, gaps } = readAll(opened, 0, opened.nextSequence);
        for (const [sequence, text] of messages) assert.equal(text, message(sequence), `${name} byte ${at}`);
        const lost = 36 - messages.size;
        assert.ok(lost === 0 || lost === 3, `${name} byte ${at}: ${lost} messages lost`);
        const isTail = opened.nextSequence < 36;
        assert.equal(gaps.length, lost === 0 || isTail ? 0 : 1, `${name} byte ${at}`);
        if (lost > 0) damaged += 1;
      }
    }
    assert.ok(damaged > 100, `only ${damaged} flips hit a block`);
  });

  it("skips a missing, an empty and a foreign segment with a gap, and deletes nothing for it", () => {
    const storage = newStorage();
    const log = StreamLog.create(logOptions(storage));
    fill(log, 20, storage);
    log.close();
    const names = storage
      .list(STREAM_DIRECTORY)
      .map(({ name }) => name)
      .sort();
    assert.ok(names.length >= 4);
    const second = `${STREAM_DIRECTORY}/${names[1]!}`;
    const bytes = storage.read(second);
    const from = Number(names[1]!.slice(0, 20));
    const to = Number(names[2]!.slice(0, 20));
    const foreign = storage.read(`${STREAM_DIRECTORY}/${names[2]!}`);
    for (const content of [undefined, Buffer.alloc(0), foreign, Buffer.alloc(bytes.length)]) {
      const copy = storage.copy();
      copy.unlink(second);
      if (content !== undefined) copy.put(second, content);
      const { log: opened, recovery } = StreamLog.open(logOptions(copy, { epoch: 2 }));
      assert.deepEqual(
        recovery.missing.map(({ fromSequence, toSequence }) => [fromSequence, toSequence]),
        [[from, to]],
      );
      const { messages, gaps } = readAll(opened, 0, 60);
      assert.deepEqual(gaps, [{ from, to, reason: "MISSING" }]);
      assert.equal(messages.size, 60 - (to - from));
      if (content !== undefined && content.length > 0) assert.ok(copy.read(second).equals(content));
    }
  });

  it("reports a loss that an export cursor proves, and goes on behind it", () => {
    const storage = newStorage();
    const log = StreamLog.create(logOptions(storage));
    fill(log, 3, storage);
    log.close();
    const known = { sequence: 20, payloadOffset: log.nextPayloadOffset + 555 };
    const { log: opened, recovery } = StreamLog.open(logOptions(storage, { epoch: 2, knownEnd: known }));
    assert.deepEqual(recovery.dataLoss, {
      fromSequence: 9,
      toSequence: 20,
      fromPayloadOffset: log.nextPayloadOffset,
      toPayloadOffset: known.payloadOffset,
    });
    assert.equal(opened.nextPayloadOffset, known.payloadOffset);
    assert.equal(opened.append(blockOf([message(20)])), 20);
    assert.deepEqual(readAll(opened, 0, 21).gaps, [{ from: 9, to: 20, reason: "MISSING" }]);
  });

  it("deletes a stream by a rename, and a start finishes what a crash left of it", () => {
    const storage = newStorage();
    const log = StreamLog.create(logOptions(storage));
    fill(log, 3, storage);
    log.destroy();
    assert.deepEqual(storage.list("/store"), []);
    assert.equal(storage.openFiles, 0);
  });
});
