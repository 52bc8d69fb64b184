import assert from "node:assert/strict";
import { test } from "node:test";
import { EXPORT_CAP_BATCH_MS } from "../../src/core/limits.ts";
import { TokenBucket, waitMs } from "../../src/export/token-bucket.ts";
import { SeededRandom } from "../support/deterministic.ts";
import { testSeed } from "../support/seeded-random.ts";

/** 1000 bytes a second: 1 a millisecond. */
const KBIT_PER_SECOND = 8;

test("TokenBucket lets through what flows in, and a batch larger than it when it is full", () => {
  const bucket = new TokenBucket({ kbitPerSecond: KBIT_PER_SECOND, nowMs: 100 });
  assert.deepEqual(bucket.allowance(100), {
    levelBytes: EXPORT_CAP_BATCH_MS,
    depthBytes: EXPORT_CAP_BATCH_MS,
    bytesPerMs: 1,
  });
  assert.equal(waitMs(bucket.allowance(100), 1_000_000), 0);
  bucket.take(1400, 100);
  assert.equal(bucket.allowance(100).levelBytes, -400);
  assert.equal(waitMs(bucket.allowance(100), 10), 410);
  assert.equal(waitMs(bucket.allowance(500), 10), 10);
  assert.equal(waitMs(bucket.allowance(500), 1_000_000), 1000);
  // What was taken too many comes back.
  bucket.take(-300, 500);
  assert.equal(waitMs(bucket.allowance(500), 1_000_000), 700);
  // A long silence fills it no further than to its depth; a clock that went back would fill nothing.
  assert.equal(bucket.allowance(1e9).levelBytes, 1000);
  bucket.take(600, 1e9);
  assert.equal(bucket.allowance(5).levelBytes, 400);
  assert.equal(bucket.allowance(1e9).levelBytes, 400);
});

test("TokenBucket is exceeded by no more than a batch over any time, and used up to 1 % by who always has data", () => {
  const random = new SeededRandom(testSeed);
  const bucket = new TokenBucket({ kbitPerSecond: KBIT_PER_SECOND, nowMs: 0 });
  const sent: { readonly atMs: number; readonly bytes: number }[] = [];
  const bytesMax = 1500;
  let total = 0;
  for (let nowMs = 0; nowMs < 200_000; nowMs += 1) {
    const bytes = random.between(1, bytesMax);
    if (waitMs(bucket.allowance(nowMs), bytes) > 0) continue;
    bucket.take(bytes, nowMs);
    sent.push({ atMs: nowMs, bytes });
    total += bytes;
  }
  for (const [first, { atMs: fromMs }] of sent.entries()) {
    let bytes = 0;
    for (const one of sent.slice(first, first + 40)) {
      bytes += one.bytes;
      assert.ok(bytes <= one.atMs - fromMs + bytesMax, `${bytes} from ${fromMs}`);
    }
  }
  assert.ok(Math.abs(total / 200_000 - 1) < 0.01, `${total} bytes in 200 s`);
});
