import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { LossReason } from "../../src/core/stream-ledger.ts";
import { LedgerFile } from "../../src/log/ledger-file.ts";
import { parseStreamId } from "../../src/log/segment-layout.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import type { StreamLogOptions } from "../../src/log/stream-log-options.ts";
import { dataBlocks, segmentPaths } from "../support/log-blocks.ts";
import { blockOf, logOptions, readAll, STREAM_DIRECTORY, STREAM_ID } from "../support/log-fixture.ts";
import { SimStorage } from "../support/sim-storage.ts";
import { baseOf, damageOf, makeStore, message, open, type Range } from "./several-segments.ts";

/** What the account says is stored, before anything is read, is what can be read. */
function assertExact(log: StreamLog): void {
  const before = log.ledger.snapshot;
  const appended = { messages: log.nextSequence, payloadBytes: log.nextPayloadOffset };
  const stored = log.ledger.stored(appended);
  const { messages } = readAll(log, log.oldestSequence, log.nextSequence);
  let payloadBytes = 0;
  for (const text of messages.values()) payloadBytes += text.length;
  assert.deepEqual(stored, { messages: messages.size, payloadBytes });
  assert.deepEqual(log.ledger.snapshot, before, "reading finds nothing new");
}

/** Opens the store, and again: by then nothing is new. @returns the ranges that the ledger has */
function openTwice(storage: SimStorage, overrides: Partial<StreamLogOptions> = {}): Range[] {
  const { log } = open(storage, overrides);
  assertExact(log);
  const ranges = damageOf(log);
  const { accounts } = log.ledger.snapshot;
  const { nextSequence, nextPayloadOffset } = log;
  const again = open(storage.copy(), { ...overrides, epoch: 3 }).log;
  assertExact(again);
  assert.deepEqual(again.ledger.snapshot.accounts, accounts);
  assert.deepEqual([again.nextSequence, again.nextPayloadOffset], [nextSequence, nextPayloadOffset]);
  assert.deepEqual(again.ledger.takeChanges(), [], "a second start tells nothing anew");
  // Nor does one that has gone on since.
  log.append(blockOf([message(nextSequence)]));
  log.sync(() => undefined);
  storage.completeSyncs();
  log.close();
  const later = open(storage.copy(), { epoch: 4 }).log;
  assertExact(later);
  assert.deepEqual(later.ledger.snapshot.accounts.damaged, accounts.damaged);
  assert.equal(later.nextSequence, nextSequence + 1);
  return ranges;
}

describe("the account of damage that a start finds", () => {
  it("says CORRUPT of a damaged block in the newest segment, below one that proves it", () => {
    const storage = makeStore();
    const newest = segmentPaths(storage).at(-1)!;
    const blocks = dataBlocks(storage, newest);
    const [, second] = blocks;
    storage.flip(newest, second!.position + second!.headerBytes + 9);
    const { fromSequence, toSequence } = second!;
    assert.deepEqual(openTwice(storage), [[LossReason.Corrupt, fromSequence, toSequence]]);
  });

  it("says CORRUPT of what a complete segment lacks that was cut short", () => {
    const storage = makeStore();
    const second = segmentPaths(storage)[1]!;
    const last = dataBlocks(storage, second).at(-1)!;
    storage.put(second, storage.read(second).subarray(0, last.position + 50));
    const { fromSequence, toSequence } = last;
    assert.deepEqual(openTwice(storage), [[LossReason.Corrupt, fromSequence, toSequence]]);
  });

  it("says MISSING of segments that are gone, in the middle and in front", () => {
    const storage = makeStore();
    const paths = segmentPaths(storage);
    const bases = paths.map(baseOf);
    storage.unlink(paths[0]!);
    storage.unlink(paths[2]!);
    assert.deepEqual(openTwice(storage), [[LossReason.Missing, bases[2]!, bases[3]!]]);
    const { drops } = open(storage).log.ledger.snapshot;
    assert.deepEqual(
      drops.map((drop) => [drop.reason, drop.fromSequence, drop.toSequence]),
      [[LossReason.Missing, 0, bases[1]!]],
    );
  });

  it("says LOST of what a cursor proves, and the numbers go on behind it", () => {
    const storage = makeStore();
    const { nextSequence, nextPayloadOffset } = open(storage.copy()).log;
    const knownEnd = { sequence: nextSequence + 11, payloadOffset: nextPayloadOffset + 555 };
    assert.deepEqual(openTwice(storage, { knownEnd }), [[LossReason.Lost, nextSequence, knownEnd.sequence]]);
  });

  it("says LOST of what the ledger itself proves", () => {
    const storage = makeStore();
    const { nextSequence, nextPayloadOffset } = open(storage.copy()).log;
    const ledgerFile = new LedgerFile(storage, STREAM_DIRECTORY);
    const { snapshot } = open(storage.copy()).log.ledger;
    const knownEnd = { sequence: nextSequence + 7, payloadOffset: nextPayloadOffset + 70 };
    const streamId = parseStreamId(STREAM_ID);
    ledgerFile.write({ streamId, snapshot, knownEnd, lastUncleanEnd: undefined });
    assert.deepEqual(openTwice(storage), [[LossReason.Lost, nextSequence, nextSequence + 7]]);
  });

  it("says LOST of everything when no segment is left, and still gives no number twice", () => {
    const storage = makeStore();
    const { log } = open(storage);
    const { nextSequence, nextPayloadOffset } = log;
    const knownEnd = { sequence: nextSequence, payloadOffset: nextPayloadOffset };
    for (const file of segmentPaths(storage)) storage.unlink(file);
    assert.deepEqual(openTwice(storage, { knownEnd }), []);
    const { log: opened } = open(storage);
    assert.deepEqual(
      opened.ledger.snapshot.drops.map((drop) => [drop.reason, drop.fromSequence, drop.toSequence]),
      [[LossReason.Lost, 0, nextSequence]],
    );
    assert.equal(opened.oldestSequence, nextSequence);
    assert.equal(opened.ledger.snapshot.accounts.damaged.payloadBytes, nextPayloadOffset);
  });

  it("keeps whole blocks behind a damaged one that a cursor proves, though no block does", () => {
    const storage = new SimStorage();
    storage.makeDirectory("/store");
    const log = StreamLog.create(logOptions(storage));
    // One sync for all of them: none says of another that it was durable.
    for (let block = 0; block < 3; block++) log.append(blockOf([message(block)]));
    log.sync(() => undefined);
    storage.completeSyncs();
    const knownEnd = { sequence: 3, payloadOffset: log.nextPayloadOffset };
    const [newest] = segmentPaths(storage);
    const [, second] = dataBlocks(storage, newest!);
    storage.flip(newest!, second!.position + second!.headerBytes + 9);
    assert.deepEqual(openTwice(storage, { knownEnd }), [[LossReason.Corrupt, 1, 2]]);
  });

  it("gives no number twice when damage hides durable messages and the block that proves them is torn", () => {
    const storage = makeStore();
    const newest = segmentPaths(storage).at(-1)!;
    const blocks = dataBlocks(storage, newest);
    const [hidden, torn] = [blocks.at(-2)!, blocks.at(-1)!];
    storage.flip(newest, hidden.position + 20);
    storage.flip(newest, torn.position + torn.headerBytes + 9);
    const { log, recovery } = open(storage.copy());
    assert.equal(log.nextSequence, hidden.toSequence);
    assert.equal(recovery.tornTailBytes, 0);
    assert.deepEqual(openTwice(storage), [[LossReason.Corrupt, hidden.fromSequence, hidden.toSequence]]);
  });
});
