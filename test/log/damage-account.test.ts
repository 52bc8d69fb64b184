import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { MillraceError } from "../../src/core/errors.ts";
import { LossReason } from "../../src/core/stream-ledger.ts";
import type { Storage } from "../../src/log/storage.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { SeededRandom } from "../support/deterministic.ts";
import { type DataBlock, dataBlocks, segmentPaths } from "../support/log-blocks.ts";
import { logOptions, readAll } from "../support/log-fixture.ts";
import { patchStorage } from "../support/patch-storage.ts";
import { SimStorage } from "../support/sim-storage.ts";
import { systemError } from "../support/system-error.ts";
import { append, baseOf, message } from "./several-segments.ts";

/** Several complete segments and one that grows, all of it durable, written through `files`. */
function makeLog(storage: SimStorage, files: Storage = storage): StreamLog {
  storage.makeDirectory("/store");
  const log = StreamLog.create(logOptions(files));
  append(log, storage, 20);
  return log;
}

/** A storage that cannot open one file, as long as `path` is its name. */
class FailingOpens {
  readonly storage: Storage;
  path: string | undefined;
  code = "EIO";

  constructor(storage: SimStorage) {
    this.storage = patchStorage(storage, () => ({}), {
      open: (path, mode) => {
        if (path === this.path) throw systemError(this.code, `open '${path}'`);
        return storage.open(path, mode);
      },
    });
  }
}

function allBlocks(storage: SimStorage): DataBlock[] {
  return segmentPaths(storage).flatMap((file) => dataBlocks(storage, file));
}

/** Reads everything. What the accounts leave is what was read, in messages and bytes. @returns the messages that are gone */
function assertBalanced(log: StreamLog, chunk?: { messageCountMax: number; bytesMax: number }): Set<number> {
  const { messages } = readAll(log, log.oldestSequence, log.nextSequence, chunk);
  let payloadBytes = 0;
  for (const [sequence, text] of messages) {
    assert.equal(text, message(sequence));
    payloadBytes += text.length;
  }
  const appended = { messages: log.nextSequence, payloadBytes: log.nextPayloadOffset };
  assert.deepEqual(log.ledger.stored(appended), { messages: messages.size, payloadBytes });
  const gone = new Set<number>();
  for (let at = log.oldestSequence; at < log.nextSequence; at++) if (!messages.has(at)) gone.add(at);
  return gone;
}

describe("the account of damage that is met while reading", () => {
  it("holds exactly the damaged messages, whatever blocks are hit and in whatever portions they are read", () => {
    const random = new SeededRandom(5);
    for (let round = 0; round < 60; round++) {
      const storage = new SimStorage();
      const log = makeLog(storage);
      const blocks = allBlocks(storage);
      const hit = new Set(
        Array.from({ length: random.between(1, 6) }, () => random.between(0, blocks.length - 1)),
      );
      const wanted = new Set<number>();
      for (const index of hit) {
        const { file, position, headerBytes, fromSequence, toSequence } = blocks[index]!;
        // In the header, or in the body.
        storage.flip(file, position + (random.fraction() < 0.5 ? random.between(12, 60) : headerBytes + 9));
        for (let at = fromSequence; at < toSequence; at++) wanted.add(at);
      }
      const chunk = { messageCountMax: random.between(1, 9), bytesMax: random.between(100, 5000) };
      assert.deepEqual([...assertBalanced(log, chunk)].sort(), [...wanted].sort());
      assert.equal(log.ledger.snapshot.accounts.damaged.messages, wanted.size);
      // Told once, and not again when it is read again.
      assert.ok(log.ledger.takeChanges().length > 0);
      assertBalanced(log, chunk);
      assert.deepEqual(log.ledger.takeChanges(), []);
      log.tick();
      // Nor at the next start, nor by it.
      log.close();
      const again = StreamLog.open(logOptions(storage, { epoch: 2 })).log;
      assert.equal(again.ledger.snapshot.accounts.damaged.messages, wanted.size);
      assertBalanced(again);
      assert.deepEqual(again.ledger.snapshot, log.ledger.snapshot);
    }
  });

  it("is taken back when the device gives the messages after all", () => {
    const storage = new SimStorage();
    const failing = new FailingOpens(storage);
    const log = makeLog(storage, failing.storage);
    const second = segmentPaths(storage)[1]!;
    const begin = baseOf(second);
    const end = baseOf(segmentPaths(storage)[2]!);
    failing.code = "EIO";
    failing.path = second;
    const gone = assertBalanced(log);
    assert.deepEqual(
      [...gone],
      Array.from({ length: end - begin }, (_, at) => begin + at),
    );
    assert.deepEqual(
      log.ledger.snapshot.damage.map(({ reason, fromSequence }) => [reason, fromSequence]),
      [[LossReason.Corrupt, begin]],
    );
    failing.path = undefined;
    assert.equal(assertBalanced(log).size, 0);
    assert.deepEqual(log.ledger.snapshot.damage, []);
    assert.equal(log.ledger.snapshot.accounts.damaged.messages, 0);
  });

  it("says MISSING of a segment whose file is gone", () => {
    const storage = new SimStorage();
    const log = makeLog(storage);
    storage.unlink(segmentPaths(storage)[1]!);
    assert.ok(assertBalanced(log).size > 0);
    assert.deepEqual(
      log.ledger.snapshot.damage.map(({ reason }) => reason),
      [LossReason.Missing],
    );
  });

  it("is not touched when this process can open no more files: the read is refused and works later", () => {
    const storage = new SimStorage();
    const failing = new FailingOpens(storage);
    const log = makeLog(storage, failing.storage);
    failing.code = "EMFILE";
    failing.path = segmentPaths(storage)[0]!;
    const isBusy = (error: unknown): boolean =>
      error instanceof MillraceError && error.code === "SERVER_BUSY";
    assert.throws(() => readAll(log, 0, log.nextSequence), isBusy);
    assert.deepEqual(log.ledger.snapshot.damage, []);
    failing.path = undefined;
    assert.equal(assertBalanced(log).size, 0);
  });
});
