import assert from "node:assert/strict";
import { test } from "node:test";
import { testSeed } from "../support/seeded-random.ts";
import { byLength } from "../support/test-length.ts";
import { runKillLoop } from "./kill-loop.ts";

const rounds = byLength({ everyday: 4, long: 10 });

test(
  "an engine that is killed under load keeps every acknowledged message",
  { timeout: 120_000 },
  async (t) => {
    const figures = await runKillLoop(t, { rounds, seed: testSeed });
    assert.deepEqual(figures.violations, [], `SEED=${testSeed}`);
    assert.equal(figures.rounds, rounds);
    assert.equal(figures.lost, 0);
    assert.ok(figures.acknowledged > 100 * rounds, `only ${figures.acknowledged} messages were acknowledged`);
    t.diagnostic(JSON.stringify(figures));
  },
);
