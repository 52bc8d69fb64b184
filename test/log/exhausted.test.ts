import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { BlockBuilder } from "../../src/log/block-builder.ts";
import { LogReader } from "../../src/log/log-reader.ts";
import { producersPath } from "../../src/log/producers-file.ts";
import { isExhausted } from "../../src/log/read-refusals.ts";
import { neighbourIds } from "../../src/log/segment-neighbours.ts";
import type { Storage } from "../../src/log/storage.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { openStoreDirectory } from "../../src/stream/store-directory.ts";
import {
  addBatch,
  costOf,
  logOptions,
  readAll,
  smallPolicy,
  STREAM_DIRECTORY,
} from "../support/log-fixture.ts";
import { patchStorage } from "../support/patch-storage.ts";
import { SimStorage } from "../support/sim-storage.ts";
import { systemError } from "../support/system-error.ts";

const policy = {
  ...smallPolicy,
  maxSize: 9000,
  segmentSize: 3000,
  strategyOnFull: StrategyOnFull.OverwriteOldestData,
};
const PRODUCERS = producersPath(STREAM_DIRECTORY);

/** Calls that fail for want of descriptors or memory, by their number; nothing does where it is 0. */
class Scarcity {
  #count = 0;
  at = 0;
  /** All from `at` on. */
  isLasting = false;

