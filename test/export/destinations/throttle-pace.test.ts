import assert from "node:assert/strict";
import { test } from "node:test";
import { ThrottlePace } from "../../../src/export/destinations/throttle-pace.ts";

const RECORDS = 500;
const BYTES = 80_000;

/** A stream that takes `shards` thousand records a second, as a bucket of one second, for `seconds`. */
function run(shards: number, seconds: number, knownShards?: number) {
  const pace = new ThrottlePace();
  const perMs = (shards * 1000) / 1000;
  let nowMs = 1000;
  let room = shards * 1000;
  let filledMs = nowMs;
  let accepted = 0;
  let throttled = 0;
  const endMs = nowMs + seconds * 1000;
  while (nowMs < endMs) {
    room = Math.min(shards * 1000, room + (nowMs - filledMs) * perMs);
    filledMs = nowMs;
    const taken = Math.min(RECORDS, Math.floor(room));
    room -= taken;
    accepted += taken;
    throttled += RECORDS - taken;
    const pauseMs = pace.note({
      acceptedRecords: taken,
      acceptedBytes: (taken * BYTES) / RECORDS,
      throttledRecords: RECORDS - taken,
      sentBytes: BYTES,
      nowMs,
      shards: knownShards,
    });
    nowMs += Math.max(2, pauseMs);
  }
  return { pace, acceptedPerS: accepted / seconds, throttledShare: throttled / (accepted + throttled) };
}

test("ThrottlePace holds nothing back where nothing is throttled", () => {
  const { pace, throttledShare } = run(1_000_000, 10);
  assert.equal(throttledShare, 0);
  assert.equal(pace.shardsPerSecond, undefined);
});

for (const known of [undefined, 2]) {
  test(`ThrottlePace uses a stream of 2 shards well without hammering it, ${known ?? "not"} known`, () => {
    const { acceptedPerS, throttledShare } = run(2, 120, known);
    assert.ok(acceptedPerS > 2000 * 0.7, `${acceptedPerS} a second`);
    assert.ok(throttledShare < 0.15, `${throttledShare} of all were throttled`);
  });
}

test("ThrottlePace bounds bytes as it bounds records", () => {
  const pace = new ThrottlePace();
  const mib = 1024 * 1024;
  const answer = { acceptedRecords: 1, acceptedBytes: mib, sentBytes: 2 * mib, nowMs: 1000, shards: 1 };
  assert.ok(pace.note({ ...answer, throttledRecords: 1 }) >= 1000);
});

test("ThrottlePace speeds up with each second without throttling, and forgets it after a minute", () => {
  const pace = new ThrottlePace();
  const clean = { acceptedRecords: 1, acceptedBytes: 100, sentBytes: 100, throttledRecords: 0, shards: 1 };
  const rateAt = (nowMs: number, throttledRecords = 0): number | undefined => {
    pace.note({ ...clean, throttledRecords, nowMs });
    return pace.shardsPerSecond;
  };
  assert.equal(rateAt(1000, 1), 1);
  const rate = rateAt(6000) ?? 0;
  assert.ok(rate > 1.5 && rate < 3, `${rate} shards a second`);
  assert.equal(rateAt(61_000), undefined);
});
