import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";

import { SequenceGapError } from "../../src/core/errors.ts";
import { PRODUCER_WINDOW_BATCHES, PRODUCERS_PER_STREAM_MAX } from "../../src/core/limits.ts";
import { ProducerTable, type StoredBatch } from "../../src/log/producer-table.ts";

/** Stores the batches [from, to) of a producer, a message each, from stream sequence `firstSequence` on. */
function store(table: ProducerTable, id: number, from: number, to: number, firstSequence = from): void {
  for (let sequence = from; sequence < to; sequence++) {
    assert.equal(table.find({ id, sequence }, 1), undefined);
    table.record({ id, sequence }, { firstSequence: firstSequence + sequence - from, messageCount: 1 });
  }
}

const gap = (expectedSequence: number, text: RegExp) => (thrown: unknown) =>
  thrown instanceof SequenceGapError &&
  thrown.expectedSequence === expectedSequence &&
  thrown.code === "SEQUENCE_GAP" &&
  text.test(thrown.message);

describe("ProducerTable", () => {
  it("takes batch 0 of a producer that it does not know, and no other", () => {
    const table = new ProducerTable();
    assert.equal(table.find({ id: 7, sequence: 0 }, 3), undefined);
    for (const sequence of [1, 2, 2 ** 53 - 1]) {
      assert.throws(() => table.find({ id: 7, sequence }, 3), gap(0, /does not know this producer/));
    }
    assert.equal(table.expectedSequence(7), 0);
  });

  it("takes the next batch only, and goes on only when it was recorded", () => {
    const table = new ProducerTable();
    store(table, 7, 0, 1, 100);
    assert.equal(table.find({ id: 7, sequence: 1 }, 5), undefined);
    assert.equal(table.find({ id: 7, sequence: 1 }, 5), undefined);
    assert.throws(() => table.find({ id: 7, sequence: 2 }, 5), gap(1, /batch 1 is next/));
    table.record({ id: 7, sequence: 1 }, { firstSequence: 101, messageCount: 5 });
    assert.equal(table.find({ id: 7, sequence: 2 }, 1), undefined);
    assert.equal(table.expectedSequence(7), 2);
  });

  it("gives a repeat its first answer within the window, and refuses what is older", () => {
    const table = new ProducerTable();
    store(table, 7, 0, 100, 1000);
    for (let sequence = 100 - PRODUCER_WINDOW_BATCHES; sequence < 100; sequence++) {
      const stored = { firstSequence: 1000 + sequence, messageCount: 1 };
      assert.deepEqual(table.find({ id: 7, sequence }, 1), stored);
    }
    const before = 100 - PRODUCER_WINDOW_BATCHES - 1;
    assert.throws(() => table.find({ id: 7, sequence: before }, 1), gap(100, /only the last 64/));
  });

  it("takes nothing for a repeat that has another number of messages", () => {
    const table = new ProducerTable();
    store(table, 7, 0, 2);
    assert.throws(() => table.find({ id: 7, sequence: 1 }, 2), gap(2, /2 messages, it was stored with 1/));
  });

  it("forgets the producer whose last batch is longest ago when there is one more than it remembers", () => {
    const table = new ProducerTable();
    for (let id = 1; id <= PRODUCERS_PER_STREAM_MAX; id++) store(table, id, 0, 1);
    store(table, 1, 1, 2);
    store(table, PRODUCERS_PER_STREAM_MAX + 1, 0, 1);
    assert.equal(table.producerCount, PRODUCERS_PER_STREAM_MAX);
    assert.equal(table.expectedSequence(1), 2);
    assert.equal(table.expectedSequence(2), 0);
    assert.equal(table.expectedSequence(3), 1);
    // What comes back may have been stored before or not: nobody knows, so it is not taken for new.
    assert.throws(() => table.find({ id: 2, sequence: 1 }, 1), gap(0, /not any more/));
    store(table, 2, 0, 1);
    assert.equal(table.expectedSequence(3), 0);
  });

  it("keeps what it knows around batches that were lost", () => {
    const table = new ProducerTable();
    store(table, 7, 0, 3);
    table.record({ id: 7, sequence: 5 }, { firstSequence: 50, messageCount: 2 });
    assert.deepEqual(table.find({ id: 7, sequence: 2 }, 1), { firstSequence: 2, messageCount: 1 });
    assert.deepEqual(table.find({ id: 7, sequence: 5 }, 2), { firstSequence: 50, messageCount: 2 });
    for (const sequence of [3, 4]) assert.throws(() => table.find({ id: 7, sequence }, 1), gap(6, /64/));
    table.record({ id: 7, sequence: 500 }, { firstSequence: 60, messageCount: 1 });
    assert.throws(() => table.find({ id: 7, sequence: 5 }, 2), gap(501, /64/));
    // It was forgotten, and began anew.
    table.record({ id: 7, sequence: 0 }, { firstSequence: 70, messageCount: 1 });
    assert.equal(table.expectedSequence(7), 1);
    assert.throws(() => table.find({ id: 7, sequence: 500 }, 1), gap(1, /batch 1 is next/));
  });

  it("tells what it knew when the stream was shorter", () => {
    const table = new ProducerTable();
    store(table, 7, 0, 10, 100);
    store(table, 8, 0, 1, 110);
    const batches: StoredBatch[] = Array.from({ length: 5 }, (_, index) => ({
      firstSequence: 100 + index,
      messageCount: 1,
    }));
    assert.deepEqual(table.statesBelow(105), [{ id: 7, lastSequence: 4, batches }]);
    assert.deepEqual(table.statesBelow(100), []);
    const restored = new ProducerTable();
    for (const state of table.statesBelow(111)) restored.restore(state);
    assert.deepEqual(restored.statesBelow(111), table.statesBelow(111));
    assert.deepEqual(restored.find({ id: 7, sequence: 9 }, 1), { firstSequence: 109, messageCount: 1 });
  });

  it("agrees with a table that remembers everything, over random batches and restarts", () => {
    const step = fc.record({
      id: fc.integer({ min: 1, max: 4 }),
      /** From the next batch. */
      offset: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.integer({ min: -70, max: 3 })),
      isOther: fc.boolean(),
      burst: fc.oneof({ weight: 5, arbitrary: fc.constant(1) }, fc.integer({ min: 60, max: 70 })),
      messageCount: fc.integer({ min: 1, max: 3 }),
      isRestart: fc.boolean(),
    });
    let repeats = 0;
    let gaps = 0;
    const property = fc.property(fc.array(step, { minLength: 5, maxLength: 60 }), (steps) => {
      let table = new ProducerTable();
      const all = new Map<number, StoredBatch[]>();
      let nextSequence = 0;
      for (const { id, offset, burst, isOther, isRestart, ...sent } of steps) {
        const known = all.get(id) ?? [];
        all.set(id, known);
        const sequence = Math.max(0, known.length + offset);
        const messageCount = isOther
          ? sent.messageCount
          : (known[sequence]?.messageCount ?? sent.messageCount);
        const isRemembered = sequence >= known.length - PRODUCER_WINDOW_BATCHES;
        const expected = isRemembered ? known[sequence] : undefined;
        if (sequence === known.length) {
          for (let left = burst; left > 0; left--) {
            const producer = { id, sequence: known.length };
            assert.equal(table.find(producer, messageCount), undefined);
            const batch = { firstSequence: nextSequence, messageCount };
            table.record(producer, batch);
            known.push(batch);
            nextSequence += messageCount;
          }
        } else if (expected?.messageCount === messageCount) {
          assert.deepEqual(table.find({ id, sequence }, messageCount), expected);
          repeats += 1;
        } else {
          assert.throws(() => table.find({ id, sequence }, messageCount), gap(known.length, /./));
          gaps += 1;
        }
        if (!isRestart) continue;
        const states = table.statesBelow(nextSequence);
        table = new ProducerTable();
        for (const state of states) table.restore(state);
      }
    });
    fc.assert(property, { seed: Number(process.env["SEED"] ?? 3), numRuns: 300 });
    assert.ok(repeats > 200 && gaps > 200, `${repeats} repeats, ${gaps} gaps`);
  });
});
