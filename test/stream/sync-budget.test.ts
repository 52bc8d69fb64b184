import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type BudgetedStream, SyncBudget } from "../../src/stream/sync-budget.ts";
import { AgentFixture } from "./agent-fixture.ts";

interface FakeStream extends BudgetedStream {
  readonly name: string;
  unsyncedBytes: number;
  isSyncing: boolean;
  state: "ok" | "read-only";
}

function fakeStreams(names: string): { streams: FakeStream[]; synced: string[] } {
  const synced: string[] = [];
  const streams = Array.from(names, (name) => {
    const stream: FakeStream = {
      name,
      flushOnWrite: false,
      isMemory: false,
      unsyncedBytes: 0,
      isSyncing: false,
      state: "ok",
      log: {
        get unsyncedBytes() {
          return stream.unsyncedBytes;
        },
        get isSyncing() {
          return stream.isSyncing;
        },
        get state() {
          return stream.state;
        },
        sync: () => {
          synced.push(name);
          stream.isSyncing = true;
        },
      },
    };
    return stream;
  });
  return { streams, synced };
}

function write(budget: SyncBudget, stream: FakeStream, bytes: number): void {
  stream.unsyncedBytes += bytes;
  budget.onWritten(stream);
}

describe("SyncBudget", () => {
  it("syncs those that have most, once all together have too much", () => {
    const { streams, synced } = fakeStreams("abcd");
    const [a, b, c, d] = streams as [FakeStream, FakeStream, FakeStream, FakeStream];
    const budget = new SyncBudget(100);
    write(budget, a, 10);
    write(budget, b, 40);
    write(budget, c, 30);
    write(budget, d, 20);
    assert.deepEqual(synced, []);
    write(budget, d, 1);
    assert.deepEqual(synced, ["b", "c"]);
    // What is being synced is not asked for again, nor is the rest, which is little.
    write(budget, d, 5);
    assert.deepEqual(synced, ["b", "c"]);
    write(budget, a, 20);
    assert.deepEqual(synced, ["b", "c", "a"]);
  });

  it("counts what is durable by now", () => {
    const { streams, synced } = fakeStreams("ab");
    const [a, b] = streams as [FakeStream, FakeStream];
    const budget = new SyncBudget(100);
    write(budget, a, 90);
    a.unsyncedBytes = 0;
    write(budget, b, 90);
    assert.deepEqual(synced, []);
  });

  it("stops writing at twice as much, until a sync has ended", () => {
    const { streams } = fakeStreams("ab");
    const [a, b] = streams as [FakeStream, FakeStream];
    const budget = new SyncBudget(100);
    write(budget, a, 110);
    write(budget, b, 90);
    assert.equal(budget.isOver, false);
    write(budget, b, 1);
    assert.equal(budget.isOver, true);
    a.unsyncedBytes = 0;
    assert.equal(budget.isOver, false);
  });

  it("counts neither what is not acknowledged, nor what only memory promises, nor what a broken storage does not take", () => {
    const { streams, synced } = fakeStreams("abcd");
    const [a, b, c, d] = streams as [FakeStream, FakeStream, FakeStream, FakeStream];
    const budget = new SyncBudget(100);
    a.flushOnWrite = true;
    Object.assign(b, { isMemory: true });
    c.state = "read-only";
    for (const stream of [a, b, c]) write(budget, stream, 1000);
    write(budget, d, 90);
    assert.deepEqual([synced, budget.isOver], [[], false]);
    write(budget, d, 200);
    assert.deepEqual([synced, budget.isOver], [["d"], true]);
    budget.forget(d);
    assert.equal(budget.isOver, false);
  });
});

describe("the streams of a worker", () => {
  it("together leave at most 16 MiB unsynced, and wait when the syncs lag (RELIABILITY 2.1)", () => {
    const MIB = 1024 * 1024;
    const fixture = new AgentFixture({ blockBytes: 512 * 1024, ringBytes: 4 * MIB, syncBytes: 15 * MIB });
    const sizes = { maxSize: 64 * MIB, streamSegmentSize: 32 * MIB };
    for (let slot = 0; slot < 4; slot++) fixture.open(slot, { ...sizes, name: `stream ${slot}` });
    fixture.storage.completeSyncs();
    // Bytes that do not shrink, so that stored is what was sent.
    const random = Buffer.alloc(512 * 1024 - 8);
    for (let at = 0, value = 1; at < random.length; at++) {
      value = (value * 48_271) % 2_147_483_647;
      random[at] = value >>> 8;
    }
    const message = random.toString("latin1");
    let token = 0;
    const fill = (rounds: number): number => {
      let appendedCount = 0;
      for (let round = 0; round < rounds; round++) {
        for (let slot = 0; slot < 4; slot++) fixture.append(++token, slot, { messages: [message] });
        appendedCount += fixture.outcomes().filter(({ kind }) => kind === "appended").length;
      }
      return appendedCount;
    };
    // Each block makes its segment and syncs that; from then on nothing is synced that is not asked for.
    assert.equal(fill(8), 32);
    const syncsBefore = fixture.storage.count("sync");
    assert.equal(fill(1), 4);
    assert.equal(fixture.storage.count("sync"), syncsBefore, "the syncs run");
    fixture.storage.completeSyncs();
    assert.ok(fixture.storage.count("sync") > syncsBefore, "16 MiB started some");
    // Nothing ends the syncs from here on: at 32 MiB the worker takes no more.
    const taken = fill(20);
    assert.ok(taken >= 32 && taken < 72, `${taken} blocks of half a MiB`);
    fixture.storage.completeSyncs();
    assert.ok(fixture.outcomes().length > 0);
  });
});
