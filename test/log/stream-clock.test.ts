import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { ClockWatch } from "../../src/core/clock-watch.ts";
import type { RecoveredClock } from "../../src/log/clock-trace.ts";
import { StreamClock } from "../../src/log/stream-clock.ts";
import { ManualClock } from "../support/deterministic.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** Nov 14, 2023; and 2040. */
const NOW = 1_700_000_000_000;
const IN_2040 = 2_209_000_000_000;

class Run {
  readonly clock: ManualClock;
  readonly time: StreamClock;
  readonly #watch: ClockWatch;

  constructor(wallMs: number, recovered?: Partial<RecoveredClock>) {
    this.clock = new ManualClock(wallMs);
    this.#watch = new ClockWatch(this.clock);
    const defaults = { stampMs: NOW, ageMs: 0, runMs: 0, clockEra: 0, reference: { stampMs: NOW, ageMs: 0 } };
    this.time = new StreamClock(this.#watch, recovered && { ...defaults, ...recovered });
  }

  pass(ms: number, stepMs = SECOND): void {
    for (let passedMs = 0; passedMs < ms; passedMs += stepMs) {
      this.clock.advance(Math.min(stepMs, ms - passedMs));
      this.look();
    }
  }

  look(): void {
    this.#watch.sample();
    this.time.update();
  }

  setWall(wallMs: number): void {
    this.clock.setWall(wallMs);
    this.look();
  }

  step(ms: number): void {
    this.setWall(this.clock.nowMs() + ms);
  }
}

describe("StreamClock, ingest times", () => {
  it("follows the wall clock through steps of up to an hour, and through a slow drift of hours", () => {
    const run = new Run(NOW);
    for (const ms of [59 * MINUTE, -40 * MINUTE, HOUR, -HOUR]) {
      run.step(ms);
      assert.equal(run.time.stampMs, run.clock.nowMs());
      run.pass(MINUTE);
    }
    // Five hours in three days.
    for (let minute = 0; minute < 3 * 24 * 60; minute++) {
      run.clock.setWall(run.clock.nowMs() + (5 * HOUR) / (3 * 24 * 60));
      run.pass(MINUTE, MINUTE);
    }
    assert.equal(run.time.stampMs, Math.floor(run.clock.nowMs()));
    assert.equal(run.time.clockEra, 0);
  });

  const leaps = [
    { name: "a boot in 1970, then NTP", fromMs: 8 * SECOND, toMs: NOW },
    { name: "a leap to 2040", fromMs: NOW, toMs: IN_2040 },
    { name: "two hours back", fromMs: NOW, toMs: NOW - 2 * HOUR },
    { name: "more than an hour forward", fromMs: NOW, toMs: NOW + HOUR + 1 },
  ];
  for (const { name, fromMs, toMs } of leaps) {
    it(`goes on where it was after ${name}, until ten steady minutes begin a new era`, () => {
      const run = new Run(fromMs);
      run.setWall(toMs);
      for (let minute = 0; minute < 10; minute++) {
        assert.equal(run.time.stampMs, fromMs + minute * MINUTE);
        assert.equal(run.time.clockEra, 0);
        assert.equal(run.time.mark.isStampProven, false);
        run.pass(MINUTE);
      }
      assert.equal(run.time.clockEra, 1);
      assert.equal(run.time.stampMs, toMs + 10 * MINUTE);
      assert.equal(run.time.mark.isStampProven, true);
    });
  }

  it("takes no notice of a clock that leaps to 2040 and back within ten minutes, again and again", () => {
    const run = new Run(NOW);
    for (let round = 0; round < 20; round++) {
      const before = run.clock.nowMs();
      run.setWall(IN_2040);
      run.pass(9 * MINUTE);
      assert.equal(run.time.stampMs, before + 9 * MINUTE);
      run.setWall(before + 9 * MINUTE);
      run.pass(MINUTE);
    }
    assert.equal(run.time.clockEra, 0);
    assert.equal(run.time.stampMs, NOW + 200 * MINUTE);
  });

  it("begins no era when the machine slept", () => {
    const run = new Run(NOW);
    run.clock.sleep(9 * HOUR);
    run.pass(11 * MINUTE);
    assert.equal(run.time.clockEra, 0);
    assert.equal(run.time.stampMs, run.clock.nowMs());
  });

  const starts = [
    { name: "at once, a little later", wallMs: NOW + 5 * SECOND, isFollowed: true },
    { name: "after months", wallMs: NOW + 300 * DAY, isFollowed: true },
    { name: "a little early", wallMs: NOW - HOUR, isFollowed: true },
    { name: "two hours early", wallMs: NOW - 2 * HOUR, isFollowed: false },
    { name: "in 1970", wallMs: 20 * SECOND, isFollowed: false },
    { name: "in 2040", wallMs: IN_2040, isFollowed: false },
  ];
  for (const { name, wallMs, isFollowed } of starts) {
    it(`after a start ${name} ${isFollowed ? "follows" : "goes on from"} what was stored last`, () => {
      const run = new Run(wallMs, { clockEra: 7 });
      assert.equal(run.time.stampMs, isFollowed ? wallMs : NOW);
      run.pass(5 * MINUTE);
      assert.equal(run.time.stampMs, (isFollowed ? wallMs : NOW) + 5 * MINUTE);
      run.pass(5 * MINUTE);
      assert.equal(run.time.stampMs, wallMs + 10 * MINUTE);
      assert.equal(run.time.clockEra, isFollowed ? 7 : 8);
    });
  }

  it("is where it was at once when the clock of a start in 1970 is put right", () => {
    const run = new Run(20 * SECOND, {});
    run.pass(30 * SECOND);
    run.setWall(NOW + 2 * MINUTE);
    assert.equal(run.time.stampMs, NOW + 2 * MINUTE);
    run.pass(20 * MINUTE);
    assert.equal(run.time.clockEra, 0);
  });
});

describe("StreamClock, age", () => {
  it("grows with what really passes, whatever the wall clock does", () => {
    const run = new Run(8 * SECOND);
    for (const wallMs of [NOW, IN_2040, 0, NOW + 3 * HOUR]) {
      run.setWall(wallMs);
      run.pass(HOUR);
    }
    assert.equal(run.time.ageMs, 4 * HOUR);
    assert.equal(run.time.isAgeProven, true);
    run.clock.sleep(9 * HOUR);
    run.look();
    assert.equal(run.time.ageMs, 13 * HOUR);
  });

  it("takes in the time between two runs once the clock was steady for ten minutes", () => {
    const run = new Run(NOW + DAY, { ageMs: 5 * HOUR, reference: { stampMs: NOW, ageMs: 5 * HOUR } });
    run.pass(10 * MINUTE - SECOND);
    assert.equal(run.time.ageMs, 5 * HOUR + 10 * MINUTE - SECOND);
    assert.equal(run.time.isAgeProven, false);
    run.pass(SECOND);
    assert.equal(run.time.ageMs, 5 * HOUR + DAY + 10 * MINUTE);
    assert.equal(run.time.isAgeProven, true);
    run.step(3 * DAY);
    run.pass(HOUR);
    assert.equal(run.time.ageMs, 5 * HOUR + DAY + 70 * MINUTE, "what passed is counted once");
  });

  const bootClocks = [
    { name: "in 1970", bootMs: 0 },
    { name: "at the time of the last stop", bootMs: NOW + SECOND },
    { name: "with local time taken for UTC, west", bootMs: NOW + DAY - 5 * HOUR },
    { name: "with local time taken for UTC, east", bootMs: NOW + DAY + 8 * HOUR },
    { name: "in 2040", bootMs: IN_2040 },
  ];
  for (const { name, bootMs } of bootClocks) {
    it(`is right after a boot ${name} when the clock is put right`, () => {
      const run = new Run(bootMs, {});
      run.pass(30 * SECOND);
      run.setWall(NOW + DAY + 30 * SECOND);
      run.pass(10 * MINUTE);
      assert.equal(run.time.ageMs, DAY + 30 * SECOND + 10 * MINUTE);
    });
  }

  it("measures from the newest ingest time of a proven clock, over runs that were too short for a judgement", () => {
    // A day after the reference one run of five minutes, another day later this one; its clock said anything.
    const newest = { stampMs: NOW + 40 * DAY, ageMs: 5 * MINUTE };
    const run = new Run(NOW + 2 * DAY, { ...newest, reference: { stampMs: NOW, ageMs: 0 } });
    run.pass(10 * MINUTE);
    assert.equal(run.time.ageMs, 2 * DAY + 10 * MINUTE);
  });

  const doubts: { name: string; wallMs: number; recovered: Partial<RecoveredClock>; eras: number }[] = [
    { name: "without a reference", wallMs: NOW + DAY, recovered: { reference: undefined }, eras: 0 },
    { name: "of a clock a little before the reference", wallMs: NOW - HOUR, recovered: {}, eras: 0 },
    { name: "of a clock a day before the reference", wallMs: NOW - DAY, recovered: {}, eras: 1 },
    { name: "of more than a year", wallMs: IN_2040, recovered: {}, eras: 1 },
    {
      name: "of more than a year, in short runs",
      wallMs: NOW + 400 * DAY,
      recovered: { stampMs: NOW + 300 * DAY },
      eras: 1,
    },
  ];
  for (const { name, wallMs, recovered, eras } of doubts) {
    it(`takes in nothing ${name}, now or later`, () => {
      const run = new Run(wallMs, recovered);
      run.pass(HOUR);
      assert.equal(run.time.ageMs, HOUR);
      assert.equal(run.time.isAgeProven, true);
      assert.equal(run.time.clockEra, eras);
      assert.deepEqual(run.time.reference, { stampMs: wallMs + HOUR, ageMs: HOUR });
    });
  }

  it("is not proven while the clock is not steady; the run time goes on", () => {
    const run = new Run(NOW + DAY, { runMs: HOUR });
    for (let round = 0; round < 24 * 12; round++) {
      run.step(round % 2 === 0 ? 2 * HOUR : -2 * HOUR);
      run.pass(5 * MINUTE, MINUTE);
    }
    assert.equal(run.time.isAgeProven, false);
    assert.equal(run.time.runMs, DAY + HOUR);
    run.pass(5 * MINUTE);
    assert.equal(run.time.isAgeProven, true);
    assert.equal(run.time.runMs, DAY + HOUR + 5 * MINUTE);
    assert.equal(run.time.ageMs, 2 * DAY + 5 * MINUTE);
  });
});
