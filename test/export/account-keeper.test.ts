import assert from "node:assert/strict";
import { test } from "node:test";
import { LossReason, type StreamLoss } from "../../src/core/stream-ledger.ts";
import { AccountKeeper } from "../../src/export/account-keeper.ts";
import { CURSOR_RANGES_MAX, isBalanced, newCursor } from "../../src/export/cursor-layout.ts";

function loss(
  from: [number, number],
  to: [number, number],
  reason: LossReason = LossReason.Overwritten,
): StreamLoss {
  const [fromSequence, fromPayloadOffset] = from;
  const [toSequence, toPayloadOffset] = to;
  return { reason, fromSequence, toSequence, fromPayloadOffset, toPayloadOffset, timeMs: 5 };
}

test("AccountKeeper counts a revision for a change and gives the old record back without one", () => {
  const before = newCursor(0);
  const account = new AccountKeeper(before);
  account.setStart(0);
  assert.equal(account.cursor, before);
  account.accept({ messages: 2, payloadBytes: 30 }, 7);
  const { cursor } = account;
  assert.equal(cursor.revision, 1);
  assert.deepEqual([cursor.position, cursor.payloadOffset, cursor.lastAcceptedTimeMs], [2, 30, 7]);
  assert.deepEqual(before, newCursor(0), "what it began with stays as it was");
});

test("AccountKeeper makes one of touching ranges of one reason and lets the oldest go when there are too many", () => {
  const account = new AccountKeeper(newCursor(0));
  account.pass(loss([0, 0], [3, 30]));
  account.pass(loss([3, 30], [4, 40]));
  assert.deepEqual(account.cursor.ranges, [loss([0, 0], [4, 40])]);
  for (let index = 4; index < 50; index += 1) {
    const reason = index % 2 === 0 ? LossReason.Corrupt : LossReason.SetAside;
    account.pass(loss([index, 10 * index], [index + 1, 10 * index + 10], reason));
  }
  const { ranges, accounts } = account.cursor;
  assert.equal(ranges.length, CURSOR_RANGES_MAX);
  assert.equal(ranges.at(-1)?.toSequence, 50);
  assert.deepEqual(accounts.overwritten, { messages: 4, payloadBytes: 40 }, "the accounts forget nothing");
});

test("AccountKeeper follows the log where its payload offsets are not the cursor's, and stays balanced", () => {
  const account = new AccountKeeper(newCursor(0));
  account.accept({ messages: 5, payloadBytes: 50 }, 1);
  // The log says that less was there before, then that more was.
  account.pass(loss([5, 40], [5, 40], LossReason.Missing));
  assert.deepEqual(account.cursor.rewound, { messages: 0, payloadBytes: 10 });
  account.pass(loss([5, 40], [5, 47], LossReason.Missing));
  assert.deepEqual(account.cursor.accounts.damaged, { messages: 0, payloadBytes: 7 });
  account.rewind({ sequence: 1, payloadOffset: 60 });
  assert.deepEqual(account.place, { sequence: 1, payloadOffset: 60 });
  assert.ok(isBalanced(account.cursor));
});

test("AccountKeeper rewinds without touching any account", () => {
  const account = new AccountKeeper(newCursor(0));
  account.accept({ messages: 5, payloadBytes: 50 }, 1);
  const { accounts } = account.cursor;
  account.rewind({ sequence: 2, payloadOffset: 20 });
  assert.deepEqual(account.cursor.accounts, accounts);
  assert.deepEqual(account.cursor.rewound, { messages: 3, payloadBytes: 30 });
  assert.ok(isBalanced(account.cursor));
});
