import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AppendChecker, type SentBatch, type StoredMessage } from "./append-checker.ts";

/** Two acknowledged batches of two, a third without an answer. */
function checkerAfterCrash({ isOverwriting = false } = {}): AppendChecker {
  const checker = new AppendChecker({ stream: "s", isOverwriting });
  const batches: SentBatch[] = [0, 2, 4].map((firstCounter) => ({ firstCounter, messageCount: 2 }));
  for (const batch of batches) checker.sent("p", batch);
  checker.acknowledged("p", batches[0]!, 0);
  checker.acknowledged("p", batches[1]!, 2);
  assert.equal(checker.interrupted("p"), 4);
  return checker;
}

/** After two acknowledged batches one that was refused, one of unknown outcome, and one that was sent but not yet answered. */
function checkerAfterFailures(): AppendChecker {
  const checker = checkerAfterCrash();
  const batches: SentBatch[] = [4, 6, 8].map((firstCounter) => ({ firstCounter, messageCount: 2 }));
  for (const batch of batches) checker.sent("p", batch);
  checker.failed("p", batches[0]!, "rejected");
  checker.failed("p", batches[1]!, "unknown");
  return checker;
}

function stored(checker: AppendChecker, counters: readonly number[], first = 0): StoredMessage[] {
  return counters.map((counter, index) => ({
    sequence: first + index,
    payload: checker.payload("p", counter),
  }));
}

function check(checker: AppendChecker, counters: readonly number[], first = 0): AppendChecker {
  checker.walk(stored(checker, counters, first));
  checker.finish({ oldestSequence: first, nextSequence: first + counters.length });
  return checker;
}

describe("AppendChecker", () => {
  it("accepts unanswered messages that are stored, and that are not", () => {
    assert.deepEqual(check(checkerAfterCrash(), [0, 1, 2, 3]).violations, []);
    assert.deepEqual(check(checkerAfterCrash(), [0, 1, 2, 3, 4, 5]).violations, []);
  });

  it("accepts a second copy of what was unanswered, and counts it", () => {
    const checker = checkerAfterCrash();
    checker.sent("p", { firstCounter: 4, messageCount: 3 });
    assert.deepEqual(check(checker, [0, 1, 2, 3, 4, 5, 4, 5, 6]).violations, []);
    assert.equal(checker.duplicateCount, 2);
  });

  it("accepts that an overwriting stream begins later", () => {
    assert.deepEqual(check(checkerAfterCrash({ isOverwriting: true }), [2, 3], 2).violations, []);
  });

  it("accepts holes where messages were refused, and those that nobody knew of, stored or not", () => {
    for (const counters of [
      [0, 1, 2, 3, 8, 9],
      [0, 1, 2, 3, 6, 7, 8, 9],
    ]) {
      assert.deepEqual(check(checkerAfterFailures(), counters).violations, []);
    }
  });

  it("finds a message that was refused, and is stored", () => {
    const { violations } = check(checkerAfterFailures(), [0, 1, 2, 3, 4, 5, 8, 9]);
    assert.match(violations.join("\n"), /message 4 was refused, and is stored at 4/);
  });

  const faults: readonly [string, readonly number[], RegExp][] = [
    ["an acknowledged message that is gone", [0, 1, 2], /acknowledged, and the stream ends at 3/],
    ["an acknowledged message elsewhere", [0, 2, 1, 3], /acknowledged was 1/],
    ["a second copy of an answered message", [0, 1, 2, 3, 3], /is stored 2 times/],
    ["a hole in the order of a producer", [0, 1, 2, 3, 5], /message 5 after 3/],
    ["a message that was never sent", [0, 1, 2, 3, 4, 5, 6], /what nobody sent/],
  ];
  for (const [fault, counters, expected] of faults) {
    it(`finds ${fault}`, () => {
      assert.match(check(checkerAfterCrash(), counters).violations.join("\n"), expected);
    });
  }

  it("finds a stream that begins late without being an overwriting one", () => {
    assert.match(check(checkerAfterCrash(), [2, 3], 2).violations.join("\n"), /are missing/);
  });

  it("finds a hole in what can be read", () => {
    const checker = checkerAfterCrash();
    checker.walk(stored(checker, [0, 1]));
    checker.walk(stored(checker, [3], 3));
    checker.finish({ oldestSequence: 0, nextSequence: 4 });
    assert.match(checker.violations.join("\n"), /2 to 3 are missing/);
    assert.equal(checker.lostCount, 1);
  });

  it("finds damaged bytes", () => {
    const checker = checkerAfterCrash();
    const messages = stored(checker, [0, 1, 2, 3]);
    messages[2]!.payload[messages[2]!.payload.length - 1]! ^= 1;
    checker.walk(messages);
    assert.match(checker.violations.join("\n"), /damaged bytes of p:2/);
    assert.equal(checker.lostCount, 1);
  });

  it("finds a message that changed between two passes", () => {
    const checker = check(checkerAfterCrash(), [0, 1, 2, 3, 4]);
    check(checker, [0, 1, 2, 3, 5]);
    assert.match(checker.violations.join("\n"), /sequence number 4 changed/);
  });

  it("finds answers out of order and numbers given twice", () => {
    const checker = new AppendChecker({ stream: "s", isOverwriting: false });
    const batches: SentBatch[] = [0, 1].map((firstCounter) => ({ firstCounter, messageCount: 1 }));
    for (const batch of batches) checker.sent("p", batch);
    checker.acknowledged("p", batches[1]!, 0);
    checker.acknowledged("p", batches[0]!, 0);
    assert.match(checker.violations.join("\n"), /out of order/);
    assert.match(checker.violations.join("\n"), /given out twice/);
  });
});
