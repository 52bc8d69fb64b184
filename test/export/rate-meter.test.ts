import assert from "node:assert/strict";
import { test } from "node:test";
import { EXPORT_RATE_MS } from "../../src/core/limits.ts";
import { RateMeter } from "../../src/export/rate-meter.ts";

test("RateMeter tells a steady rate from its first seconds on, and forgets it over a minute", () => {
  const meter = new RateMeter(5000);
  for (let second = 1; second <= 300; second += 1) {
    meter.add(70, 5000 + 1000 * second);
    if (second === 3 || second === 300) {
      const rate = meter.perSecond(5000 + 1000 * second);
      assert.ok(Math.abs(rate - 70) < 2, `${rate} after ${second} s`);
    }
  }
  const later = meter.perSecond(305_000 + EXPORT_RATE_MS);
  assert.ok(Math.abs(later - 70 / Math.E) < 2, `${later}`);
  assert.ok(meter.perSecond(305_000 + 20 * EXPORT_RATE_MS) < 1e-6);
});

test("RateMeter makes no rate of a million a second of the first amount that it sees", () => {
  const meter = new RateMeter(0);
  meter.add(500, 0);
  assert.ok(Math.abs(meter.perSecond(0) - 500) < 5);
});
