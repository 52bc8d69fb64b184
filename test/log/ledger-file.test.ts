import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { LossReason, type StreamLoss } from "../../src/core/stream-ledger.ts";
import {
  decodeLedger,
  encodeLedger,
  LEDGER_BYTES_MAX,
  type LedgerRecord,
} from "../../src/log/ledger-layout.ts";
import { SharedMemoryStorage } from "../../src/log/shared-memory-storage.ts";
import { SlotFile } from "../../src/log/slot-file.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { KeptMemory } from "../support/kept-memory.ts";
import {
  blockOf,
  costOf,
  logOptions,
  readAll,
  smallPolicy,
  STREAM_DIRECTORY,
} from "../support/log-fixture.ts";
import { SimStorage } from "../support/sim-storage.ts";

const overwriting = {
  ...smallPolicy,
  maxSize: 12_000,
  segmentSize: 3000,
  strategyOnFull: StrategyOnFull.OverwriteOldestData,
};

function loss(index: number): StreamLoss {
  return {
    reason: LossReason.Overwritten,
    fromSequence: index * 2,
    toSequence: index * 2 + 2,
    fromPayloadOffset: index * 10,
    toPayloadOffset: index * 10 + 10,
    timeMs: 1_700_000_000_000 + index,
  };
}

function recordOf(dropCount: number, damageCount: number): LedgerRecord {
  const drops = Array.from({ length: dropCount }, (_, index) => loss(index));
  const damage = Array.from({ length: damageCount }, (_, index) => loss(100 + 2 * index));
  const totals = { messages: 1, payloadBytes: 2 };
  const accounts = { overwritten: totals, expired: totals, deleted: totals, damaged: totals };
  return {
    streamId: Buffer.alloc(16, 7),
    snapshot: { accounts, drops, damage },
    knownEnd: { sequence: 2 ** 40, payloadOffset: 2 ** 50 },
    lastUncleanEnd: { sequence: 5, epoch: 3, timeMs: 1_700_000_000_000 },
  };
}

describe("ledger layout", () => {
  it("has this form", () => {
    const bytes = encodeLedger(recordOf(1, 0)).toString("hex");
    assert.equal(
      bytes,
      "0100010000000100" +
        "01000000000000000200000000000000".repeat(4) +
        "00000000000100000000000000000400" +
        "050000000000000000" +
        "68e5cf8b0100000300000000000000" +
        "07".repeat(16) +
        "000000000000000002000000000000000000000000000000" +
        "0a000000000000000068e5cf8b0100000100000000000000",
    );
  });

  it("round-trips, up to its limit, and is refused as any prefix, as another version or with a hole", () => {
    for (const record of [recordOf(0, 0), recordOf(3, 2), recordOf(64, 64)]) {
      assert.deepEqual(decodeLedger(encodeLedger(record)), record);
    }
    const bytes = encodeLedger(recordOf(64, 64));
    assert.equal(bytes.length, LEDGER_BYTES_MAX);
    for (let length = 0; length < bytes.length; length += 5) {
      assert.equal(decodeLedger(bytes.subarray(0, length)), undefined);
    }
    const reasonOffset = 128 + 40;
    const tooLarge = 72 + 7;
    for (const offset of [0, 1, 2, 4, reasonOffset, 128 + 8, 128 + 48, tooLarge]) {
      const damaged = Buffer.from(bytes);
      damaged[offset]! ^= 0x40;
      assert.equal(decodeLedger(damaged), undefined, `byte ${offset}`);
    }
  });
});

function fill(log: StreamLog, blocks: number, complete: () => void = () => undefined): void {
  for (let block = 0; block < blocks; block++) {
    const builder = blockOf([`message ${log.nextSequence} ${"x".repeat(60)}`, "y"]);
    log.admit(costOf(builder));
    log.append(builder);
    log.sync(() => undefined);
    complete();
  }
}

/** What is stored is what the accounts leave. */
function assertBalanced(log: StreamLog): void {
  const { messages } = readAll(log, log.oldestSequence, log.nextSequence);
  let payloadBytes = 0;
  for (const message of messages.values()) payloadBytes += message.length;
  const appended = { messages: log.nextSequence, payloadBytes: log.nextPayloadOffset };
  assert.deepEqual(log.ledger.stored(appended), { messages: messages.size, payloadBytes });
}

function overwritten(): SimStorage {
  const storage = new SimStorage();
  storage.makeDirectory("/store");
  const log = StreamLog.create(logOptions(storage, { policy: overwriting }));
  fill(log, 150, () => storage.completeSyncs());
  log.close();
  return storage;
}

const LEDGER = `${STREAM_DIRECTORY}/ledger`;
const SLOT_BYTES = 8192;

