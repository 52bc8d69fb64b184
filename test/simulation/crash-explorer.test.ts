import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import type { LogPolicy } from "../../src/log/log-policy.ts";
import { smallPolicy } from "../support/log-fixture.ts";
import type { Fault, Faults } from "../support/sim-storage.ts";
import { explore, type ExplorerOptions } from "./crash-explorer.ts";
import { type PlantedBug, plantedBugs } from "./planted-bugs.ts";
import type { Scenario } from "./workload.ts";

/** `EXPLORER_STATES=1000000 SEED=8127` for a long run; without them a fixed everyday one. */
const statesWanted = Number(process.env["EXPLORER_STATES"] ?? 0);
const seed = Number(process.env["SEED"] ?? 3);
const isLong = statesWanted > 0;

const flush: LogPolicy = { ...smallPolicy, segmentSize: 20_000 };
const noFlush: LogPolicy = { ...smallPolicy, flushOnWrite: false, segmentSize: 9000 };
const overwrite: LogPolicy = {
  ...smallPolicy,
  maxSize: 9000,
  segmentSize: 3000,
  strategyOnFull: StrategyOnFull.OverwriteOldestData,
};

function scenario(name: string, policy: LogPolicy, faults: Record<string, Fault> = {}): Scenario {
  const steps = isLong ? 40 : 11;
  return { name, seed, steps, policy, faults: new Map(Object.entries(faults)) };
}

const options: ExplorerOptions = {
  seed,
  randomSubsets: isLong ? 10 : 2,
  appendEvery: isLong ? 1 : 4,
  nestedEvery: isLong ? 40 : 400,
  statesMax: Infinity,
};

const shortWrites = { "write@4": { writtenBytes: 13 }, "write@7": { writtenBytes: 100 } };
const tornWrites = {
  "write@4": { writtenBytes: 113, code: "EIO" },
  // The device took all of it and said otherwise.
  "write@8": { writtenBytes: 1_000_000, code: "EIO" },
};
const fullDisk = { "write@4": { code: "ENOSPC" }, "write@8": { writtenBytes: 50, code: "ENOSPC" } };

function everydayScenarios(): Scenario[] {
  const found = [
    scenario("flush", flush),
    scenario("no flush", noFlush),
    { ...scenario("overwrite", overwrite), steps: 20 },
    scenario("short writes", flush, shortWrites),
    scenario("torn writes", flush, tornWrites),
    scenario("torn writes, no flush", noFlush, tornWrites),
    scenario("full disk", flush, fullDisk),
    scenario("a segment that cannot be cut", flush, { ...tornWrites, "truncate@1": { code: "EIO" } }),
  ];
  for (const at of [2, 3, 4, 6]) {
    found.push(scenario(`sync ${at} fails`, flush, { [`sync@${at}`]: { code: "EIO" } }));
    found.push(scenario(`sync ${at} fails, no flush`, noFlush, { [`sync@${at}`]: { code: "EIO" } }));
  }
  return found;
}

/** One error at the N-th call, for every N; more seeds until enough states were seen. */
function* longScenarios(): Generator<Scenario> {
  for (let round = 0; ; round++) {
    for (const made of everydayScenarios()) yield { ...made, seed: seed + round };
    for (const kind of ["open", "write", "sync", "syncDirectory", "truncate", "unlink"]) {
      for (let at = 1; at <= 12; at++) {
        for (const code of ["EIO", "ENOSPC"]) {
          const faults: Faults = new Map([[`${kind}@${at}`, { code }]]);
          const policy = at % 2 === 0 ? flush : overwrite;
          yield { name: `${kind}@${at}=${code}`, seed: seed + round, steps: 14, policy, faults };
        }
      }
    }
  }
}

function rich(bug: PlantedBug): Scenario {
  switch (bug.scenario) {
    case "flush":
      return { ...scenario(bug.name, flush), steps: 24 };
    case "no flush":
      return { ...scenario(bug.name, noFlush), steps: 24 };
    case "failed sync":
      return { ...scenario(bug.name, flush, { "sync@3": { code: "EIO" } }), steps: 24 };
    case "short write":
      return { ...scenario(bug.name, flush, shortWrites), steps: 24 };
    case "kernel error":
      return { ...scenario(bug.name, noFlush), steps: 24 };
  }
}

describe("crash explorer", () => {
  it("finds no broken promise in the log, whatever a crash leaves of it", (t) => {
    let states = 0;
    let operations = 0;
    for (const made of isLong ? longScenarios() : everydayScenarios()) {
      const result = explore(made, options);
      assert.equal(result.violation, undefined);
      assert.ok(result.states > 100, `"${made.name}" gave only ${result.states} states`);
      states += result.states;
      operations += result.operations;
      if (isLong && states >= statesWanted) break;
    }
    t.diagnostic(`${states} crash states behind ${operations} operations, seed ${seed}`);
  });

  for (const bug of plantedBugs) {
    it(`finds the planted bug: ${bug.name}`, (t) => {
      const { violation, states } = explore(rich(bug), { ...options, appendEvery: 1, seams: bug.seams });
      assert.ok(violation !== undefined, `not found in ${states} states`);
      t.diagnostic(`state ${states}: ${violation}`);
    });
  }

  it("shows why what one sync covers ends on a unit of the medium", () => {
    const unaligned = { ...flush, commitAlignBytes: 0 };
    const { violation } = explore(scenario("unaligned", unaligned), options);
    assert.match(violation ?? "", /destroyed: \d+ acknowledged, recovered up to/);
  });
});
