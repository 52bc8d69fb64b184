import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { LossReason } from "../../src/core/stream-ledger.ts";
import { isBalanced, newCursor, type CursorRecord } from "../../src/export/cursor-layout.ts";
import {
  confirmSetAside,
  fold,
  isStuck,
  joined,
  nextGroup,
  settle,
  type PendingBatch,
  type Settled,
} from "../../src/export/delivery.ts";
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
  return { end, entries, gaps: [], suspects: 0, acceptances: 0 };
}

/** A cursor before which everything was exported, 10 bytes each. */
function cursorAt(position: number): CursorRecord {
  const fresh = newCursor(0);
  const exported = { messages: position, payloadBytes: 10 * position };
  return { ...fresh, position, payloadOffset: 10 * position, accounts: { ...fresh.accounts, exported } };
}

/** A step, and the messages that were stored in the companion stream behind it. */
interface Step extends Settled {
  readonly setAside: readonly number[];
  readonly setAsideError: string;
}

function begun(count: number): Step {
  return { cursor: newCursor(0), pending: batchOf(count), setAside: [], setAsideError: "" };
}

function answer(settled: Pick<Settled, "cursor" | "pending">, outcome: SendOutcome, isRedrive = false): Step {
  assert.ok(settled.pending !== undefined);
  const group = nextGroup(settled.pending);
  return storedStep(settle(settled.cursor, settled.pending, { group, outcome, isRedrive, nowMs: 7 }));
}

function storedStep({ cursor, pending }: Settled): Step {
  const condemned = pending?.entries.filter(({ fate }) => fate === "condemned") ?? [];
  const setAside = condemned.map(({ sequence }) => sequence);
  const setAsideError = condemned.at(-1)?.error ?? "";
  if (pending === undefined || condemned.length === 0) return { cursor, pending, setAside, setAsideError };
  assert.ok(cursor.position <= setAside[0]!, "the position stays below what is not stored");
  return { ...fold(cursor, confirmSetAside(pending, new Set(setAside)), 7), setAside, setAsideError };
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
    setAsideError: "",
  });
  const half = answer({ cursor, pending: batchOf(2, 3) }, { kind: "answered", failed: [0], error: "x" });
  assert.deepEqual(sequences(answer(half, failure).pending), [3]);
});

