import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { byLength } from "../../support/test-length.ts";
import { plantedBugs } from "../planted-bugs.ts";
import { EngineSimulation } from "./engine-simulation.ts";

/** `ENGINE_SEEDS=1000 SEED=8127` for a long run. */
const seeds = Number(process.env["ENGINE_SEEDS"] ?? byLength({ everyday: 3, long: 6 }));
assert.ok(seeds >= 1, "ENGINE_SEEDS is a number of seeds");
const firstSeed = Number(process.env["SEED"] ?? 1);

/** A sound engine passes them all. */
const PLANTED_SEEDS_MAX = 30;

describe("whole-engine simulation", () => {
  it("keeps every promise under whatever order, faults and ends a seed brings", async (t) => {
    let steps = 0;
    let acknowledged = 0;
    let exported = 0;
    for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
      const result = await new EngineSimulation({ seed, lives: 6, stepsMax: 900 }).run();
      assert.equal(result.violation, undefined);
      steps += result.steps;
      acknowledged += result.acknowledged;
      exported += result.exported;
      t.diagnostic(
        `seed ${seed}: ${result.steps} steps, ${result.acknowledged} acknowledged, ${result.exported} exported, ` +
          `${result.lostToPowerCuts} lost to power cuts, ${result.resent} sent again, ${result.workerDeaths} dead workers, ${result.faults} faults, ` +
          [...result.endings].map(([ending, count]) => `${ending} ${count}`).join(", "),
      );
    }
    assert.ok(acknowledged > 100 * seeds, `only ${acknowledged} messages were acknowledged`);
    assert.ok(exported > 0, "nothing was exported");
    t.diagnostic(
      `${steps} steps, ${acknowledged} acknowledged, seeds ${firstSeed} to ${firstSeed + seeds - 1}`,
    );
  });

  it("gives the same run for the same seed", async () => {
    const run = () => new EngineSimulation({ seed: firstSeed, lives: 3, stepsMax: 500 }).run();
    assert.deepEqual(await run(), await run());
  });

  for (const { name, from } of [
    { name: "directories are not synced", from: 1 },
    // No seed before it shows this one.
    { name: "a short write is not noticed", from: 7 },
  ]) {
    it(`finds the planted bug: ${name}`, async (t) => {
      const { seams } = plantedBugs.find((bug) => bug.name === name)!;
      for (let seed = from; seed < from + PLANTED_SEEDS_MAX; seed++) {
        const { violation } = await new EngineSimulation({
          seed,
          lives: 6,
          stepsMax: 900,
          wrap: seams.wrap,
        }).run();
        if (violation === undefined) continue;
        t.diagnostic(violation.slice(0, 300));
        return;
      }
      assert.fail(`not found with ${PLANTED_SEEDS_MAX} seeds`);
    });
  }
});
