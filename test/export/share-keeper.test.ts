import assert from "node:assert/strict";
import { test } from "node:test";
import { EXPORT_REQUEST_BYTES_MAX } from "../../src/core/limits.ts";
import { ShareKeeper, type ShareHolder } from "../../src/export/share-keeper.ts";
import { SeededRandom } from "../support/deterministic.ts";
import { testSeed } from "../support/seeded-random.ts";

function holder(key: string, minSharePercent: number, isWaiting = true): ShareHolder {
  return { key, minSharePercent, isWaiting };
}

/** Lets whoever is most behind send, and "best" where nobody is. @returns what each has sent, in percent of all */
function shares(holders: readonly ShareHolder[]): Record<string, number> {
  const random = new SeededRandom(testSeed);
  const keeper = new ShareKeeper();
  const sent: Record<string, number> = { best: 0 };
  let total = 0;
  for (let batch = 0; batch < 5000; batch += 1) {
    const behind = holders
      .filter(({ key }) => keeper.owedBytes(key) > 0)
      .sort((one, other) => keeper.owedBytes(other.key) - keeper.owedBytes(one.key));
    const sender = behind[0]?.key ?? "best";
    const bytes = random.between(1, 5_000_000);
    // What was expected, and what it was.
    const expected = random.between(1, 5_000_000);
    keeper.begin(sender, expected, holders);
    keeper.correct(sender, bytes - expected, holders);
    sent[sender] = (sent[sender] ?? 0) + bytes;
    total += bytes;
  }
  return Object.fromEntries(Object.entries(sent).map(([key, bytes]) => [key, (100 * bytes) / total]));
}

function assertShares(actual: Record<string, number>, expected: Record<string, number>): void {
  for (const [key, percent] of Object.entries(expected)) {
    assert.ok(Math.abs((actual[key] ?? 0) - percent) < 1, `${key}: ${actual[key]}, not ${percent}`);
  }
}

test("ShareKeeper gives each its share of all bytes, and the rest to the best", () => {
  assertShares(shares([holder("a", 20), holder("b", 5)]), { best: 75, a: 20, b: 5 });
  assertShares(shares([holder("a", 20)]), { best: 80, a: 20 });
});

test("ShareKeeper scales shares down that add to more than everything", () => {
  assertShares(shares([holder("a", 100), holder("b", 50), holder("c", 50)]), {
    best: 0,
    a: 50,
    b: 25,
    c: 25,
  });
});

test("ShareKeeper gives no claim to one that had nothing to send, and ends the one that it had", () => {
  const keeper = new ShareKeeper();
  keeper.begin("best", 1000, [holder("a", 20, false)]);
  assert.equal(keeper.owedBytes("a"), 0);
  keeper.begin("best", 1000, [holder("a", 20)]);
  assert.equal(keeper.owedBytes("a"), 200);
  keeper.begin("best", 1000, [holder("a", 20, false)]);
  assert.equal(keeper.owedBytes("a"), 0);
  // A claim is bounded where its holder is kept from it for long.
  for (let batch = 0; batch < 1000; batch += 1) keeper.begin("best", 1e6, [holder("a", 20)]);
  assert.equal(keeper.owedBytes("a"), EXPORT_REQUEST_BYTES_MAX);
  keeper.forget("a");
  assert.equal(keeper.owedBytes("a"), 0);
});

test("ShareKeeper holds what was sent alone against nobody beyond the last batch", () => {
  const keeper = new ShareKeeper();
  for (let batch = 0; batch < 100; batch += 1) keeper.begin("a", 1000, [holder("a", 20)]);
  assert.equal(keeper.owedBytes("a"), -1000);
  keeper.begin("best", 5001, [holder("a", 20)]);
  assert.ok(keeper.owedBytes("a") > 0);
});
