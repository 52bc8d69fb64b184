import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { digestOf, messageHead, MessageComparison } from "../../src/cli/demo-compare.ts";

const RUN = "0a1b2c3d";

function message(number: number, run = RUN): Buffer {
  return Buffer.from(`${messageHead(run, number)},"value":${number * 3}}`);
}

function comparisonOf(count: number, { ignoresOtherRuns = false } = {}): MessageComparison {
  const journal = Buffer.concat(Array.from({ length: count }, (_, number) => digestOf(message(number))));
  return new MessageComparison({ run: RUN, journal, ignoresOtherRuns });
}

const nothingWrong = { missing: 0, wrong: 0, duplicates: 0, outOfOrder: 0 };

describe("MessageComparison", () => {
  it("finds nothing when every message comes back once", () => {
    const comparison = comparisonOf(100);
    for (let number = 0; number < 100; number++) comparison.add(message(number));
    assert.deepEqual(comparison.differences(), { correct: 100, ...nothingWrong });
  });

  it("counts what never came back", () => {
    const comparison = comparisonOf(10);
    for (const number of [0, 1, 2, 4, 5, 6, 7, 9]) comparison.add(message(number));
    assert.deepEqual(comparison.differences(), { correct: 8, ...nothingWrong, missing: 2 });
    assert.equal(comparisonOf(10).differences().missing, 10);
  });

  it("counts what came back again, once for each time", () => {
    const comparison = comparisonOf(3);
    for (const number of [0, 1, 1, 1, 2]) comparison.add(message(number));
    assert.deepEqual(comparison.differences(), { correct: 3, ...nothingWrong, duplicates: 2 });
  });

  it("finds every flipped bit of a message", () => {
    const original = message(1);
    for (let bit = 0; bit < original.length * 8; bit++) {
      const comparison = comparisonOf(3);
      const damaged = Buffer.from(original);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      for (const payload of [message(0), damaged, message(2)]) comparison.add(payload);
      const { correct, wrong } = comparison.differences();
      assert.deepEqual({ correct, wrong }, { correct: 2, wrong: 1 }, `bit ${bit}`);
    }
  });

  it("takes a message whose right bytes came as well for correct, and still counts the wrong one", () => {
    const comparison = comparisonOf(1);
    comparison.add(Buffer.concat([message(0), Buffer.from(" ")]));
    comparison.add(message(0));
    assert.deepEqual(comparison.differences(), { correct: 1, ...nothingWrong, wrong: 1 });
  });

  it("counts a number that was never sent, an empty message and noise as wrong", () => {
    const comparison = comparisonOf(1);
    for (const payload of [message(1), Buffer.alloc(0), Buffer.from("noise"), Buffer.alloc(200, 0xff)]) {
      comparison.add(payload);
    }
    assert.deepEqual(comparison.differences(), { correct: 0, ...nothingWrong, missing: 1, wrong: 4 });
  });

  it("skips the messages of another run only where there may be some", () => {
    const other = message(0, "ffffffff");
    const shared = comparisonOf(1, { ignoresOtherRuns: true });
    const own = comparisonOf(1);
    for (const comparison of [shared, own]) {
      comparison.add(other);
      comparison.add(message(0));
    }
    assert.deepEqual(shared.differences(), { correct: 1, ...nothingWrong });
    assert.deepEqual(own.differences(), { correct: 1, ...nothingWrong, wrong: 1 });
  });

  it("counts what came after a later one, within a part", () => {
    const comparison = comparisonOf(6);
    for (const number of [0, 3, 2, 5]) comparison.add(message(number));
    comparison.beginPart();
    for (const number of [1, 4]) comparison.add(message(number));
    assert.deepEqual(comparison.differences(), { correct: 6, ...nothingWrong, outOfOrder: 1 });
  });

  it("reads a message that is a view into a larger buffer", () => {
    const comparison = comparisonOf(2);
    const both = Buffer.concat([message(0), message(1)]);
    comparison.add(both.subarray(0, message(0).length));
    comparison.add(both.subarray(message(0).length));
    assert.equal(comparison.differences().correct, 2);
  });
});
