import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { testSeed } from "../support/seeded-random.ts";
import { targetNames } from "./all-targets.ts";
import { fuzzTarget } from "./fuzz-thread.ts";

const timeout = 4 * 60 * 60_000;

/** Of each target, and what its long form multiplies: `FUZZ_FACTOR=1000 npm test -- fuzz/targets`. */
const runs: Readonly<Record<string, number>> = {
  cbor: 4000,
  operations: 3000,
  frames: 3000,
  "own-layouts": 5000,
  "compressed-batches": 5000,
  "settings-file": 1000,
  "settings-environment": 1500,
  "small-files": 2000,
  "checked-files": 1000,
  segments: 40,
  "forged-segments": 40,
};
const factor = Number(process.env["FUZZ_FACTOR"] ?? 1);

/** Coverage that the seeds alone come near to: a target that has lost its way runs less. */
const BLOCKS_MIN: Readonly<Record<string, number>> = {
  cbor: 70,
  operations: 200,
  frames: 20,
  "own-layouts": 80,
  "compressed-batches": 30,
  segments: 700,
  "forged-segments": 700,
};

describe("mutated inputs, whatever they are, are taken or refused in bounded time and memory", () => {
  for (const name of targetNames) {
    it(name, { timeout }, async (t) => {
      const count = (runs[name] ?? 0) * factor;
      assert.ok(count > 0, `${name} has a number of runs`);
      const outcome = await fuzzTarget({ name, runs: count, seed: testSeed });
      assert.equal(outcome.runs, count);
      assert.ok(outcome.blocks >= (BLOCKS_MIN[name] ?? 1), `${outcome.blocks} blocks of code ran`);
      const { runs: inputs, blocks: blocksMax, heapGrowthBytes } = outcome;
      t.diagnostic(
        JSON.stringify({
          inputs,
          blocksMax,
          heapGrowthMax: heapGrowthBytes,
          corpusMax: outcome.corpus.length,
        }),
      );
    });
  }
});
