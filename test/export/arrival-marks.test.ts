import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ArrivalMarks } from "../../src/export/arrival-marks.ts";
import { seededRandom } from "../support/seeded-random.ts";

describe("ArrivalMarks", () => {
  it("tells exactly while there are few, of what was there before, and of what has not come", () => {
    const marks = new ArrivalMarks(10);
    marks.add(12, 1000);
    marks.add(12, 1500);
    marks.add(20, 2000);
    const times = [0, 9, 10, 11, 12, 19, 20].map((sequence) => marks.arrivalMs(sequence));
    assert.deepEqual(times, [-Infinity, -Infinity, 1000, 1000, 2000, 2000, Infinity]);
  });

  for (const [span, gapMs] of [
    ["minutes of a commit every few milliseconds", 5],
    ["a day of a commit a second", 1000],
  ] as const) {
    it(`tells to an eighth of the age, never too late, over ${span}`, () => {
      const marks = new ArrivalMarks(0);
      const random = seededRandom(7);
      const arrivals: number[] = [];
      let nowMs = 500;
      for (let count = 1; count <= 86_400; count++) {
        nowMs += 2 * gapMs * random.fraction();
        arrivals.push(nowMs);
        marks.add(count, nowMs);
      }
      for (let sequence = 0; sequence < arrivals.length; sequence += 37) {
        const errorMs = arrivals[sequence]! - marks.arrivalMs(sequence);
        const ageMs = nowMs - arrivals[sequence]!;
        // A mark may have been made just before the next one: its own distance comes on top.
        assert.ok(errorMs >= 0 && errorMs <= ageMs / 8 + 2 * gapMs, `${sequence}: ${errorMs} of ${ageMs}`);
      }
    });
  }

  it("ends with marks of one moment too", () => {
    const marks = new ArrivalMarks(0);
    for (let count = 1; count <= 1000; count++) marks.add(count, 5);
    assert.deepEqual([marks.arrivalMs(0), marks.arrivalMs(999)], [5, 5]);
  });
});
