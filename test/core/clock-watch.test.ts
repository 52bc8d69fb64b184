import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { systemClock } from "../../src/core/clock.ts";
import { ClockWatch } from "../../src/core/clock-watch.ts";
import { CLOCK_LEAP_MS } from "../../src/core/limits.ts";
import { ManualClock } from "../support/deterministic.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

function watched(): { clock: ManualClock; watch: ClockWatch; pass: (ms: number) => void } {
  const clock = new ManualClock();
  const watch = new ClockWatch(clock);
  const pass = (ms: number): void => {
    clock.advance(ms);
    watch.sample();
  };
  return { clock, watch, pass };
}

describe("ClockWatch", () => {
  it("counts what the monotonic clock says, whatever the wall clock does", () => {
    const { clock, watch, pass } = watched();
    pass(5 * MINUTE);
    for (const wallMs of [0, 2_200_000_000_000, clock.nowMs() - 30 * MINUTE, clock.nowMs() + 30 * MINUTE]) {
      clock.setWall(wallMs);
      watch.sample();
      assert.equal(watch.elapsedMs, 5 * MINUTE);
      assert.equal(watch.wallMs, wallMs);
    }
  });

  it("says for how long the wall clock has been steady, and begins again with each leap", () => {
    const { clock, watch, pass } = watched();
    pass(20 * MINUTE);
    assert.equal(watch.steadyMs, 20 * MINUTE);
    clock.setWall(clock.nowMs() + CLOCK_LEAP_MS);
    pass(MINUTE);
    assert.equal(watch.steadyMs, 21 * MINUTE, "a step of an hour is none");
    clock.setWall(clock.nowMs() - CLOCK_LEAP_MS - 1 - CLOCK_LEAP_MS);
    pass(0);
    assert.equal(watch.steadyMs, 0);
    pass(3 * MINUTE);
    assert.equal(watch.steadyMs, 3 * MINUTE);
    // A leap from where small steps had led it, though it ends near the place where it had begun to be steady.
    clock.setWall(clock.nowMs() + 50 * MINUTE);
    pass(MINUTE);
    clock.setWall(clock.nowMs() - 90 * MINUTE);
    pass(0);
    assert.equal(watch.steadyMs, 0);
  });

  it("takes many small steps one way for a clock that is not steady", () => {
    const { clock, watch, pass } = watched();
    let longestMs = 0;
    for (let minute = 0; minute < 60; minute++) {
      clock.setWall(clock.nowMs() + 20 * MINUTE);
      pass(MINUTE);
      longestMs = Math.max(longestMs, watch.steadyMs);
    }
    assert.ok(longestMs < 5 * MINUTE, `${longestMs} ms`);
  });

  it("counts the time that the machine slept as passed, without a leap, as far as uptime and wall clock agree", () => {
    const { clock, watch, pass } = watched();
    pass(MINUTE);
    clock.sleep(8 * HOUR);
    pass(MINUTE);
    assert.equal(watch.elapsedMs, 8 * HOUR + 2 * MINUTE);
    assert.equal(watch.steadyMs, watch.elapsedMs);
    // The wall clock was set forward as well.
    clock.sleep(HOUR);
    clock.setWall(clock.nowMs() + 2 * HOUR);
    pass(0);
    assert.equal(watch.elapsedMs, 9 * HOUR + 2 * MINUTE);
    assert.equal(watch.steadyMs, 0);
    // It was set back: less is counted than was slept.
    clock.sleep(3 * HOUR);
    clock.setWall(clock.nowMs() - HOUR);
    pass(0);
    assert.equal(watch.elapsedMs, 11 * HOUR + 2 * MINUTE);
  });

  it("runs on this machine's clocks", async () => {
    const watch = new ClockWatch(systemClock);
    await new Promise((resolve) => setTimeout(resolve, 30));
    watch.sample();
    assert.ok(watch.elapsedMs >= 29 && watch.elapsedMs < 10_000, `${watch.elapsedMs} ms`);
    assert.ok(systemClock.uptimeMs() > 0);
  });
});
