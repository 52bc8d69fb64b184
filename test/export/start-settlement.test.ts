import assert from "node:assert/strict";
import { test } from "node:test";
import { LossReason, type StreamLoss, type StreamPlace } from "../../src/core/stream-ledger.ts";
import { isBalanced, newCursor, type CursorRecord } from "../../src/export/cursor-layout.ts";
import type { PendingBatch } from "../../src/export/delivery.ts";
import { settleStart, type StartOptions } from "../../src/export/start-settlement.ts";
import type { HiddenPlace } from "../../src/log/segment-reader.ts";

/** Every message has 10 bytes. */
function place(sequence: number): StreamPlace {
  return { sequence, payloadOffset: 10 * sequence };
}

function bytesOf(messages: number): { messages: number; payloadBytes: number } {
  return { messages, payloadBytes: 10 * messages };
}

/** Everything below was exported. */
function cursorAt(position: number, startSequence = 0): CursorRecord {
  const fresh = newCursor(startSequence);
  return {
    ...fresh,
    revision: 1,
    position,
    payloadOffset: 10 * position,
    accounts: { ...fresh.accounts, exported: bytesOf(position) },
  };
}

const expired: StreamLoss = {
  reason: LossReason.Expired,
  fromSequence: 0,
  toSequence: 40,
  fromPayloadOffset: 0,
  toPayloadOffset: 400,
  timeMs: 3,
};

function settle(
  cursor: CursorRecord,
  changes: Partial<StartOptions>,
  pending?: PendingBatch,
): { cursor: CursorRecord; pending: PendingBatch | undefined } {
  const settled = settleStart(cursor, pending, {
    startSequence: cursor.startSequence,
    isMoved: false,
    skippedTo: undefined,
    oldest: place(0),
    end: place(100),
    drops: [],
    reader: { placeOf: place },
    acceptsGaps: false,
    nowMs: 9,
    ...changes,
  });
  assert.ok(settled.kind === "settled", JSON.stringify(settled));
  assert.ok(isBalanced(settled.cursor));
  return settled;
}

test("settleStart skips what lies below the start once the stream has got there, and nothing before", () => {
  const { cursor } = settle(newCursor(30), {});
  assert.deepEqual([cursor.position, cursor.accounts.skipped], [30, bytesOf(30)]);
  assert.equal(cursor.ranges[0]?.reason, LossReason.Skipped);
  for (const startSequence of [100, 250]) {
    assert.equal(settle(newCursor(startSequence), {}).cursor.position, 0, `start ${startSequence}`);
  }
});

test("settleStart begins at the oldest message where the start is gone, and the stream's account says why", () => {
  const { cursor } = settle(newCursor(30), { oldest: place(40), drops: [expired] });
  assert.deepEqual([cursor.position, cursor.accounts.expired], [40, bytesOf(40)]);
});

test("settleStart skips to a place that was told before retention took what it stood on", () => {
  const { cursor } = settle(newCursor(30), { oldest: place(40), drops: [expired], skippedTo: place(25) });
  assert.deepEqual([cursor.position, cursor.accounts.skipped], [40, bytesOf(25)]);
  assert.deepEqual(cursor.accounts.expired, bytesOf(15));
});

test("settleStart moves forward over what is not exported, and back to have it exported again", () => {
  const forward = settle(cursorAt(20), { startSequence: 50, isMoved: true }).cursor;
  assert.deepEqual([forward.position, forward.accounts.skipped], [50, bytesOf(30)]);
  const back = settle(forward, { startSequence: 10, isMoved: true }).cursor;
  assert.deepEqual([back.position, back.rewound, back.startSequence], [10, bytesOf(40), 10]);
  assert.deepEqual(back.accounts, forward.accounts);
});

test("settleStart goes back no further than to the oldest message, which keeps the account of those that are gone", () => {
  const options = { startSequence: 10, isMoved: true, oldest: place(40), drops: [expired] };
  const { cursor } = settle(cursorAt(60), options);
  assert.deepEqual([cursor.position, cursor.rewound], [40, bytesOf(20)]);
  const behind = settle(cursorAt(15), options).cursor;
  assert.deepEqual([behind.position, behind.rewound], [40, bytesOf(0)]);
  assert.deepEqual(behind.accounts.expired, bytesOf(25), "lost before the start moved");
});

test("settleStart keeps what a batch in hand knows: accepted is exported, and only what waits is skipped", () => {
  const entry = (sequence: number, fate: "accepted" | "waiting" | "parked") => ({
    sequence,
    bytes: 10,
    fate,
    refusals: 0,
  });
  const pending: PendingBatch = {
    end: place(25),
    entries: [
      entry(20, "waiting"),
      entry(21, "accepted"),
      entry(22, "parked"),
      entry(23, "accepted"),
      entry(24, "waiting"),
    ],
    gaps: [],
    suspects: 2,
    acceptances: 1,
  };
  const inside = settle(cursorAt(20), { startSequence: 23, isMoved: true }, pending);
  assert.deepEqual([inside.cursor.position, inside.pending?.entries.length], [24, 1]);
  assert.deepEqual(inside.cursor.accounts.exported, bytesOf(22));
  assert.deepEqual(inside.cursor.accounts.skipped, bytesOf(2));
  const beyond = settle(cursorAt(20), { startSequence: 60, isMoved: true }, pending);
  assert.deepEqual([beyond.cursor.position, beyond.pending], [60, undefined]);
  assert.deepEqual(beyond.cursor.accounts.exported, bytesOf(22));
  assert.deepEqual(beyond.cursor.accounts.skipped, bytesOf(38));
  const back = settle(cursorAt(20), { startSequence: 5, isMoved: true }, pending);
  assert.deepEqual([back.cursor.position, back.pending], [5, undefined]);
});

test("settleStart believes that a start is damaged when it is told to, and counts what the damage holds", () => {
  const hidden: HiddenPlace = { before: place(28), after: place(35) };
  const reader = { placeOf: () => hidden };
  const looked = settleStart(newCursor(30), undefined, {
    ...{ startSequence: 30, isMoved: false, skippedTo: undefined, oldest: place(0), end: place(100) },
    ...{ drops: [], reader, acceptsGaps: false, nowMs: 9 },
  });
  assert.equal(looked.kind, "gap");
  const { cursor } = settle(newCursor(30), { reader, acceptsGaps: true });
  assert.deepEqual([cursor.position, cursor.accounts.skipped], [35, bytesOf(28)]);
  assert.deepEqual(cursor.accounts.damaged, bytesOf(7));
  const back = settle(cursorAt(60), { startSequence: 30, isMoved: true, reader, acceptsGaps: true }).cursor;
  assert.deepEqual([back.position, back.rewound], [35, bytesOf(25)]);
});
