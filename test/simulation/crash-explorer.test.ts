import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import type { LogPolicy } from "../../src/log/log-policy.ts";
import { smallPolicy } from "../support/log-fixture.ts";
import type { Fault } from "../support/sim-storage.ts";
import { byLength } from "../support/test-length.ts";
import { explore, type ExplorerOptions } from "./crash-explorer.ts";
import { faultSweep } from "./fault-sweep.ts";
import { type PlantedBug, plantedBugs } from "./planted-bugs.ts";
import { rewriteScenarios } from "./rewrite-scenarios.ts";
import type { Scenario } from "./workload.ts";

/** `EXPLORER_STATES=1000000 SEED=8127` for a long run; without them a fixed everyday one. */
const statesWanted = Number(process.env["EXPLORER_STATES"] ?? 0);
const seed = Number(process.env["SEED"] ?? 3);
const isSoak = statesWanted > 0;

const flush: LogPolicy = { ...smallPolicy, segmentSize: 20_000 };
const noFlush: LogPolicy = { ...smallPolicy, flushOnWrite: false, segmentSize: 9000 };
const released: LogPolicy = { ...smallPolicy, maxSize: 9000, segmentSize: 3000 };
const expiring: LogPolicy = { ...smallPolicy, segmentSize: 3000, timeToLiveMs: 20 * 60_000 };
const overwrite: LogPolicy = {
  ...smallPolicy,
  maxSize: 9000,
  segmentSize: 3000,
  strategyOnFull: StrategyOnFull.OverwriteOldestData,
};

function scenario(name: string, policy: LogPolicy, faults: Record<string, Fault> = {}): Scenario {
  const steps = isSoak ? 40 : 11;
  return { name, seed, steps, policy, faults: new Map(Object.entries(faults)) };
}

/** Behind every so many operations, for about 7,000 states or 20,000; planted bugs are looked for behind all. */
const CRASH_EVERY = byLength({ everyday: 9, long: 3 });
/** Of the workloads with a fault one in so many is driven, and of these one in four crashed. */
const SWEEP_EVERY = byLength({ everyday: 3, long: 1 });
const SWEEP_CRASH_EVERY = 4;

const options: ExplorerOptions = {
  seed,
  randomSubsets: isSoak ? 10 : 2,
  appendEvery: isSoak ? 1 : 4,
  nestedEvery: isSoak ? 40 : 400,
  successorEvery: isSoak ? 4 : 40,
  statesMax: Infinity,
  // A long run sees the other operations with its other seeds; so it comes round all faults in minutes.
  crashEvery: isSoak ? 8 : 1,
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
    { ...scenario("released", released), steps: 20, isReleased: true },
    { ...scenario("time to live", expiring), steps: 20 },
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

/** More seeds until enough states were seen. */
function* longScenarios(): Generator<Scenario> {
  for (let round = 0; ; round++) {
    for (const made of everydayScenarios()) yield { ...made, seed: seed + round };
    for (const made of rewriteScenarios({ seed: seed + round, steps: 80 })) yield made;
    yield* faultSweep({ seed: seed + round, steps: 14, policiesEach: 4 });
  }
}

function rich(bug: PlantedBug): Scenario {
  switch (bug.scenario) {
    case "rewrite":
      return rewriteScenarios({ seed, steps: 24 })[0]!;
    case "flush":
      return { ...scenario(bug.name, flush), steps: 24 };
    case "no flush":
      return { ...scenario(bug.name, noFlush), steps: 24 };
    case "failed sync":
      return { ...scenario(bug.name, flush, { "sync@2": { code: "EIO" } }), steps: 24 };
    case "short write":
      return { ...scenario(bug.name, flush, shortWrites), steps: 24 };
    case "overwrite":
      return { ...scenario(bug.name, overwrite), steps: 24 };
    case "time to live":
      return { ...scenario(bug.name, expiring), steps: 24 };
    case "kernel error":
      return { ...scenario(bug.name, noFlush), steps: 24 };
  }
}

describe("crash explorer", () => {
  it("finds no broken promise in the log, whatever a crash leaves of it", (t) => {
    let scenarios = 0;
    let states = 0;
    let operations = 0;
    for (const made of isSoak ? longScenarios() : everydayScenarios()) {
      // What a failed sync dropped, only the next process can mistake for durable.
      const successorEvery = made.faults.size > 0 ? options.successorEvery / 4 : options.successorEvery;
      const everyday = isSoak ? {} : { crashEvery: CRASH_EVERY };
      const result = explore(made, { ...options, ...everyday, successorEvery, seed: seed + scenarios });
      scenarios += 1;
      assert.equal(result.violation, undefined);
      if (made.faults.size === 0)
        assert.ok(result.states > 100, `"${made.name}" gave only ${result.states} states`);
      if (made.policy.timeToLiveMs !== undefined)
        assert.ok(result.outcomes.get("expired")! > 0, "nothing expired while it was explored");
      states += result.states;
      operations += result.operations;
      if (isSoak && states >= statesWanted) break;
    }
    t.diagnostic(
      `${states} crash states behind ${operations} operations of ${scenarios} workloads, seed ${seed}`,
    );
  });

  it("finds no broken promise when any one call fails, once or from then on", (t) => {
    let scenarios = 0;
    let struck = 0;
    let states = 0;
    const everyFault = [...faultSweep({ seed, steps: 11, policiesEach: 1 })];
    for (const made of everyFault.filter((_, index) => index % SWEEP_EVERY === 0)) {
      // The log is driven through each fault; behind some it is crashed too, a soak does so behind all.
      const crashEvery = scenarios % SWEEP_CRASH_EVERY === 0 ? 40 : Infinity;
      const sweep = { seed: seed + scenarios, randomSubsets: 1, nestedEvery: 2000, crashEvery };
      const result = explore(made, { ...options, ...sweep });
      assert.equal(result.violation, undefined);
      scenarios += 1;
      states += result.states;
      if (result.faultCount > 0) struck += 1;
    }
    assert.ok(struck > 0.8 * scenarios, `only ${struck} of ${scenarios} faults struck`);
    t.diagnostic(`${states} crash states, ${struck} of ${scenarios} faults struck, seed ${seed}`);
  });

  for (const bug of plantedBugs) {
    it(`finds the planted bug: ${bug.name}`, (t) => {
      const { violation, states } = explore(rich(bug), {
        ...options,
        appendEvery: 1,
        crashEvery: bug.scenario === "overwrite" ? 30 : 1,
        crashAfter: ({ kind }) => kind === "unlink",
        successorEvery: bug.scenario === "failed sync" ? 1 : options.successorEvery,
        seams: bug.seams,
      });
      assert.ok(violation !== undefined, `not found in ${states} states`);
      t.diagnostic(`state ${states}: ${violation}`);
    });
  }

  it("shows why what one sync covers ends on a unit of the medium", () => {
    const unaligned = { ...flush, commitAlignBytes: 0 };
    const { violation } = explore(scenario("unaligned", unaligned), { ...options, crashEvery: 1 });
    assert.match(violation ?? "", /destroyed: \d+ acknowledged, recovered up to/);
    // Without flushOnWrite, what exporters may read must not be forgotten either.
    const unacknowledged = { ...noFlush, commitAlignBytes: 0 };
    const exported = explore(
      { ...scenario("unaligned, no flush", unacknowledged), steps: 24 },
      { ...options, crashEvery: 1 },
    );
    assert.match(exported.violation ?? "", /destroyed: exported below \d+, recovered up to/);
  });
});
