import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";

import {
  accountOf,
  LEDGER_DROPS_MAX,
  ledgerAccounts,
  LEDGER_DAMAGE_MAX,
  LossReason,
  StreamLedger,
  type StreamLoss,
} from "../../src/core/stream-ledger.ts";

/** Message n has n % 7 + 1 payload bytes. */
function payloadOffset(sequence: number): number {
  let bytes = 0;
  for (let at = 0; at < sequence; at++) bytes += (at % 7) + 1;
  return bytes;
}

function loss(reason: LossReason, fromSequence: number, toSequence: number): StreamLoss {
  return {
    reason,
    fromSequence,
    toSequence,
    fromPayloadOffset: payloadOffset(fromSequence),
    toPayloadOffset: payloadOffset(toSequence),
    timeMs: 1,
  };
}

const dropReasons = [LossReason.Overwritten, LossReason.Expired, LossReason.Deleted, LossReason.Missing];
const damageReasons = [LossReason.Corrupt, LossReason.Missing, LossReason.Lost];

const event = fc.oneof(
  fc.record({
    kind: fc.constant("drop" as const),
    reason: fc.constantFrom(...dropReasons),
    count: fc.integer({ min: 1, max: 12 }),
  }),
  fc.record({
    kind: fc.constant("damage" as const),
    reason: fc.constantFrom(...damageReasons),
    // A read may come back with damage of what was deleted meanwhile.
    ahead: fc.integer({ min: -10, max: 40 }),
    count: fc.integer({ min: 1, max: 20 }),
  }),
  fc.record({
    kind: fc.constant("restored" as const),
    ahead: fc.integer({ min: 0, max: 40 }),
    count: fc.integer({ min: 1, max: 30 }),
  }),
);

describe("StreamLedger", () => {
  it("gives every message exactly one account, whatever is dropped, found damaged or found whole again", () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const ledger = new StreamLedger();
        /** By sequence number: its account; undefined while it is stored. */
        const fates = new Array<string | undefined>(1000).fill(undefined);
        for (const made of events) {
          const { sequence } = ledger.droppedEnd;
          if (made.kind === "drop") {
            ledger.addDrop(loss(made.reason, sequence, sequence + made.count));
            for (let at = sequence; at < sequence + made.count; at++) fates[at] ??= accountOf(made.reason);
          } else if (made.kind === "damage") {
            const from = Math.max(0, sequence + made.ahead);
            ledger.addDamage(loss(made.reason, from, from + made.count));
            for (let at = Math.max(from, sequence); at < from + made.count; at++) fates[at] ??= "damaged";
          } else {
            const from = sequence + made.ahead;
            const restored = ledger.restore(loss(LossReason.Corrupt, from, from + made.count));
            let messages = 0;
            for (const range of restored) messages += range.toSequence - range.fromSequence;
            for (let at = from; at < from + made.count; at++) {
              if (fates[at] !== "damaged") continue;
              fates[at] = undefined;
              messages -= 1;
            }
            assert.equal(messages, 0);
          }
        }
        const { accounts } = ledger.snapshot;
        for (const account of ledgerAccounts) {
          const counted = fates.flatMap((fate, at) => (fate === account ? [at] : []));
          const payloadBytes = counted.reduce((sum, at) => sum + (at % 7) + 1, 0);
          assert.deepEqual(accounts[account], { messages: counted.length, payloadBytes }, account);
        }
        const left = fates.filter((fate) => fate === undefined).length;
        const appended = { messages: fates.length, payloadBytes: payloadOffset(fates.length) };
        assert.equal(ledger.stored(appended).messages, left);
        assert.deepEqual(new StreamLedger(ledger.snapshot).snapshot, ledger.snapshot);
      }),
    );
  });

  it("tells only the part of damage that was not known", () => {
    const ledger = new StreamLedger();
    ledger.addDamage(loss(LossReason.Corrupt, 10, 20));
    const added = ledger.addDamage(loss(LossReason.Lost, 5, 30));
    assert.deepEqual(added, [loss(LossReason.Lost, 5, 10), loss(LossReason.Lost, 20, 30)]);
    assert.deepEqual(ledger.addDamage(loss(LossReason.Corrupt, 7, 29)), []);
  });

  it("keeps damaged neighbours of one reason as one range", () => {
    const ledger = new StreamLedger();
    for (const from of [30, 10, 20]) ledger.addDamage(loss(LossReason.Corrupt, from, from + 10));
    ledger.addDamage(loss(LossReason.Missing, 40, 50));
    const ranges = [loss(LossReason.Corrupt, 10, 40), loss(LossReason.Missing, 40, 50)];
    assert.deepEqual(ledger.snapshot.damage, ranges);
  });

  it("never keeps more ranges of damage than its file holds, whatever is added and taken back", () => {
    const ledger = new StreamLedger();
    for (let at = 0; at < LEDGER_DAMAGE_MAX - 2; at++)
      ledger.addDamage(loss(LossReason.Corrupt, at * 10, at * 10 + 5));
    const added = ledger.addDamage(loss(LossReason.Missing, 0, 1000));
    assert.ok(added.length > 0);
    assert.equal(ledger.snapshot.damage.length, LEDGER_DAMAGE_MAX);
    const { damaged } = ledger.snapshot.accounts;
    assert.deepEqual(
      ledger.restore(loss(LossReason.Corrupt, 2, 3)),
      [],
      "two ranges of one would be too many",
    );
    assert.deepEqual(ledger.snapshot.accounts.damaged, damaged);
    assert.equal(ledger.restore(loss(LossReason.Corrupt, 0, 5)).length, 1);
    const messages = ledger.snapshot.damage.reduce((sum, one) => sum + one.toSequence - one.fromSequence, 0);
    assert.equal(ledger.snapshot.accounts.damaged.messages, messages);
  });

  it("keeps neighbours of one reason as one range, and no more ranges than its limit", () => {
    const ledger = new StreamLedger();
    for (let at = 0; at < 10; at++) ledger.addDrop(loss(LossReason.Overwritten, at, at + 1));
    assert.deepEqual(ledger.snapshot.drops, [loss(LossReason.Overwritten, 0, 10)]);
    for (let at = 10; at < 500; at++) ledger.addDrop(loss(dropReasons[at % 2]!, at, at + 1));
    const { drops, accounts } = ledger.snapshot;
    assert.equal(drops.length, LEDGER_DROPS_MAX);
    assert.equal(drops[0]!.fromSequence, 0);
    assert.equal(drops.at(-1)!.toSequence, 500);
    assert.equal(accounts.overwritten.messages + accounts.expired.messages, 500);
  });

  it("refuses a drop that leaves a hole", () => {
    const ledger = new StreamLedger();
    ledger.addDrop(loss(LossReason.Expired, 0, 5));
    assert.throws(
      () => ledger.addDrop(loss(LossReason.Expired, 6, 8)),
      /a drop from 6 where 5 is the oldest/,
    );
  });
});