describe("the ledger of a stream", () => {
  it("goes on after a start as it was", () => {
    const storage = overwritten();
    const { log, recovery } = StreamLog.open(logOptions(storage, { policy: overwriting, epoch: 2 }));
    const { accounts, drops, damage } = log.ledger.snapshot;
    assert.equal(recovery.hasLostLedger, false);
    const gone = { messages: log.oldestSequence, payloadBytes: log.oldestPayloadOffset };
    assert.ok(gone.messages > 100);
    assert.deepEqual(accounts.overwritten, gone);
    assert.deepEqual([drops.length, damage.length], [1, 0]);
    assertBalanced(log);
  });

  it("costs no message and no start when its file is damaged, gone or another stream's: it begins again", () => {
    const whole = overwritten();
    const before = StreamLog.open(logOptions(whole.copy(), { policy: overwriting, epoch: 2 })).log;
    const foreign = encodeLedger({ ...recordOf(64, 0), streamId: Buffer.alloc(16, 1) });
    const damages: ((storage: SimStorage) => void)[] = [
      (storage) => [0, 1].forEach((slot) => storage.flip(LEDGER, slot * SLOT_BYTES + 30)),
      (storage) => storage.put(LEDGER, Buffer.alloc(2 * SLOT_BYTES)),
      (storage) => storage.put(LEDGER, Buffer.from("shorter than a slot")),
      (storage) => storage.put(LEDGER, foreign),
      (storage) => storage.unlink(LEDGER),
    ];
    for (const [index, damage] of damages.entries()) {
      const storage = whole.copy();
      damage(storage);
      const { log, recovery } = StreamLog.open(logOptions(storage, { policy: overwriting, epoch: 2 }));
      assert.equal(recovery.hasLostLedger, index < 4, `damage ${index}`);
      assert.deepEqual([log.oldestSequence, log.nextSequence], [before.oldestSequence, before.nextSequence]);
      const { accounts, drops } = log.ledger.snapshot;
      assert.deepEqual(
        drops.map(({ reason }) => reason),
        [LossReason.Missing],
      );
      assert.equal(accounts.damaged.messages, log.oldestSequence);
      assertBalanced(log);
      // From here on it is on the medium again.
      fill(log, 60, () => storage.completeSyncs());
      log.close();
      const again = StreamLog.open(logOptions(storage, { policy: overwriting, epoch: 3 })).log;
      assert.equal(again.ledger.snapshot.accounts.damaged.messages, before.oldestSequence);
      assert.ok(again.ledger.snapshot.accounts.overwritten.messages > 50);
      assertBalanced(again);
    }
  });

  it("loses at most its newest change to one damaged slot, and then counts what it cannot explain as missing", () => {
    const whole = overwritten();
    for (const slot of [0, 1]) {
      const storage = whole.copy();
      storage.flip(LEDGER, slot * SLOT_BYTES + 30);
      const { log, recovery } = StreamLog.open(logOptions(storage, { policy: overwriting, epoch: 2 }));
      assert.equal(recovery.hasLostLedger, false);
      const { accounts } = log.ledger.snapshot;
      assert.equal(accounts.overwritten.messages + accounts.damaged.messages, log.oldestSequence);
      assert.ok(accounts.damaged.messages < 40, `${accounts.damaged.messages} messages unexplained`);
      assertBalanced(log);
    }
  });

  it("deletes nothing at a start for an account that no segment goes on from", () => {
    const storage = overwritten();
    const { log: before } = StreamLog.open(logOptions(storage.copy(), { policy: overwriting, epoch: 2 }));
    const ahead = recordOf(64, 0);
    const drop = {
      ...loss(0),
      fromSequence: 0,
      toSequence: 9000,
      fromPayloadOffset: 0,
      toPayloadOffset: 90_000,
    };
    const record = {
      ...ahead,
      snapshot: { ...ahead.snapshot, drops: [drop] },
      streamId: Buffer.from("5eed".repeat(8), "hex"),
    };
    const bytes = storage.read(LEDGER);
    // As if it had been written by a later state of the stream, of which these segments are an old copy.
    storage.unlink(LEDGER);
    const file = new SlotFile(storage, { path: LEDGER, contentBytesMax: LEDGER_BYTES_MAX });
    file.write(encodeLedger(record));
    file.close();
    assert.equal(storage.read(LEDGER).length, bytes.length);
    const { log, recovery } = StreamLog.open(logOptions(storage, { policy: overwriting, epoch: 2 }));
    assert.equal(recovery.hasLostLedger, true);
    assert.equal(log.oldestSequence, before.oldestSequence);
    assertBalanced(log);
  });

  it("of a stream in memory survives the worker", async () => {
    const kept = new KeptMemory();
    const { hooks } = kept;
    const policy = { ...overwriting, flushOnWrite: false, commitAlignBytes: 0 };
    let log = StreamLog.create(logOptions(new SharedMemoryStorage({ hooks }), { policy }));
    for (let worker = 2; worker < 5; worker++) {
      for (let block = 0; block < 100; block++) {
        fill(log, 1);
        // A sync of memory ends in a microtask.
        await Promise.resolve();
      }
      const before = log;
      const storage = new SharedMemoryStorage({ files: kept.files, hooks });
      log = StreamLog.open(logOptions(storage, { policy, epoch: worker })).log;
      assert.ok(log.oldestSequence > 0);
      assert.deepEqual(log.ledger.snapshot, before.ledger.snapshot);
      assertBalanced(log);
    }
  });
});
