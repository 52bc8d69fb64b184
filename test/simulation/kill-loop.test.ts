import assert from "node:assert/strict";
import { test } from "node:test";
import { testSeed } from "../support/seeded-random.ts";
import { runKillLoop } from "./kill-loop.ts";

test(
  "an engine that is killed under load keeps every acknowledged message",
  { timeout: 120_000 },
  async (t) => {
    const figures = await runKillLoop(t, { rounds: 10, seed: testSeed });
    assert.deepEqual(figures.violations, [], `SEED=${testSeed}`);
    assert.equal(figures.rounds, 10);
    assert.equal(figures.lost, 0);
    assert.ok(figures.acknowledged > 1000, `only ${figures.acknowledged} messages were acknowledged`);
    t.diagnostic(JSON.stringify(figures));
  },
);
