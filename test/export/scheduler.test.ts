import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  Hold,
  schedule,
  type SchedulerEndpoint,
  type SchedulerExporter,
  type SchedulerInput,
} from "../../src/export/scheduler.ts";
import { waitMs, type Allowance } from "../../src/export/token-bucket.ts";
import { testSeed } from "../support/seeded-random.ts";

function exporter(key: string, changes: Partial<SchedulerExporter> = {}): SchedulerExporter {
  return {
    key,
    priority: 5,
    endpoint: "e",
    disabled: false,
    inFlight: false,
    backlogMessages: 10,
    nextBatchMessages: 10,
    nextRequestBytes: 1000,
    batchSize: 500,
    batchIntervalMs: undefined,
    oldestArrivalMs: -Infinity,
    resumesBatch: false,
    notBeforeMs: -Infinity,
    lastStartMs: -Infinity,
    cap: undefined,
    shareOwedBytes: 0,
    ...changes,
  };
}

function run(
  exporters: SchedulerExporter[],
  {
    endpoints = {},
    slotsFree = 5,
    nowMs = 0,
    allowance,
  }: {
    endpoints?: Record<string, SchedulerEndpoint>;
    slotsFree?: number;
    nowMs?: number;
    allowance?: Allowance;
  } = {},
) {
  const options = { endpoints: new Map(Object.entries(endpoints)), slotsFree, nowMs, allowance };
  return schedule({ exporters, ...options });
}

/** What a bucket of 100 bytes that fills in 10 ms allows at the level. */
function allowed(levelBytes: number): Allowance {
  return { levelBytes, depthBytes: 100, bytesPerMs: 10 };
}

test("schedule starts what has data, best priority first, and what waited longest among equals", () => {
  const { start, wakeAtMs } = run([
    exporter("late", { priority: 2, lastStartMs: 9 }),
    exporter("last", { priority: 11 }),
    exporter("early", { priority: 2, lastStartMs: 3 }),
    exporter("first", { priority: 1 }),
    exporter("empty", { priority: 1, backlogMessages: 0 }),
    exporter("off", { priority: 1, disabled: true }),
  ]);
  assert.deepEqual(start, ["first", "early", "late", "last"]);
  assert.equal(wakeAtMs, undefined);
});

test("schedule starts nothing of worse priority while a better exporter has more than one batch", () => {
  const more = { backlogMessages: 501, nextBatchMessages: 500 };
  assert.deepEqual(run([exporter("a", { priority: 1, ...more }), exporter("b")]).start, ["a"]);
  const busy = exporter("a", { priority: 1, inFlight: true, backlogMessages: 1, nextBatchMessages: 500 });
  assert.deepEqual(run([busy, exporter("b")]).start, []);
  assert.deepEqual(run([{ ...busy, backlogMessages: 0 }, exporter("b")]).start, ["b"]);
});

test("schedule holds back by bandwidth only what needs some", () => {
  const local = exporter("local", { priority: 6, nextRequestBytes: 0 });
  assert.deepEqual(run([local], { allowance: allowed(-900) }).start, ["local"]);
  const { start, held } = run([exporter("remote"), local], { allowance: allowed(-900) });
  assert.deepEqual([start, held.get("remote")?.hold], [[], Hold.Bandwidth], "priority holds still");
});

test("schedule lets worse priorities pass an exporter in backoff, and one whose endpoint is in backoff", () => {
  const delayed = exporter("a", { priority: 1, notBeforeMs: 70 });
  assert.deepEqual(run([delayed, exporter("b")]), {
    start: ["b"],
    wakeAtMs: 70,
    held: new Map([["a", { hold: Hold.Backoff, untilMs: 70 }]]),
  });
  const down = { failing: true, retryAtMs: 50, probeInFlight: false };
  const input = [exporter("a", { priority: 1, endpoint: "down" }), exporter("b")];
  assert.deepEqual(run(input, { endpoints: { down } }), {
    start: ["b"],
    wakeAtMs: 50,
    held: new Map([["a", { hold: Hold.Backoff, untilMs: 50 }]]),
  });
});

