import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  probeSyncs,
  PROBE_BYTES_MAX,
  summarize,
  type ProbeOptions,
} from "../../../src/cli/doctor/sync-probe.ts";
import { systemTimers, type Timers } from "../../../src/core/timers.ts";
import { SharedMemoryStorage } from "../../../src/log/shared-memory-storage.ts";
import type { Storage } from "../../../src/log/storage.ts";
import { ManualClock, SeededRandom } from "../../support/deterministic.ts";

const SYNC_MS = 2;

/** A storage whose syncs take SYNC_MS each, and never come back from the `hangAt`-th on. */
function slowStorage(clock: ManualClock, hangAt = Infinity): { storage: Storage; syncs: () => number } {
  const memory = new SharedMemoryStorage();
  memory.makeDirectory("/probe");
  let count = 0;
  const storage: Storage = Object.assign(Object.create(memory) as Storage, {
    open: (path: string, mode: "create" | "append" | "read") => {
      const file = memory.open(path, mode);
      file.sync = (done) => {
        count += 1;
        if (count >= hangAt) return;
        clock.advance(SYNC_MS);
        queueMicrotask(() => done(undefined));
      };
      return file;
    },
    syncDirectory: () => clock.advance(SYNC_MS),
    makeDirectory: () => undefined,
  });
  return { storage, syncs: () => count };
}

function optionsOf(storage: Storage, clock: ManualClock, changes: Partial<ProbeOptions> = {}): ProbeOptions {
  return {
    storage,
    directory: "/probe",
    seconds: 1,
    clock,
    random: new SeededRandom(3),
    timers: systemTimers,
    signal: new AbortController().signal,
    onProgress: () => undefined,
    ...changes,
  };
}

describe("probeSyncs", () => {
  it("measures each kind for its share of the time, and says how far it is", async () => {
    const clock = new ManualClock();
    const { storage } = slowStorage(clock);
    const shares: number[] = [];
    const figures = await probeSyncs(
      optionsOf(storage, clock, { onProgress: (share) => shares.push(share) }),
    );
    assert.equal(figures.small.p50, SYNC_MS);
    assert.equal(figures.create.p50, 2 * SYNC_MS);
    assert.equal(figures.small.count, 175);
    assert.equal(figures.group.count, 32);
    assert.ok(clock.monotonicMs() <= 1010, `${clock.monotonicMs()} ms`);
    assert.deepEqual(
      shares,
      [...shares].sort((a, b) => a - b),
    );
    assert.ok(shares.at(-1)! > 0.9 && shares.at(-1)! <= 1);
  });

  it("writes no more than it says, however long it may", async () => {
    const clock = new ManualClock();
    const { storage, syncs } = slowStorage(clock);
    const figures = await probeSyncs(optionsOf(storage, clock, { seconds: 600 }));
    assert.deepEqual([figures.small.count, figures.large.count, figures.group.count], [2048, 256, 32]);
    assert.equal(syncs(), 2048 + 256 + 32 + 200);
    assert.equal(PROBE_BYTES_MAX, 56 * 1024 * 1024);
  });

  it("stops at once when it is told to", async () => {
    const clock = new ManualClock();
    const { storage, syncs } = slowStorage(clock);
    const controller = new AbortController();
    const onProgress = (): void => {
      if (syncs() === 5) controller.abort(new Error("enough"));
    };
    const options = optionsOf(storage, clock, { signal: controller.signal, onProgress });
    await assert.rejects(probeSyncs(options), /enough/);
    assert.equal(syncs(), 5);
  });

  it("takes a sync that does not come back for a device that hangs", async () => {
    const clock = new ManualClock();
    const { storage, syncs } = slowStorage(clock, 3);
    // Those of the syncs that came back were cancelled.
    const waiting = new Map<number, () => void>();
    let count = 0;
    const timers: Timers = {
      setTimer: (action, delayMs) => {
        const id = ++count;
        waiting.set(id, action);
        assert.equal(delayMs, 60_000);
        return () => waiting.delete(id);
      },
    };
    const probing = assert.rejects(probeSyncs(optionsOf(storage, clock, { timers })), /the device hangs/);
    while (syncs() < 3) await Promise.resolve();
    assert.equal(waiting.size, 1);
    for (const expire of waiting.values()) expire();
    await probing;
  });
});

describe("summarize", () => {
  it("gives the percentiles of few and of many", () => {
    assert.deepEqual(summarize([7]), { count: 1, p50: 7, p90: 7, p99: 7, max: 7 });
    const many = Array.from({ length: 1000 }, (_, index) => 1000 - index);
    assert.deepEqual(summarize(many), { count: 1000, p50: 501, p90: 901, p99: 991, max: 1000 });
  });
});
