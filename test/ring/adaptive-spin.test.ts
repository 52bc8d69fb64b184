import assert from "node:assert/strict";
import test from "node:test";
import { AdaptiveSpin } from "../../src/ring/adaptive-spin.ts";

/** Time that moves on a little with every reading. */
function tickingClock(stepMs: number): { nowMs: () => number; monotonicMs: () => number; readings: number } {
  const clock = {
    readings: 0,
    nowMs: () => 0,
    monotonicMs: () => stepMs * ++clock.readings,
  };
  return clock;
}

function quickWaits(spin: AdaptiveSpin): void {
  for (let wait = 0; wait < 20; wait++) spin.observe(0.03);
}

test("AdaptiveSpin does not look before short waits were seen", () => {
  let lookCount = 0;
  const spin = new AdaptiveSpin(tickingClock(0.001));
  assert.equal(
    spin.poll(() => ++lookCount > 0),
    false,
  );
  assert.equal(lookCount, 0);
});

test("AdaptiveSpin looks once waits have been short, and tells when it found something", () => {
  let lookCount = 0;
  const spin = new AdaptiveSpin(tickingClock(0.001));
  quickWaits(spin);
  assert.equal(
    spin.poll(() => ++lookCount === 100),
    true,
  );
  assert.equal(lookCount, 100);
});

test("AdaptiveSpin gives up after its time, and altogether when looking does not pay off", () => {
  const clock = tickingClock(0.01);
  const spin = new AdaptiveSpin(clock);
  quickWaits(spin);
  let rounds = 0;
  for (;;) {
    const before = clock.readings;
    assert.equal(
      spin.poll(() => false),
      false,
    );
    const readings = clock.readings - before;
    if (readings === 0) break;
    assert.ok(readings <= 12, `looked for ${readings} readings of 0.01 ms`);
    rounds += 1;
  }
  assert.ok(rounds >= 1 && rounds <= 3, `${rounds} looks in vain`);
});

test("AdaptiveSpin forgets one long wait after a few short ones", () => {
  const spin = new AdaptiveSpin(tickingClock(0.001));
  quickWaits(spin);
  spin.observe(60_000);
  assert.equal(
    spin.poll(() => true),
    false,
  );
  for (let wait = 0; wait < 5; wait++) spin.observe(0.03);
  assert.equal(
    spin.poll(() => true),
    true,
  );
});
