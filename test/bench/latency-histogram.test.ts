import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LatencyHistogram, latencyValues, summaryPercentiles } from "../../bench/latency-histogram.ts";

/** The histogram's buckets are a tenth of a percent wide. */
function assertNear(actual: number | undefined, expected: number): void {
  assert.ok(
    actual !== undefined && Math.abs(actual - expected) <= expected / 1000,
    `${actual}, not ${expected}`,
  );
}

describe("LatencyHistogram", () => {
  it("gives percentiles by nearest rank within a tenth of a percent, of its own values and another's", () => {
    const histogram = new LatencyHistogram();
    assert.equal(histogram.percentile(50), undefined);
    assert.equal(histogram.summary(), undefined);
    for (let value = 10_000; value >= 1; value--) histogram.add(value);
    const merged = new LatencyHistogram();
    merged.addAll(new LatencyHistogram());
    merged.addAll(histogram);
    assert.equal(merged.count, 10_000);
    for (const [percent, expected] of [
      [0, 1],
      [50, 5000],
      [99, 9900],
      [99.9, 9990],
      [99.99, 9999],
      [100, 10_000],
    ] as const)
      assertNear(merged.percentile(percent), expected);
  });

  it("holds a minute beside a microsecond, and refuses what no clock gives", () => {
    const histogram = new LatencyHistogram();
    for (let round = 0; round < 999; round++) histogram.add(1);
    histogram.add(60e6);
    assertNear(histogram.percentile(99), 1);
    assertNear(histogram.percentile(99.99), 60e6);
    assert.throws(() => histogram.add(Number.NaN), /Cannot record/);
    assert.throws(() => histogram.add(3.7e9), /over an hour/);
  });

  it("sums itself up with the whole tail", () => {
    const histogram = new LatencyHistogram();
    for (let value = 1; value <= 1000; value++) histogram.add(value);
    const summary = histogram.summary()!;
    assert.deepEqual(
      summary.percentiles_us.map(([percent]) => percent),
      summaryPercentiles,
    );
    assertNear(summary.mean_us, 500.5);
    assertNear(summary.percentiles_us.at(-1)?.[1], summary.max_us);
    assertNear(latencyValues("ack", histogram)["ack_p99_9_us"] ?? undefined, 999);
    assert.equal(latencyValues("ack", new LatencyHistogram())["ack_max_us"], null);
  });
});
