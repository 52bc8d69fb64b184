import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";

import { damageBugs } from "./damage-bugs.ts";
import { type DamageCommand, DamageModel } from "./damage-model.ts";

const seed = Number(process.env["SEED"] ?? 3);
const numRuns = Number(process.env["DAMAGE_RUNS"] ?? 150);

const fraction = fc.double({ min: 0, max: 0.999, noNaN: true });
const offset = fc.nat({ max: 9999 });
const sizes = fc.array(fc.integer({ min: 1, max: 900 }), { minLength: 1, maxLength: 4 });
const command: fc.Arbitrary<DamageCommand> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("append" as const), sizes }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("damage" as const),
      place: fraction,
      inHeader: fc.boolean(),
      offset,
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "heal" as const }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("damageHead" as const), place: fraction, offset }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("damageLedger" as const), offset }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("restart" as const), isKilled: fc.boolean() }) },
);

/** Some appends first: there is something to damage. */
const history = fc
  .tuple(fc.array(sizes, { minLength: 5, maxLength: 12 }), fc.array(command, { minLength: 5, maxLength: 30 }))
  .map(([first, rest]): DamageCommand[] => [
    ...first.map((each) => ({ kind: "append" as const, sizes: each })),
    ...rest,
  ]);

describe("a stream on a medium that rots, against a list", () => {
  it("gives what is whole and counts the rest once, over starts, and deletes nothing for it", (t) => {
    let damageCount = 0;
    let startCount = 0;
    const property = fc.property(history, (commands) => {
      const model = new DamageModel();
      for (const next of commands) model.run(next);
      damageCount += model.damageCount;
      startCount += model.startCount;
    });
    fc.assert(property, { seed, numRuns, includeErrorInReport: true });
    assert.ok(damageCount > 3 * numRuns && startCount > 2 * numRuns, `${damageCount}, ${startCount}`);
    t.diagnostic(`${damageCount} blocks damaged, ${startCount} starts, seed ${seed}`);
  });

  for (const { name, wrap, plant } of damageBugs) {
    it(`finds the planted bug: ${name}`, (t) => {
      const takeOut = plant?.();
      try {
        const property = fc.property(history, (commands) => {
          const model = new DamageModel(wrap);
          for (const next of commands) model.run(next);
        });
        const { failed, numRuns: runs } = fc.check(property, { seed, numRuns, endOnFailure: true });
        assert.ok(failed, `not found in ${runs} runs`);
        t.diagnostic(`found in run ${runs}, seed ${seed}`);
      } finally {
        takeOut?.();
      }
    });
  }
});
