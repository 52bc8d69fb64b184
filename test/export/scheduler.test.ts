import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  schedule,
  type SchedulerEndpoint,
  type SchedulerExporter,
  type SchedulerInput,
} from "../../src/export/scheduler.ts";
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
    batchSize: 500,
    batchIntervalMs: undefined,
    oldestArrivalMs: -Infinity,
    resumesBatch: false,
    notBeforeMs: -Infinity,
    lastStartMs: -Infinity,
    ...changes,
  };
}

function run(
  exporters: SchedulerExporter[],
  {
    endpoints = {},
    slotsFree = 5,
    nowMs = 0,
  }: { endpoints?: Record<string, SchedulerEndpoint>; slotsFree?: number; nowMs?: number } = {},
) {
  return schedule({ exporters, endpoints: new Map(Object.entries(endpoints)), slotsFree, nowMs });
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

test("schedule lets worse priorities pass an exporter in backoff, and one whose endpoint is in backoff", () => {
  const delayed = exporter("a", { priority: 1, notBeforeMs: 70 });
  assert.deepEqual(run([delayed, exporter("b")]), { start: ["b"], wakeAtMs: 70 });
  const down = { failing: true, retryAtMs: 50, probeInFlight: false };
  const input = [exporter("a", { priority: 1, endpoint: "down" }), exporter("b")];
  assert.deepEqual(run(input, { endpoints: { down } }), { start: ["b"], wakeAtMs: 50 });
});

test("schedule sends one probe to a failing endpoint and starts nothing there while it is out", () => {
  const failing = { failing: true, retryAtMs: 50, probeInFlight: false };
  const exporters = [exporter("a", { priority: 1 }), exporter("b", { priority: 1 }), exporter("c")];
  assert.deepEqual(run(exporters, { endpoints: { e: failing }, nowMs: 50 }).start, ["a"]);
  const probed = { ...failing, probeInFlight: true };
  assert.deepEqual(run(exporters, { endpoints: { e: probed }, nowMs: 50 }), {
    start: [],
    wakeAtMs: undefined,
  });
});

test("schedule waits for a full batch or for the interval since the oldest message, whichever is first", () => {
  const waiting = exporter("a", { batchIntervalMs: 60_000, oldestArrivalMs: 1000, backlogMessages: 499 });
  assert.deepEqual(run([waiting], { nowMs: 60_999 }), { start: [], wakeAtMs: 61_000 });
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
  nowMs: fc.constant(100),
});

/** The rules restated: may this exporter send now, were it alone? */
function mayStart(one: SchedulerExporter, { endpoints, nowMs }: SchedulerInput): boolean {
  if (one.disabled || one.inFlight || one.backlogMessages === 0 || one.notBeforeMs > nowMs) return false;
  const isFull = one.backlogMessages >= one.batchSize;
  const isOld = one.batchIntervalMs === undefined || one.oldestArrivalMs + one.batchIntervalMs <= nowMs;
  if (!one.resumesBatch && !isFull && !isOld) return false;
  const endpoint = endpoints.get(one.endpoint);
  return endpoint?.failing !== true || (endpoint.retryAtMs <= nowMs && !endpoint.probeInFlight);
}

test("schedule keeps the rules of priority, slots, probes and wake-ups for every state", () => {
  fc.assert(
    fc.property(anyInput, (input) => {
      const { start, wakeAtMs } = schedule(input);
      const byKey = new Map(input.exporters.map((one) => [one.key, one]));
      assert.ok(start.length <= input.slotsFree);
      assert.equal(new Set(start).size, start.length);
      for (const key of start) assert.ok(mayStart(byKey.get(key)!, input), `${key} started`);
      for (const name of endpointNames) {
        const probes = start.filter((key) => byKey.get(key)!.endpoint === name);
        if (input.endpoints.get(name)?.failing === true) assert.ok(probes.length <= 1);
      }
      const left = input.exporters.filter((one) => mayStart(one, input) && !start.includes(one.key));
      const worst = Math.max(0, ...start.map((key) => byKey.get(key)!.priority));
      for (const one of left) {
        // Whoever could start and did not is no better than any that did, unless its endpoint is being probed.
        if (input.endpoints.get(one.endpoint)?.failing !== true) assert.ok(one.priority >= worst);
      }
      // Nor does anything start under a better one that is in flight and has more to send.
      for (const one of input.exporters.filter(({ inFlight }) => inFlight)) {
        const isHealthy = input.endpoints.get(one.endpoint)?.failing !== true;
        if (isHealthy && mayStart({ ...one, inFlight: false }, input)) assert.ok(worst <= one.priority);
      }
      // Nothing stands still: with a slot free, the best that may start does.
      const ready = input.exporters.filter((one) => mayStart(one, input));
      const blockers = input.exporters.filter((one) => one.inFlight);
      if (ready.length > 0 && input.slotsFree > 0 && blockers.length === 0) assert.ok(start.length > 0);
      if (wakeAtMs !== undefined) assert.ok(wakeAtMs > input.nowMs);
      // What only time holds back is looked at in time, unless something better keeps it from starting anyway.
      if (start.length === 0 && left.length === 0 && blockers.length === 0) {
        for (const one of input.exporters) {
          const later = { ...input, nowMs: wakeAtMs === undefined ? 1e6 : wakeAtMs - 1 };
          if (input.endpoints.get(one.endpoint)?.probeInFlight !== true) assert.ok(!mayStart(one, later));
        }
      }
    }),
    { numRuns: 5000, seed: testSeed },
  );
});
