import assert from "node:assert/strict";
import { test } from "node:test";
import { LossReason, type StreamLoss, type StreamPlace } from "../../src/core/stream-ledger.ts";
import { lossesBetween, reasonOf } from "../../src/export/dropped-ranges.ts";

/** Every message has 10 bytes. */
function place(sequence: number): StreamPlace {
  return { sequence, payloadOffset: 10 * sequence };
}

function drop(reason: LossReason, from: number, to: number): StreamLoss {
  return {
    reason,
    fromSequence: from,
    toSequence: to,
    fromPayloadOffset: 10 * from,
    toPayloadOffset: 10 * to,
    timeMs: to,
  };
}

const drops = [
  drop(LossReason.Overwritten, 0, 20),
  drop(LossReason.Expired, 20, 30),
  drop(LossReason.Deleted, 30, 50),
];

function losses(
  from: number,
  to: number,
  startSequence = 0,
  known: readonly StreamLoss[] = drops,
): unknown[] {
  return lossesBetween({ from: place(from), to: place(to), drops: known, startSequence, nowMs: 99 }).map(
    ({ reason, fromSequence, toSequence, fromPayloadOffset, toPayloadOffset, timeMs }) => {
      assert.deepEqual([fromPayloadOffset, toPayloadOffset], [10 * fromSequence, 10 * toSequence]);
      return [reason, fromSequence, toSequence, timeMs];
    },
  );
}

test("lossesBetween splits what was passed over as the stream's account does, under its times", () => {
  assert.deepEqual(losses(5, 50), [
    [LossReason.Overwritten, 5, 20, 20],
    [LossReason.Expired, 20, 30, 30],
    [LossReason.Deleted, 30, 50, 50],
  ]);
  assert.deepEqual(losses(25, 40), [
    [LossReason.Expired, 25, 30, 30],
    [LossReason.Deleted, 30, 40, 50],
  ]);
  assert.deepEqual(losses(50, 50), []);
});

test("lossesBetween gives what lies below the known ranges to the oldest of them, and what none explains to nobody", () => {
  assert.deepEqual(losses(3, 30, 0, drops.slice(1)), [[LossReason.Expired, 3, 30, 30]]);
  assert.deepEqual(losses(40, 60), [
    [LossReason.Deleted, 40, 50, 50],
    [LossReason.Missing, 50, 60, 99],
  ]);
  assert.deepEqual(losses(0, 7, 0, []), [[LossReason.Missing, 0, 7, 99]]);
});

test("lossesBetween calls skipped what ends below the start, and cuts nothing at a place whose bytes it does not know", () => {
  assert.deepEqual(losses(0, 50, 30), [
    [LossReason.Skipped, 0, 20, 20],
    [LossReason.Skipped, 20, 30, 30],
    [LossReason.Deleted, 30, 50, 50],
  ]);
  assert.deepEqual(losses(0, 30, 25), [
    [LossReason.Skipped, 0, 20, 20],
    [LossReason.Expired, 20, 30, 30],
  ]);
});

test("reasonOf says why one message is gone", () => {
  assert.equal(reasonOf(19, drops), LossReason.Overwritten);
  assert.equal(reasonOf(20, drops), LossReason.Expired);
  assert.equal(reasonOf(50, drops), LossReason.Missing);
});
