import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { PLACE_CHECK_IDLE_MS, PLACE_CHECK_MS } from "../../src/core/limits.ts";
import type { MillraceError } from "../../src/core/errors.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { ManualClock } from "../support/deterministic.ts";
import {
  blockOf,
  costOf,
  logOptions,
  readAll,
  smallPolicy,
  STREAM_DIRECTORY,
} from "../support/log-fixture.ts";
import { SimStorage } from "../support/sim-storage.ts";

const AWAY = "/store/away";
const largeSegments = { ...smallPolicy, segmentSize: 100_000 };
const text = "x".repeat(500);

function setUp(policy = smallPolicy): { storage: SimStorage; clock: ManualClock; log: StreamLog } {
  const storage = new SimStorage();
  storage.makeDirectory("/store");
  const clock = new ManualClock();
  const log = StreamLog.create(logOptions(storage, { clock, policy }));
  return { storage, clock, log };
}

function append(log: StreamLog, message: string): void {
  const builder = blockOf([message]);
  log.admit(costOf(builder));
  log.append(builder);
}

/** What a sync of all that was appended says. */
function sync(log: StreamLog, storage: SimStorage): string {
  let outcome = "waits";
  log.sync((error?: MillraceError) => (outcome = error?.code ?? "durable"));
  storage.completeSyncs();
  return outcome;
}

function appendUntilRefused(log: StreamLog): string {
  for (let count = 0; count < 100; count++) {
    try {
      append(log, `${count} ${text}`);
    } catch (error) {
      return String(error);
    }
  }
  return "nothing was refused";
}

describe("a log whose directory goes away under it", () => {
  it("has nothing durable from then on, and goes on once it is there again", () => {
    const { storage, clock, log } = setUp(largeSegments);
    append(log, "first");
    assert.equal(sync(log, storage), "durable");
    append(log, "second");
    storage.rename(STREAM_DIRECTORY, AWAY);
    assert.equal(sync(log, storage), "UNKNOWN_OUTCOME");
    assert.equal(log.syncedEndSequence, 1);
    assert.equal(log.state, "fenced");
    assert.throws(() => append(log, "third"), {
      code: "STREAM_FENCED",
      message:
        /^The stream is fenced: the stream's files are not where they were: "stream\/\d{20}-\d{4}\.lz4" is gone$/,
    });
    // No sync is even begun.
    const syncs = storage.count("sync");
    assert.equal(sync(log, storage), "UNKNOWN_OUTCOME");
    assert.equal(storage.count("sync"), syncs);
    assert.deepEqual([...readAll(log, 0, 2).messages.values()], ["first", "second"]);
    storage.rename(AWAY, STREAM_DIRECTORY);
    clock.advance(PLACE_CHECK_MS);
    log.tick();
    assert.equal(log.state, "ok");
    append(log, "third");
    assert.equal(sync(log, storage), "durable");
    const { log: next } = StreamLog.open(logOptions(storage.copy(), { epoch: 2 }));
    assert.deepEqual([...readAll(next, 0, 3).messages.values()], ["first", "second", "third"]);
  });

  it("notices it within a second where nothing is synced, and later where nothing arrives", () => {
    for (const isIdle of [false, true]) {
      const { storage, clock, log } = setUp({ ...largeSegments, flushOnWrite: false });
      append(log, "first");
      assert.equal(sync(log, storage), "durable");
      clock.advance(PLACE_CHECK_IDLE_MS);
      log.tick();
      storage.completeSyncs();
      storage.rename(STREAM_DIRECTORY, AWAY);
      clock.advance(PLACE_CHECK_MS / 2);
      if (!isIdle) append(log, "acknowledged");
      clock.advance(PLACE_CHECK_MS / 2);
      log.tick();
      assert.equal(log.state, isIdle ? "ok" : "fenced");
      clock.advance(PLACE_CHECK_IDLE_MS);
      log.tick();
      assert.equal(log.state, "fenced");
      assert.match(appendUntilRefused(log), /The stream is fenced/);
    }
  });

  it("notices it where the directory went while the segment was being made", () => {
    const { storage, log } = setUp(largeSegments);
    const identify = storage.identify.bind(storage);
    storage.identify = (place) => {
      // The look at the new segment comes too late.
      if (place.endsWith(".lz4") && storage.list("/store").some(({ name }) => name === "stream"))
        storage.rename(STREAM_DIRECTORY, AWAY);
      return identify(place);
    };
    append(log, "first");
    assert.equal(sync(log, storage), "UNKNOWN_OUTCOME");
    assert.equal(log.state, "fenced");
  });

  it("makes nothing in a directory that is put in its place, nor deletes anything there", () => {
    for (const strategyOnFull of [StrategyOnFull.RejectNewData, StrategyOnFull.OverwriteOldestData]) {
      const { storage, clock, log } = setUp({ ...smallPolicy, strategyOnFull, maxSize: 14_000 });
      for (let count = 0; count < 20; count++) append(log, `${count} ${text}`);
      storage.rename(STREAM_DIRECTORY, AWAY);
      storage.makeDirectory(STREAM_DIRECTORY);
      assert.match(appendUntilRefused(log), /The stream is fenced/);
      clock.advance(10 * PLACE_CHECK_IDLE_MS);
      log.tick();
      log.close();
      assert.deepEqual(storage.list(STREAM_DIRECTORY), []);
    }
  });

  it("tells readers why, and counts nothing as damaged", () => {
    const { storage, log } = setUp();
    for (let count = 0; count < 40; count++) append(log, `${count} ${text}`);
    assert.equal(sync(log, storage), "durable");
    storage.rename(STREAM_DIRECTORY, AWAY);
    assert.throws(() => readAll(log, 0, 40), { code: "STREAM_FENCED" });
    assert.deepEqual(log.ledger.snapshot.damage, []);
    storage.rename(AWAY, STREAM_DIRECTORY);
    const { messages, gaps } = readAll(log, 0, 40);
    assert.equal(messages.size, 40);
    assert.deepEqual(gaps, []);
  });
});