test("schedule sends one probe to a failing endpoint and starts nothing there while it is out", () => {
  const failing = { failing: true, retryAtMs: 50, probeInFlight: false };
  const exporters = [exporter("a", { priority: 1 }), exporter("b", { priority: 1 }), exporter("c")];
  assert.deepEqual(run(exporters, { endpoints: { e: failing }, nowMs: 50 }).start, ["a"]);
  const probed = { ...failing, probeInFlight: true };
  assert.deepEqual(run(exporters, { endpoints: { e: probed }, nowMs: 50 }), {
    start: [],
    wakeAtMs: undefined,
    held: new Map(["a", "b", "c"].map((key) => [key, { hold: Hold.Backoff, untilMs: undefined }])),
  });
});

test("schedule waits for a full batch or for the interval since the oldest message, whichever is first", () => {
  const waiting = exporter("a", { batchIntervalMs: 60_000, oldestArrivalMs: 1000, backlogMessages: 499 });
  assert.deepEqual(run([waiting], { nowMs: 60_999 }), {
    start: [],
    wakeAtMs: 61_000,
    held: new Map([["a", { hold: Hold.Interval, untilMs: 61_000 }]]),
  });
  assert.deepEqual(run([waiting], { nowMs: 61_000 }).start, ["a"]);
  assert.deepEqual(run([{ ...waiting, backlogMessages: 500 }], { nowMs: 1001 }).start, ["a"]);
  assert.deepEqual(run([{ ...waiting, resumesBatch: true }], { nowMs: 1001 }).start, ["a"]);
  // What waits for its interval has nothing to send yet, so it holds back nobody.
  assert.deepEqual(run([{ ...waiting, priority: 1 }, exporter("b")], { nowMs: 1001 }).start, ["b"]);
});

test("schedule never starts more than there are slots, and keeps a slot's worth for the better ones", () => {
  const exporters = ["a", "b", "c"].map((key) => exporter(key, { priority: 1 }));
  assert.deepEqual(run([...exporters, exporter("d")], { slotsFree: 2 }).start, ["a", "b"]);
  assert.deepEqual(run(exporters, { slotsFree: 0 }).start, []);
});

const endpointNames = ["e1", "e2"] as const;

const anyInput: fc.Arbitrary<SchedulerInput> = fc.record({
  exporters: fc.uniqueArray(
    fc.record({
      key: fc.nat(99).map(String),
      priority: fc.integer({ min: 1, max: 11 }),
      endpoint: fc.constantFrom(...endpointNames),
      disabled: fc.boolean(),
      inFlight: fc.boolean(),
      backlogMessages: fc.integer({ min: 0, max: 30 }),
      nextBatchMessages: fc.integer({ min: 1, max: 10 }),
      batchSize: fc.integer({ min: 1, max: 10 }),
      batchIntervalMs: fc.option(fc.integer({ min: 1, max: 50 }), { nil: undefined }),
      oldestArrivalMs: fc.integer({ min: -50, max: 100 }),
      resumesBatch: fc.boolean(),
      notBeforeMs: fc.integer({ min: -50, max: 150 }),
      lastStartMs: fc.integer({ min: 0, max: 100 }),
      nextRequestBytes: fc.integer({ min: 1, max: 300 }),
      cap: fc.option(fc.integer({ min: -200, max: 100 }).map(allowed), { nil: undefined }),
      shareOwedBytes: fc.oneof(fc.constant(0), fc.integer({ min: -300, max: 300 })),
    }),
    { selector: ({ key }) => key, maxLength: 12 },
  ),
  endpoints: fc
    .record({
      e1: fc.record({ failing: fc.boolean(), retryAtMs: fc.nat(150), probeInFlight: fc.boolean() }),
      e2: fc.record({ failing: fc.boolean(), retryAtMs: fc.nat(150), probeInFlight: fc.boolean() }),
    })
    .map((record) => new Map(Object.entries(record))),
  slotsFree: fc.nat(4),
  allowance: fc.option(fc.integer({ min: -200, max: 100 }).map(allowed), { nil: undefined }),
  nowMs: fc.constant(100),
});

