import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { LossReason } from "../../src/core/stream-ledger.ts";
import { SEGMENT_HEADER_BYTES } from "../../src/log/segment-layout.ts";
import { dataBlocks, segmentPaths } from "../support/log-blocks.ts";
import { blockOf, readAll, rewriteAll } from "../support/log-fixture.ts";
import { crashStates, type SimStorage } from "../support/sim-storage.ts";
import { append, baseOf, damageOf, makeStore, message, open, policy } from "./several-segments.ts";

function overwrite(
  storage: SimStorage,
  filePath: string,
  fill: number,
  from = 0,
  to = SEGMENT_HEADER_BYTES,
): void {
  const bytes = Buffer.from(storage.read(filePath));
  bytes.fill(fill, from, to);
  storage.put(filePath, bytes);
}

/** Everything is there as it was, the numbers go on, and so it stays. */
function assertNothingLost(storage: SimStorage, whole: SimStorage): void {
  const expected = open(whole.copy()).log;
  const { log } = open(storage);
  const { nextSequence } = expected;
  assert.equal(log.nextSequence, nextSequence);
  assert.equal(log.nextPayloadOffset, expected.nextPayloadOffset);
  const messages = readAll(expected, 0, nextSequence).messages;
  const found = readAll(log, 0, nextSequence);
  assert.deepEqual(found.gaps, []);
  assert.deepEqual(found.messages, messages);
  assert.equal(log.ledger.snapshot.accounts.damaged.messages, 0);
  append(log, storage, 5);
  rewriteAll(log, storage);
  log.close();
  const again = open(storage, { epoch: 3 });
  assert.deepEqual(again.recovery.restored, []);
  assert.deepEqual(again.recovery.unreadable, []);
  assert.equal(again.log.nextSequence, nextSequence + 15);
  assert.deepEqual(readAll(again.log, 0, nextSequence + 15).gaps, []);
}

describe("a segment of which both copies of the header are damaged", () => {
  for (const fill of [0, 0xa5]) {
    it(`is read again, whichever it is, its header full of ${fill}`, () => {
      const whole = makeStore();
      for (const filePath of segmentPaths(whole)) {
        const storage = whole.copy();
        overwrite(storage, filePath, fill);
        const { recovery } = open(storage.copy());
        assert.deepEqual(recovery.restored, [filePath.slice(-29)]);
        assertNothingLost(storage, whole);
      }
    });
  }

  it("is read again also when all of them are", () => {
    const whole = makeStore();
    const storage = whole.copy();
    for (const filePath of segmentPaths(storage)) overwrite(storage, filePath, 0xff);
    assertNothingLost(storage, whole);
  });

  it("is read again when it is a rewritten one", () => {
    const whole = makeStore();
    const log = open(whole, { rewriteBlockBytes: 65_536, policy: { ...policy, segmentSize: 60_000 } }).log;
    for (let count = 0; count < 300; count++) log.append(blockOf([message(log.nextSequence)]));
    log.sync(() => undefined);
    whole.completeSyncs();
    rewriteAll(log, whole);
    log.close();
    const rewritten = segmentPaths(whole).filter((filePath) => !filePath.endsWith("-0000.lz4"));
    assert.ok(rewritten.length > 0);
    for (const filePath of rewritten) {
      const storage = whole.copy();
      overwrite(storage, filePath, 0xa5);
      assertNothingLost(storage, whole);
    }
  });

  it("is read again by a start that follows one which died in the middle of it", () => {
    const whole = makeStore();
    const { nextSequence } = open(whole.copy()).log;
    const damaged = whole.copy();
    for (const filePath of segmentPaths(damaged).slice(-2)) overwrite(damaged, filePath, 0xa5);
    const storage = damaged.copy();
    open(storage);
    let states = 0;
    for (let operation = 0; operation < storage.operations.length; operation++) {
      const how = { random: () => 0.4, randomSubsets: 2, garbleBytes: 0 };
      for (const state of crashStates(storage, operation, how)) {
        const { log } = open(state.storage, { epoch: 3 });
        const label = `operation ${operation}, ${state.label}`;
        assert.equal(log.nextSequence, nextSequence, label);
        assert.deepEqual(readAll(log, 0, nextSequence).gaps, [], label);
        states += 1;
      }
    }
    assert.ok(states > 20, `${states} states`);
  });

  it("costs no more than its damaged blocks, and their numbers are not given again", () => {
    const storage = makeStore();
    const newest = segmentPaths(storage).at(-1)!;
    const blocks = dataBlocks(storage, newest);
    const { nextSequence } = open(storage.copy()).log;
    // The header, and all of the first block.
    overwrite(storage, newest, 0, 0, blocks[1]!.position);
    const { log, recovery } = open(storage);
    assert.equal(recovery.restored.length, 1);
    assert.equal(log.nextSequence, nextSequence);
    assert.deepEqual(damageOf(log), [[LossReason.Corrupt, blocks[0]!.fromSequence, blocks[0]!.toSequence]]);
    assert.equal(readAll(log, 0, nextSequence).messages.size, nextSequence - 3);
  });

  it("is CORRUPT in the account where nothing of it verifies, and LOST where only others know of it", () => {
    const storage = makeStore();
    const paths = segmentPaths(storage);
    const { log: before } = open(storage.copy());
    const knownEnd = { sequence: before.nextSequence, payloadOffset: before.nextPayloadOffset };
    const second = paths[1]!;
    overwrite(storage, second, 0xa5, 0, storage.read(second).length);
    const newest = paths.at(-1)!;
    overwrite(storage, newest, 0xa5, 0, storage.read(newest).length);
    const { log, recovery } = open(storage, { knownEnd });
    assert.deepEqual(recovery.restored, []);
    assert.deepEqual(damageOf(log), [
      [LossReason.Corrupt, baseOf(second), baseOf(paths[2]!)],
      [LossReason.Lost, baseOf(newest), knownEnd.sequence],
    ]);
    assert.equal(log.append(blockOf(["next"])), knownEnd.sequence);
    assert.deepEqual(storage.read(second), Buffer.alloc(storage.read(second).length, 0xa5), "left alone");
  });

  it("holds numbers that are not given again when the medium takes no header", () => {
    const storage = makeStore();
    const newest = segmentPaths(storage).at(-1)!;
    const { nextSequence } = open(storage.copy()).log;
    overwrite(storage, newest, 0xa5);
    storage.plant([["write@+1+", { code: "EIO" }]]);
    const { log, recovery } = open(storage);
    assert.deepEqual(recovery.restored, []);
    assert.equal(log.nextSequence, nextSequence);
  });
});
