import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { StrategyOnFull } from "../../../src/core/stream-definition.ts";
import type { Fault } from "../../support/sim-storage.ts";
import { type ProducerBug, producerBugs } from "./producer-bugs.ts";
import { exploreProducers, type ProducerScenario } from "./producer-explorer.ts";

/** `PRODUCER_STATES=200000 SEED=8127` for a long run; without them a fixed everyday one. */
const statesWanted = Number(process.env["PRODUCER_STATES"] ?? 0);
const seed = Number(process.env["SEED"] ?? 3);
const isSoak = statesWanted > 0;

const flush = { flushOnWrite: true, streamSegmentSize: 6000 };
const noFlush = { flushOnWrite: false, streamSegmentSize: 4000 };
const overwrite = {
  flushOnWrite: true,
  maxSize: 6000,
  streamSegmentSize: 2000,
  strategyOnFull: StrategyOnFull.OverwriteOldestData,
};

function scenario(
  name: string,
  definition: ProducerScenario["definition"],
  faults: Record<string, Fault> = {},
): ProducerScenario {
  return { name, seed, steps: 30, definition, faults: new Map(Object.entries(faults)) };
}

const tornWrites = {
  "write@+2": { writtenBytes: 113, code: "EIO" },
  // The device took all of it and said otherwise.
  "write@+9": { writtenBytes: 1_000_000, code: "EIO" },
};

const everyday = [
  scenario("flush", flush),
  scenario("no flush", noFlush),
  scenario("overwrite", overwrite),
  scenario("torn writes", flush, tornWrites),
  scenario("torn writes, no flush", noFlush, tornWrites),
  scenario("a segment that cannot be cut", flush, { ...tornWrites, "truncate@+2": { code: "EIO" } }),
  scenario("a failed sync", flush, { "sync@+4": { code: "EIO" } }),
  scenario("a failed sync, no flush", noFlush, { "sync@+3": { code: "EIO" } }),
  scenario("a failed rename, overwrite", overwrite, { "rename@+2": { code: "EIO" } }),
  scenario("full disk, overwrite", overwrite, {
    "open@+6": { code: "ENOSPC" },
    "write@+9": { code: "ENOSPC" },
  }),
];

/** More seeds until enough states were seen. */
function* scenarios(): Generator<ProducerScenario> {
  yield* everyday;
  for (let round = 1; isSoak; round++) for (const made of everyday) yield { ...made, seed: seed + round };
}

const options = {
  crashEvery: isSoak ? 3 : 60,
  nestedEvery: isSoak ? 500 : 700,
  randomSubsets: isSoak ? 4 : 1,
};

function rich(bug: ProducerBug): ProducerScenario {
  return everyday.find(({ name }) => name === bug.scenario)!;
}

describe("producer explorer", () => {
  it("finds every batch once and in order, whatever a crash leaves and however often it is sent", (t) => {
    let states = 0;
    const outcomes = new Map<string, number>();
    for (const made of scenarios()) {
      const result = exploreProducers(made, options);
      assert.equal(result.violation, undefined);
      states += result.states;
      for (const [outcome, count] of result.outcomes)
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + count);
      if (isSoak && states >= statesWanted) break;
    }
    for (const outcome of ["stored", "repeat", "SEQUENCE_GAP", "UNKNOWN_OUTCOME"]) {
      assert.ok(outcomes.has(outcome), `no ${outcome}`);
    }
    const counts = [...outcomes].map(([outcome, count]) => `${outcome} ${count}`).join(", ");
    t.diagnostic(`${states} crash states, seed ${seed}: ${counts}`);
  });

  for (const bug of producerBugs) {
    it(`finds the planted bug: ${bug.name}`, (t) => {
      const takeOut = bug.plant();
      try {
        const { violation, states } = exploreProducers(rich(bug), { ...options, crashEvery: 1 });
        assert.ok(violation !== undefined, `not found in ${states} states`);
        t.diagnostic(`state ${states}: ${violation}`);
      } finally {
        takeOut();
      }
    });
  }
});