/** The rules restated: may this exporter send at that time, were it alone and were bandwidth free? */
function mayStart(one: SchedulerExporter, { endpoints, nowMs }: SchedulerInput, atMs = nowMs): boolean {
  if (one.disabled || one.inFlight || one.backlogMessages === 0 || one.notBeforeMs > atMs) return false;
  const isFull = one.backlogMessages >= one.batchSize;
  const isOld = one.batchIntervalMs === undefined || one.oldestArrivalMs + one.batchIntervalMs <= atMs;
  if (!one.resumesBatch && !isFull && !isOld) return false;
  if (one.cap !== undefined && waitMs(one.cap, one.nextRequestBytes) > atMs - nowMs) return false;
  const endpoint = endpoints.get(one.endpoint);
  return endpoint?.failing !== true || (endpoint.retryAtMs <= atMs && !endpoint.probeInFlight);
}

test("schedule keeps the rules of priority, slots, probes, bandwidth and wake-ups for every state", () => {
  fc.assert(
    fc.property(anyInput, (input) => {
      const { start, wakeAtMs, held } = schedule(input);
      const byKey = new Map(input.exporters.map((one) => [one.key, one]));
      const started = start.map((key) => byKey.get(key)!);
      const isHealthy = ({ endpoint }: SchedulerExporter): boolean =>
        input.endpoints.get(endpoint)?.failing !== true;
      assert.ok(start.length <= input.slotsFree);
      assert.equal(new Set(start).size, start.length);
      for (const one of started) assert.ok(mayStart(one, input), `${one.key} started`);
      for (const name of endpointNames) {
        const probes = started.filter(({ endpoint }) => endpoint === name);
        if (input.endpoints.get(name)?.failing === true) assert.ok(probes.length <= 1);
      }
      // Each one that starts finds what it needs in the bucket, or a full one.
      let levelBytes = input.allowance?.levelBytes ?? Infinity;
      for (const { nextRequestBytes } of started) {
        assert.ok(levelBytes >= Math.min(100, nextRequestBytes));
        levelBytes -= nextRequestBytes;
      }
      const left = input.exporters.filter((one) => mayStart(one, input) && !start.includes(one.key));
      const byPriority = started.filter(({ shareOwedBytes }) => shareOwedBytes <= 0);
      const worst = Math.max(0, ...byPriority.map(({ priority }) => priority));
      for (const one of left) {
        // Whoever could start and did not is no better than any that did, unless its endpoint is being probed.
        if (isHealthy(one)) assert.ok(one.priority >= worst);
        // Nor is it owed its share, unless there was no more room, or only for one that is owed as much.
        if (one.shareOwedBytes > 0 && isHealthy(one) && start.length < input.slotsFree) {
          assert.ok(started.every(({ shareOwedBytes }) => shareOwedBytes >= one.shareOwedBytes));
          assert.notEqual(input.allowance, undefined);
        }
      }
      // Nor does anything start under a better one that is in flight and has more to send.
      for (const one of input.exporters.filter(({ inFlight }) => inFlight)) {
        if (isHealthy(one) && mayStart({ ...one, inFlight: false }, input)) assert.ok(worst <= one.priority);
      }
      // Nothing stands still: with a slot free, the best that may start does, or waits for its bandwidth.
      const ready = input.exporters.filter((one) => mayStart(one, input));
      const blockers = input.exporters.filter((one) => one.inFlight);
      if (ready.length > 0 && input.slotsFree > 0 && blockers.length === 0 && start.length === 0) {
        assert.notEqual(input.allowance, undefined);
        assert.notEqual(wakeAtMs, undefined);
        assert.ok([...held.values()].some(({ hold }) => hold === Hold.Bandwidth));
      }
      if (wakeAtMs !== undefined) assert.ok(wakeAtMs > input.nowMs);
      // What only time holds back is looked at in time, unless something better keeps it from starting anyway.
      if (start.length === 0 && left.length === 0 && blockers.length === 0) {
        const laterMs = wakeAtMs === undefined ? 1e6 : wakeAtMs - 1e-6;
        for (const one of input.exporters) {
          if (input.endpoints.get(one.endpoint)?.probeInFlight !== true) {
            assert.ok(!mayStart(one, input, laterMs));
          }
        }
      }
      // Of everyone that has data, is not out and does not start, it is told why.
      for (const { key, disabled, inFlight, backlogMessages } of input.exporters) {
        const isHeld = !disabled && !inFlight && backlogMessages > 0 && !start.includes(key);
        assert.equal(held.has(key), isHeld);
      }
    }),
    { numRuns: 5000, seed: testSeed },
  );
});

