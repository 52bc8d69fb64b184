import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { LossReason } from "../../src/core/stream-ledger.ts";
import { isBalanced, newCursor, type CursorRecord } from "../../src/export/cursor-layout.ts";
import { nextGroup, settle, type PendingBatch, type Settled } from "../../src/export/delivery.ts";
import type { SendOutcome } from "../../src/export/destinations/destination.ts";
import { testSeed } from "../support/seeded-random.ts";

function batchOf(count: number, from = 0): PendingBatch {
  const entries = Array.from({ length: count }, (_, index) => ({
    sequence: from + index,
    bytes: 10,
    fate: "waiting" as const,
    refusals: 0,
  }));
  const end = { sequence: from + count, payloadOffset: 10 * (from + count) };
  return { end, entries, gaps: [], suspects: 0, anyAccepted: false };
}

/** A cursor before which everything was exported, 10 bytes each. */
function cursorAt(position: number): CursorRecord {
  const fresh = newCursor(0);
  const exported = { messages: position, payloadBytes: 10 * position };
  return { ...fresh, position, payloadOffset: 10 * position, accounts: { ...fresh.accounts, exported } };
}

function answer(settled: Pick<Settled, "cursor" | "pending">, outcome: SendOutcome): Settled {
  assert.ok(settled.pending !== undefined);
  const group = nextGroup(settled.pending);
  return settle(settled.cursor, settled.pending, { group, outcome, nowMs: 7 });
}

const accepted: SendOutcome = { kind: "answered", failed: [], error: "" };
const refused: SendOutcome = { kind: "refused", error: "no" };

function sequences(pending: PendingBatch | undefined): number[] {
  return pending === undefined ? [] : nextGroup(pending).map(({ sequence }) => sequence);
}

test("settle moves the cursor to the first failed message and keeps exactly the failed ones for the next request", () => {
  const first = answer(
    { cursor: newCursor(0), pending: batchOf(6) },
    { kind: "answered", failed: [2, 4], error: "x" },
  );
  assert.equal(first.cursor.position, 2);
  assert.equal(first.cursor.accounts.exported.messages, 2);
  assert.deepEqual(sequences(first.pending), [2, 4]);
  const second = answer(first, { kind: "answered", failed: [1], error: "x" });
  assert.equal(second.cursor.position, 4);
  assert.deepEqual(sequences(second.pending), [4]);
  const third = answer(second, accepted);
  assert.equal(third.pending, undefined);
  assert.deepEqual(
    [third.cursor.position, third.cursor.payloadOffset, third.cursor.accounts.exported],
    [6, 60, { messages: 6, payloadBytes: 60 }],
  );
});

test("settle leaves the account alone after a failure and has an untouched batch read anew", () => {
  const failure: SendOutcome = {
    kind: "failed",
    scope: "endpoint",
    pace: "backoff",
    timedOut: false,
    error: "x",
  };
  const cursor = cursorAt(3);
  assert.deepEqual(answer({ cursor, pending: batchOf(2, 3) }, failure), {
    cursor,
    pending: undefined,
    setAside: [],
  });
  const half = answer({ cursor, pending: batchOf(2, 3) }, { kind: "answered", failed: [0], error: "x" });
  assert.deepEqual(sequences(answer(half, failure).pending), [3]);
});

test("settle isolates any one refused message of 500 in at most 14 extra requests and sets it aside", () => {
  for (const poison of [0, 1, 249, 250, 251, 498, 499]) {
    let state: Settled = { cursor: newCursor(0), pending: batchOf(500), setAside: [] };
    let calls = 0;
    const aside: number[] = [];
    while (state.pending !== undefined) {
      const hit = nextGroup(state.pending).some(({ sequence }) => sequence === poison);
      state = answer(state, hit ? refused : accepted);
      aside.push(...state.setAside);
      calls += 1;
      assert.ok(calls < 50, `message ${poison} is not isolated`);
    }
    assert.deepEqual(aside, [poison]);
    assert.equal(state.cursor.position, 500);
    assert.deepEqual(state.cursor.accounts.exported, { messages: 499, payloadBytes: 4990 });
    assert.deepEqual(state.cursor.accounts.setAside, { messages: 1, payloadBytes: 10 });
    assert.deepEqual(state.cursor.ranges, [
      {
        reason: LossReason.SetAside,
        fromSequence: poison,
        toSequence: poison + 1,
        fromPayloadOffset: 10 * poison,
        toPayloadOffset: 10 * poison + 10,
        timeMs: 7,
      },
    ]);
    assert.ok(calls - 1 <= 14, `${calls - 1} extra requests for message ${poison}`);
  }
});

test("settle sets nothing aside while the destination refuses everything", () => {
  let state: Settled = { cursor: newCursor(0), pending: batchOf(8), setAside: [] };
  for (let call = 0; call < 500 && state.pending !== undefined; call += 1) {
    state = answer(state, refused);
    assert.deepEqual(state.setAside, []);
  }
  assert.equal(state.pending, undefined, "the batch is read anew in the end");
  assert.equal(state.cursor.position, 0);
});

test("settle accounts for every message exactly once, whatever the destination answers", () => {
  const step = fc.record({
    kind: fc.constantFrom("answered", "refused", "failed"),
    failing: fc.infiniteStream(fc.boolean()).map((stream) => [...stream.take(12)].map((fails) => fails)),
  });
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 12 }),
      fc.array(step, { maxLength: 40 }),
      fc.uniqueArray(fc.nat(11), { maxLength: 3 }),
      (count, steps, poison) => {
        let cursor: CursorRecord = cursorAt(5);
        let pending: PendingBatch | undefined = batchOf(count, 5);
        const stored = new Set<number>();
        const aside = new Set<number>();
        for (const { kind, failing } of steps) {
          pending ??=
            cursor.position === 5 + count ? undefined : batchOf(5 + count - cursor.position, cursor.position);
          if (pending === undefined) break;
          const group: ReturnType<typeof nextGroup> = nextGroup(pending);
          assert.ok(group.length > 0, "a batch in hand has something to send");
          const isPoisoned = group.some(({ sequence }) => poison.includes(sequence - 5));
          const failed = group.map((_, index) => index).filter((index) => failing[index] === true);
          const outcome: SendOutcome = isPoisoned
            ? refused
            : kind === "answered"
              ? { kind, failed, error: "x" }
              : { kind: "failed", scope: "endpoint", pace: "backoff", timedOut: false, error: "x" };
          if (outcome.kind === "answered") {
            group.forEach(({ sequence }, index) => failed.includes(index) || stored.add(sequence));
          }
          const before: number = cursor.position;
          const settled: Settled = settle(cursor, pending, { group, outcome, nowMs: 1 });
          for (const sequence of settled.setAside) aside.add(sequence);
          ({ cursor, pending } = settled);
          assert.ok(isBalanced(cursor));
          assert.ok(cursor.position >= before);
          for (let sequence = 5; sequence < cursor.position; sequence += 1) {
            assert.ok(stored.has(sequence) !== aside.has(sequence), `message ${sequence} has one account`);
          }
          for (const sequence of aside)
            assert.ok(poison.includes(sequence - 5), `${sequence} was set aside unjustly`);
        }
      },
    ),
    { numRuns: 3000, seed: testSeed },
  );
});
