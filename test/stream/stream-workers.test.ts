import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { WORKER_DEATHS_MAX, WORKER_DEATHS_WINDOW_MS } from "../../src/core/thread-limits.ts";
import { silentLogger } from "../../src/observe/logger.ts";
import { HandledSlot } from "../../src/stream/handled-slot.ts";
import type { StreamWorkerData } from "../../src/stream/stream-channel.ts";
import type { StreamThreadEvents } from "../../src/stream/stream-thread.ts";
import { StreamWorkers } from "../../src/stream/stream-workers.ts";
import { ManualClock } from "../support/deterministic.ts";

interface Started {
  readonly data: StreamWorkerData;
  readonly events: StreamThreadEvents;
}

/** Workers whose threads do nothing but die when they are told to. */
function workersOf() {
  const clock = new ManualClock();
  const started: Started[] = [];
  const timers: { action: () => void; atMs: number }[] = [];
  const poisonous: number[] = [];
  const nothing = (): void => undefined;
  const workers = new StreamWorkers({
    workerCountMax: 1,
    ringBytes: 64 * 1024,
    settings: {
      epoch: 1,
      blockBytes: 4096,
      syncIntervalMs: 100,
      syncBytes: 65_536,
      commitAlignBytes: 0,
      diskFreeMinBytes: 0,
      memoryStreamBytesMax: 2 ** 30,
      storeDirectory: "/store",
    },
    platform: {
      startThread: (data, events) => {
        started.push({ data, events });
        return { post: nothing, terminate: () => Promise.resolve() };
      },
      timers: {
        setTimer: (action, delayMs) => {
          const timer = { action, atMs: clock.monotonicMs() + delayMs };
          timers.push(timer);
          return () => void timers.splice(timers.indexOf(timer), 1);
        },
      },
      sleep: () => new Promise(nothing),
      yieldTurn: () => new Promise(nothing),
    },
    clock,
    logger: silentLogger,
    onProgress: nothing,
    onLoss: nothing,
    onFacts: nothing,
    onStorageDelay: nothing,
    onDrained: nothing,
    onRoom: nothing,
    onDown: nothing,
    onPoisonous: (_, slot) => poisonous.push(slot),
    onRestarted: nothing,
  });
  workers.proxy(0);
  const die = (slot: number | undefined): void => {
    const { data, events } = started.at(-1)!;
    if (slot !== undefined) new HandledSlot(data.handledSlot).enter(slot);
    events.onExit(new Error("dead"));
  };
  const pass = (ms: number): void => {
    clock.advance(ms);
    for (const timer of timers.filter(({ atMs }) => atMs <= clock.monotonicMs())) {
      timers.splice(timers.indexOf(timer), 1);
      timer.action();
    }
  };
  return { workers, started, poisonous, die, pass };
}

describe("stream workers that die again and again", () => {
  it("give up the one stream that all of them had in hand, and go on at once without it", () => {
    const { started, poisonous, die, pass } = workersOf();
    for (let death = 0; death < WORKER_DEATHS_MAX; death++) {
      assert.deepEqual(poisonous, []);
      die(7);
      pass(0);
    }
    assert.deepEqual(poisonous, [7]);
    assert.equal(started.length, WORKER_DEATHS_MAX + 1);
    die(7);
    pass(0);
    assert.equal(started.length, WORKER_DEATHS_MAX + 2, "its deaths are counted anew");
  });

  it("are started again only after a while when nobody can tell over which stream they die", () => {
    for (const lastSlot of [undefined, 8]) {
      const { workers, started, poisonous, die, pass } = workersOf();
      for (let death = 1; death < WORKER_DEATHS_MAX; death++) {
        die(7);
        pass(0);
      }
      die(lastSlot);
      pass(1000);
      assert.equal(started.length, WORKER_DEATHS_MAX);
      assert.throws(() => workers.proxy(0), { code: "SERVER_BUSY" });
      pass(WORKER_DEATHS_WINDOW_MS);
      assert.equal(started.length, WORKER_DEATHS_MAX + 1);
      assert.deepEqual(poisonous, []);
    }
  });
});
