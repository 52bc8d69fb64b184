import assert from "node:assert/strict";
import { LossReason, type MessageTotals, type StreamLoss } from "../../src/core/stream-ledger.ts";
import { accountOfLoss } from "../../src/export/account-keeper.ts";
import { exporterAccounts, type CursorRecord, type ExporterAccount } from "../../src/export/cursor-layout.ts";

/** What a test knows of every message, apart from what the code under test keeps. */
export interface Truth {
  readonly payloadBytes: (sequence: number) => number;
  readonly isAccepted: (sequence: number) => boolean;
  /** The destination never takes it. */
  readonly isRefused: (sequence: number) => boolean;
  readonly isDropped: (sequence: number) => boolean;
  readonly isDamaged: (sequence: number) => boolean;
  readonly isBelowStart: (sequence: number) => boolean;
}

/** Fails unless every message between two records of one exporter has the account that it deserves, to the byte. */
export function explain(before: CursorRecord, after: CursorRecord, truth: Truth): void {
  const rewound = minus(after.rewound, before.rewound);
  // A start that moves back may come after messages were passed by the same task.
  const reached = after.position + rewound.messages;
  assert.ok(reached >= before.position, `cursor went back from ${before.position} to ${reached}`);
  assert.equal(rewound.payloadBytes, sumBytes(after.position, reached, truth), "bytes that go again");
  const expected = new Map<ExporterAccount, { messages: number; payloadBytes: number }>();
  const losses = newLosses(before, after);
  for (let sequence = before.position; sequence < reached; sequence += 1) {
    const account = accountOf(sequence, losses, truth);
    const totals = expected.get(account) ?? { messages: 0, payloadBytes: 0 };
    totals.messages += 1;
    totals.payloadBytes += truth.payloadBytes(sequence);
    expected.set(account, totals);
  }
  for (const account of exporterAccounts) {
    const found = minus(after.accounts[account], before.accounts[account]);
    assert.deepEqual(found, expected.get(account) ?? { messages: 0, payloadBytes: 0 }, `account ${account}`);
  }
}

function accountOf(sequence: number, losses: readonly StreamLoss[], truth: Truth): ExporterAccount {
  const loss = losses.find(
    ({ fromSequence, toSequence }) => sequence >= fromSequence && sequence < toSequence,
  );
  if (loss === undefined) {
    assert.ok(truth.isAccepted(sequence), `message ${sequence} is below the cursor and nowhere`);
    return "exported";
  }
  assert.ok(
    isDeserved(sequence, loss.reason, truth),
    `message ${sequence} was passed for reason ${loss.reason}`,
  );
  return accountOfLoss(loss.reason);
}

function isDeserved(sequence: number, reason: LossReason, truth: Truth): boolean {
  switch (reason) {
    case LossReason.SetAside:
      return truth.isRefused(sequence);
    case LossReason.Skipped:
      return truth.isBelowStart(sequence);
    case LossReason.Corrupt:
    case LossReason.Lost:
      return truth.isDamaged(sequence);
    case LossReason.Missing:
      return truth.isDamaged(sequence) || truth.isDropped(sequence);
    case LossReason.Overwritten:
    case LossReason.Expired:
    case LossReason.Deleted:
      return truth.isDropped(sequence);
  }
}

/** What was added to the ranges of `before`: they lose their oldest, and their last may grow. */
function newLosses({ ranges: before }: CursorRecord, { ranges: after }: CursorRecord): StreamLoss[] {
  for (let lost = 0; lost <= before.length; lost += 1) {
    const kept = before.slice(lost);
    const isPrefix = kept.every(({ fromSequence, toSequence, reason }, index) => {
      const range = after[index];
      const isLast = index === kept.length - 1;
      if (range?.fromSequence !== fromSequence || range.reason !== reason) return false;
      return isLast ? range.toSequence >= toSequence : range.toSequence === toSequence;
    });
    if (!isPrefix) continue;
    const last = kept.at(-1);
    const grown = kept.length === 0 ? undefined : after[kept.length - 1];
    const growth = last && grown ? [{ ...grown, fromSequence: last.toSequence }] : [];
    return [...growth, ...after.slice(kept.length)];
  }
  return [...after];
}

function sumBytes(from: number, to: number, truth: Truth): number {
  let bytes = 0;
  for (let sequence = from; sequence < to; sequence += 1) bytes += truth.payloadBytes(sequence);
  return bytes;
}

function minus(one: MessageTotals, other: MessageTotals): MessageTotals {
  return {
    messages: one.messages - other.messages,
    payloadBytes: one.payloadBytes - other.payloadBytes,
  };
}