test("settle isolates any one refused message of 500 in at most 14 extra requests and sets it aside", () => {
  for (const poison of [0, 1, 249, 250, 251, 498, 499]) {
    let state = begun(500);
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

test("settle isolates every one of many refused messages, and sends all others", () => {
  for (const poison of [
    [0, 1, 2],
    [7, 300, 301, 302, 499],
    Array.from({ length: 40 }, (_, index) => index),
  ]) {
    let state = begun(500);
    const aside: number[] = [];
    for (let call = 0; state.pending !== undefined; call += 1) {
      assert.ok(call < 15 * poison.length, `${poison.length} messages are not isolated`);
      const hit = nextGroup(state.pending).some(({ sequence }) => poison.includes(sequence));
      state = answer(state, hit ? refused : accepted);
      aside.push(...state.setAside);
    }
    assert.deepEqual(
      aside.sort((one, other) => one - other),
      poison,
    );
    assert.equal(state.cursor.accounts.exported.messages, 500 - poison.length);
  }
});

test("settle sets nothing aside while the destination refuses everything", () => {
  let state = begun(8);
  for (let call = 0; call < 500 && !isStuck(state.pending!); call += 1) {
    state = answer(state, refused);
    assert.deepEqual(state.setAside, []);
  }
  assert.ok(isStuck(state.pending!), "there is nothing more to try in this batch");
  assert.equal(state.cursor.position, 0);
});

test("settle tries a parked message once more when another was accepted: the destination may have been mended", () => {
  let state = begun(2);
  while (sequences(state.pending)[0] === 0) state = answer(state, refused);
  assert.deepEqual(sequences(state.pending), [1]);
  state = answer(state, accepted);
  assert.deepEqual([state.setAside, sequences(state.pending)], [[], [0]]);
  const mended = answer(state, accepted);
  assert.deepEqual([mended.pending, mended.cursor.accounts.exported.messages], [undefined, 2]);
  const away = answer(state, {
    kind: "failed",
    scope: "endpoint",
    pace: "slow",
    timedOut: false,
    error: "x",
  });
  assert.deepEqual(sequences(away.pending), [0]);
  const stillRefused = answer(state, refused);
  assert.deepEqual([stillRefused.setAside, stillRefused.setAsideError], [[0], "no"]);
  assert.deepEqual(stillRefused.cursor.accounts.setAside, { messages: 1, payloadBytes: 10 });
});

const names = (indexes: readonly number[], failed: readonly number[] = []): SendOutcome => ({
  kind: "answered",
  failed,
  refused: indexes.map((index) => ({ index, error: `bad ${index}` })),
  error: "some",
});

test("settle sets a record refused by name aside at once where the same answer accepted another", () => {
  const first = answer(begun(5), names([1, 3], [4]));
  assert.deepEqual([first.setAside, first.setAsideError], [[1, 3], "bad 3"]);
  assert.equal(first.cursor.position, 4);
  assert.deepEqual(sequences(first.pending), [4]);
  const last = answer(first, accepted);
  assert.deepEqual(last.cursor.accounts.exported, { messages: 3, payloadBytes: 30 });
  assert.deepEqual(last.cursor.accounts.setAside, { messages: 2, payloadBytes: 20 });
});

test("settle parks what is refused by name as long as nothing is accepted, also behind an earlier acceptance", () => {
  for (const count of [1, 4]) {
    const state = answer(begun(count), names(Array.from({ length: count }, (_, index) => index)));
    assert.deepEqual([state.setAside, state.cursor.position, sequences(state.pending)], [[], 0, []]);
    assert.ok(isStuck(state.pending!));
  }
  // Its name was taken away between the two requests.
  const half = answer(begun(3), { kind: "answered", failed: [1, 2], error: "slow down" });
  const state = answer(half, names([0, 1]));
  assert.deepEqual([state.setAside, state.cursor.position], [[], 1]);
  assert.ok(isStuck(state.pending!));
});

test("settle goes on behind what is parked, and needs a refusal after the acceptance", () => {
  const parked = answer(begun(1), names([0]));
  const further: PendingBatch = joined(parked.pending!, batchOf(1, 1));
  assert.deepEqual(sequences(further), [1]);
  const proven = answer({ cursor: parked.cursor, pending: further }, accepted);
  assert.deepEqual([proven.setAside, sequences(proven.pending)], [[], [0]]);
  const done = answer(proven, names([0]));
  assert.deepEqual([done.setAside, done.cursor.position, done.pending], [[0], 2, undefined]);
  assert.ok(isBalanced(done.cursor));
});

test("settle sets aside at its first refusal alone what is sent again by command", () => {
  const first = answer(begun(2), refused, true);
  assert.deepEqual([first.setAside, sequences(first.pending)], [[], [0]]);
  const second = answer(first, refused, true);
  assert.deepEqual([second.setAside, sequences(second.pending)], [[0], [1]]);
  const third = answer(second, names([0]), true);
  assert.deepEqual([third.setAside, third.cursor.position, third.pending], [[1], 2, undefined]);
});

test("settle sets a malformed record aside without asking for proof", () => {
  const outcome: SendOutcome = {
    kind: "answered",
    failed: [],
    refused: [{ index: 0, error: "not JSON", isMalformed: true }],
    error: "not JSON",
  };
  const settled = answer(begun(1), outcome);
  assert.deepEqual([settled.setAside, settled.cursor.position, settled.pending], [[0], 1, undefined]);
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
      fc.boolean(),
      (count, steps, poison, judgesEach) => {
        let cursor: CursorRecord = cursorAt(5);
        let pending: PendingBatch | undefined = batchOf(count, 5);
        const stored = new Set<number>();
        const aside = new Set<number>();
        for (const { kind, failing } of steps) {
          pending ??=
            cursor.position === 5 + count ? undefined : batchOf(5 + count - cursor.position, cursor.position);
          if (pending === undefined) break;
          const group: ReturnType<typeof nextGroup> = nextGroup(pending);
          if (group.length === 0) {
            assert.ok(isStuck(pending), "a batch in hand has something to send");
            pending = undefined;
            continue;
          }
          const bad = group.flatMap(({ sequence }, index) => (poison.includes(sequence - 5) ? [index] : []));
          const failed = group
            .map((_, index) => index)
            .filter((index) => failing[index] === true && !bad.includes(index));
          const outcome: SendOutcome =
            bad.length > 0
              ? judgesEach
                ? names(bad, failed)
                : refused
              : kind === "answered"
                ? { kind, failed, error: "x" }
                : { kind: "failed", scope: "endpoint", pace: "backoff", timedOut: false, error: "x" };
          if (outcome.kind === "answered") {
            group.forEach(({ sequence }, index) => {
              if (!failed.includes(index) && !bad.includes(index)) stored.add(sequence);
            });
          }
          const before: number = cursor.position;
          const settled: Step = storedStep(settle(cursor, pending, { group, outcome, nowMs: 1 }));
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