test("schedule lets no smaller batch take the bandwidth that a better one waits for", () => {
  const exporters = [
    exporter("large", { priority: 1, nextRequestBytes: 80 }),
    exporter("small", { priority: 2, nextRequestBytes: 1 }),
  ];
  assert.deepEqual(run(exporters, { allowance: allowed(30) }), {
    start: [],
    wakeAtMs: 5,
    held: new Map([
      ["large", { hold: Hold.Bandwidth, untilMs: 5 }],
      ["small", { hold: Hold.Priority, untilMs: undefined }],
    ]),
  });
  assert.deepEqual(run(exporters, { allowance: allowed(80) }).start, ["large"]);
  // One that no bucket ever holds goes when it is full.
  const huge = exporter("huge", { nextRequestBytes: 1e6 });
  assert.equal(run([huge], { allowance: allowed(-900) }).wakeAtMs, 100);
  assert.deepEqual(run([huge], { allowance: allowed(100) }).start, ["huge"]);
});

test("schedule lets worse priorities pass a better one that its own cap holds back", () => {
  const capped = exporter("a", { priority: 1, cap: allowed(-50) });
  assert.deepEqual(run([capped, exporter("b")]), {
    start: ["b"],
    wakeAtMs: 15,
    held: new Map([["a", { hold: Hold.Cap, untilMs: 15 }]]),
  });
  // With one batch it uses up what it has, so that it holds back nobody by what it leaves.
  const more = { priority: 1, backlogMessages: 501, nextBatchMessages: 500 };
  assert.deepEqual(run([exporter("a", { ...more, cap: allowed(100) }), exporter("b")]).start, ["a", "b"]);
});

test("schedule starts one that is behind its share before all others, and lets it hold back nobody by that", () => {
  const more = { backlogMessages: 501, nextBatchMessages: 500 };
  const best = exporter("best", { priority: 1, ...more });
  const owed = exporter("owed", { priority: 10, shareOwedBytes: 5, ...more });
  assert.deepEqual(run([best, owed]).start, ["owed", "best"]);
  assert.deepEqual(run([best, { ...owed, shareOwedBytes: 0 }]).start, ["best"]);
  assert.deepEqual(run([best, owed], { slotsFree: 1 }).start, ["owed"]);
  // The bandwidth that it waits for is not for others.
  const { start, held } = run([best, owed], { allowance: allowed(30) });
  assert.deepEqual([start, held.get("best")?.hold], [[], Hold.Bandwidth]);
  // What is most behind goes first.
  const further = { ...owed, key: "further", priority: 11, shareOwedBytes: 6 };
  assert.deepEqual(run([best, owed, further], { slotsFree: 2 }).start, ["further", "owed"]);
});
