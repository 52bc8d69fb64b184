import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { byLength } from "../support/test-length.ts";
import { explore, type ExplorerOptions } from "./crash-explorer.ts";
import { lateSync, plantedRewriteBugs } from "./planted-rewrite-bugs.ts";
import { isOfMerge, isOfRewrite, rewriteFaultSweep, rewriteScenarios } from "./rewrite-scenarios.ts";
import { runWorkload } from "./workload.ts";

/** Of the workloads with a fault one in so many is driven. */
const SWEEP_EVERY = byLength({ everyday: 4, long: 1 });
const seed = Number(process.env["SEED"] ?? 3);
const scenarios = rewriteScenarios({ seed, steps: 24 });
/** Behind every call of a rewrite; the others are crashed by the explorer of the whole log. */
const options: ExplorerOptions = {
  seed,
  randomSubsets: byLength({ everyday: 1, long: 2 }),
  appendEvery: byLength({ everyday: 8, long: 4 }),
  nestedEvery: 1000,
  successorEvery: 60,
  succeedAfter: ({ kind }) => kind === "rename",
  statesMax: Infinity,
  crashEvery: byLength({ everyday: 36, long: 12 }),
  crashAfter: isOfRewrite,
};

describe("crash explorer, rewrites", () => {
  it("finds no broken promise wherever a rewrite is cut short", (t) => {
    for (const scenario of scenarios) {
      const { operations } = runWorkload(scenario).storage;
      const renames = operations.filter(({ kind }) => kind === "rename").length;
      assert.ok(renames > 0, `"${scenario.name}" rewrites nothing`);
      const isMerge = scenario.name === "rewrite, merge";
      const merging = isMerge ? { crashEvery: 200, crashAfter: isOfMerge } : {};
      if (isMerge) assert.ok(operations.some(isOfMerge), "no segments were made one");
      const { violation, states } = explore(scenario, { ...options, ...merging });
      assert.equal(violation, undefined);
      t.diagnostic(`${scenario.name}: ${states} crash states, ${renames} rewrites, seed ${seed}`);
    }
  });

  it("finds no broken promise when any one call of a rewrite fails, once or from then on", (t) => {
    let runs = 0;
    let states = 0;
    const everyFault = [...rewriteFaultSweep(scenarios[0]!)];
    for (const scenario of everyFault.filter((_, index) => index % SWEEP_EVERY === 0)) {
      const rare = { nestedEvery: 2000, successorEvery: Infinity, crashEvery: 300 };
      const sweep = { seed: seed + runs, randomSubsets: 1, ...rare };
      const result = explore(scenario, { ...options, ...sweep, crashAfter: () => false });
      assert.equal(result.violation, undefined);
      assert.ok(result.faultCount > 0, `${scenario.name} did not strike`);
      runs += 1;
      states += result.states;
    }
    t.diagnostic(`${states} crash states of ${runs} workloads with a fault, seed ${seed}`);
  });

  it("survives a copy that is not whole when it gets its name, as long as its source is there", () => {
    // The next process would find it whole in the kernel, and remove its source.
    const alone = { ...options, successorEvery: Infinity, succeedAfter: () => false };
    assert.equal(explore(scenarios[0]!, { ...alone, seams: lateSync }).violation, undefined);
  });

  for (const bug of plantedRewriteBugs) {
    it(`finds the planted bug: ${bug.name}`, (t) => {
      const { violation, states } = explore(scenarios[0]!, { ...options, appendEvery: 1, seams: bug.seams });
      assert.ok(violation !== undefined, `not found in ${states} states`);
      assert.doesNotMatch(violation, /workload/);
      t.diagnostic(`state ${states}: ${violation}`);
    });
  }
});