  call<Result>(name: string, action: () => Result): Result {
    this.#count += 1;
    if (this.at > 0 && (this.isLasting ? this.#count >= this.at : this.#count === this.at))
      throw systemError(name === "read" ? "ENOMEM" : "EMFILE", name);
    return action();
  }

  get count(): number {
    return this.#count;
  }
  restart(at: number): void {
    this.#count = 0;
    this.at = at;
  }
}

function scarce(
  storage: SimStorage,
  scarcity: Scarcity,
  filter: (path: string) => boolean = () => true,
): Storage {
  const within = <Result>(path: string, name: string, action: () => Result): Result =>
    filter(path) ? scarcity.call(name, action) : action();
  const patched = patchStorage(
    storage,
    (file) => ({ read: (target, position) => within(file.path, "read", () => file.read(target, position)) }),
    {
      list: (directory) => within(directory, "list", () => storage.list(directory)),
      syncDirectory: (directory) => within(directory, "sync", () => storage.syncDirectory(directory)),
    },
  );
  return { ...patched, open: (path, mode) => within(path, "open", () => patched.open(path, mode)) };
}

function append(log: StreamLog, sequence: number): void {
  const builder = new BlockBuilder(4096);
  const text = Array.from({ length: 120 }, (_, at) => Math.imul(sequence + 31, at + 7919).toString(36)).join(
    "",
  );
  addBatch(builder, [text.slice(0, 700), "second"], { producer: { id: 7, sequence } });
  log.admit(costOf(builder));
  log.append(builder);
}

/** Complete segments, a growing one, an account of what was overwritten, producers. */
function storedStream(): SimStorage {
  const storage = new SimStorage();
  storage.makeDirectory("/store");
  const log = StreamLog.create(logOptions(storage, { policy }));
  for (let sequence = 0; sequence < 30; sequence++) append(log, sequence);
  log.close();
  return storage;
}

function contentsOf(log: StreamLog): unknown {
  const { oldestSequence, nextSequence } = log;
  const { messages, gaps } = readAll(log, oldestSequence, nextSequence);
  return { messages, gaps, ledger: log.ledger.snapshot, last: log.findBatch({ id: 7, sequence: 29 }, 2) };
}

describe("a log whose process is out of descriptors or memory", () => {
  it("opens with everything or not at all, whichever call fails", () => {
    const stored = storedStream();
    const scarcity = new Scarcity();
    const { log: whole, recovery: nothingFound } = StreamLog.open(
      logOptions(scarce(stored.copy(), scarcity), { policy, epoch: 2 }),
    );
    const wanted = contentsOf(whole);
    const callCount = scarcity.count;
    let refusedCount = 0;
    for (let at = 1; at <= callCount; at++) {
      const copy = stored.copy();
      scarcity.restart(at);
      try {
        const { log, recovery } = StreamLog.open(logOptions(scarce(copy, scarcity), { policy, epoch: 2 }));
        scarcity.at = 0;
        const report = { ...recovery, scannedBytes: nothingFound.scannedBytes };
        assert.deepEqual(report, nothingFound, `call ${at}`);
        assert.deepEqual(contentsOf(log), wanted, `call ${at}`);
      } catch (error) {
        if (error instanceof assert.AssertionError) throw error;
        refusedCount += 1;
        assert.equal(copy.openFiles, 0, `files that the start refused at call ${at} has left open`);
      }
      scarcity.at = 0;
      const { log } = StreamLog.open(logOptions(copy, { policy, epoch: 3 }));
      assert.deepEqual(contentsOf(log), wanted, `the start after call ${at}`);
    }
    assert.ok(refusedCount > 0, "nothing was refused");
  });

  it("says of no message that it is damaged, whichever call of a read fails", () => {
    const scarcity = new Scarcity();
    const read = { messageCountMax: 1, bytesMax: 100_000 };
    for (let at = 1; at <= 4; at++) {
      scarcity.restart(0);
      const { log } = StreamLog.open(logOptions(scarce(storedStream(), scarcity), { policy, epoch: 2 }));
      for (let sequence = log.oldestSequence; sequence < log.nextSequence; sequence++) {
        scarcity.restart(at);
        try {
          const [slice] = log.read({ fromSequence: sequence, ...read });
          assert.equal(slice?.kind, "messages", `message ${sequence}, call ${at}`);
        } catch (error) {
          assert.match(String(error), /Cannot read the stream now: E/);
        }
      }
    }
  });

  it("leaves no file open behind a reader of it, whichever call fails, and reads all afterwards", () => {
    const scarcity = new Scarcity();
    const storage = storedStream();
    const request = { fromSequence: 0, endSequence: 60, messageCountMax: 100, bytesMax: 100_000 };
    const read = (reader: LogReader) => reader.read(request).map(({ kind }) => kind);
    const readAllKinds = read(new LogReader({ storage, directory: STREAM_DIRECTORY }));
    const openBefore = storage.openFiles;
    let refusedCount = 0;
    let at = 1;
    for (let isOver = false; !isOver; at++) {
      const reader = new LogReader({ storage: scarce(storage, scarcity), directory: STREAM_DIRECTORY });
      scarcity.restart(at);
      try {
        read(reader);
        isOver = scarcity.count < at;
      } catch (error) {
        assert.ok(isExhausted(error), String(error));
        refusedCount += 1;
      }
      scarcity.at = 0;
      assert.deepEqual(read(reader), readAllKinds, `after call ${at}`);
      reader.close();
      assert.equal(storage.openFiles, openBefore, `call ${at} left a file open`);
    }
    assert.ok(refusedCount > 4, `${refusedCount} calls refused`);
  });

  it("keeps what it knows of producers, and the headers that say it, until it can be saved", () => {
    const storage = storedStream();
    const scarcity = new Scarcity();
    const lacking = scarce(storage, scarcity, (path) => path.startsWith(PRODUCERS));
    const { log } = StreamLog.open(logOptions(lacking, { policy, epoch: 2 }));
    scarcity.restart(1);
    scarcity.isLasting = true;
    assert.throws(() => {
      for (let sequence = 30; sequence < 60; sequence++) append(log, sequence);
    });
    assert.ok(storage.read(PRODUCERS).length > 0, "the file is gone");
    scarcity.at = 0;
    const { log: next } = StreamLog.open(logOptions(storage.copy(), { policy, epoch: 3 }));
    assert.equal(next.findBatch({ id: 7, sequence: 29 }, 2), 58);
  });

  it("does not leave the name of a stream to another one because its definition cannot be opened", () => {
    const storage = new SimStorage();
    storage.makeDirectory("/store");
    storage.makeDirectory("/store/streams");
    storage.makeDirectory(`/store/streams/${"ab".repeat(16)}`);
    const scarcity = new Scarcity();
    scarcity.restart(1);
    const lacking = scarce(storage, scarcity, (path) => path.endsWith("/definition"));
    assert.throws(() => openStoreDirectory({ storage: lacking, storeDirectory: "/store" }), {
      code: "EMFILE",
    });
  });

  it("does not check a segment without its neighbours", () => {
    const storage = storedStream();
    const [first] = storage
      .list(STREAM_DIRECTORY)
      .map(({ name }) => name)
      .filter((name) => name.endsWith(".lz4"))
      .sort();
    const scarcity = new Scarcity();
    for (const at of [1, 2, 3]) {
      scarcity.restart(at);
      assert.throws(
        () => neighbourIds(scarce(storage, scarcity), `${STREAM_DIRECTORY}/${first!}`),
        (error) => isExhausted(error),
      );
    }
  });
});
