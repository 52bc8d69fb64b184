import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { readDurableFile, writeDurableFile } from "../../src/log/durable-file.ts";
import { LogReader } from "../../src/log/log-reader.ts";
import { SharedMemoryStorage } from "../../src/log/shared-memory-storage.ts";
import type { Storage } from "../../src/log/storage.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { KeptMemory } from "../support/kept-memory.ts";
import {
  blockOf,
  logOptions,
  newStorage,
  readAll,
  smallPolicy,
  STREAM_DIRECTORY,
} from "../support/log-fixture.ts";
import { patchStorage } from "../support/patch-storage.ts";
import { crashStates } from "../support/sim-storage.ts";
import { systemError } from "../support/system-error.ts";

const crash = { random: () => 0.5, randomSubsets: 2, garbleBytes: 4096 };

describe("writeDurableFile", () => {
  it("leaves the old content or the new one after a crash anywhere, and the new one once it has returned", () => {
    const storage = newStorage();
    writeDurableFile(storage, "/store/file", Buffer.from("old"));
    const before = storage.operations.length;
    writeDurableFile(storage, "/store/file", Buffer.from("new"));
    const last = storage.operations.length - 1;
    for (let operation = before; operation <= last; operation++) {
      for (const state of crashStates(storage, operation, crash)) {
        const found = readDurableFile(state.storage, "/store/file").toString();
        const allowed = operation === last ? ["new"] : ["old", "new"];
        assert.ok(allowed.includes(found), `operation ${operation}, ${state.label}: ${found}`);
      }
    }
  });

  it("leaves nothing but the old content where it fails", () => {
    for (const failing of ["write", "sync", "rename"]) {
      const storage = newStorage();
      writeDurableFile(storage, "/store/file", Buffer.from("old"));
      const fail = (): never => {
        throw systemError("EIO", failing);
      };
      const patched = patchStorage(
        storage,
        () => ({ ...(failing === "write" && { write: fail }), ...(failing === "sync" && { syncNow: fail }) }),
        failing === "rename" ? { rename: fail } : {},
      );
      assert.throws(() => writeDurableFile(patched, "/store/file", Buffer.from("new")), { code: "EIO" });
      assert.deepEqual(
        storage.list("/store").map(({ name }) => name),
        ["file"],
        failing,
      );
      assert.equal(readDurableFile(storage, "/store/file").toString(), "old");
      assert.equal(storage.openFiles, 0);
    }
  });

  it("is told from damage in any bit", () => {
    const storage = newStorage();
    writeDurableFile(storage, "/store/file", Buffer.from("content"));
    for (let bit = 0; bit < storage.read("/store/file").length * 8; bit++) {
      const copy = storage.copy();
      copy.flip("/store/file", bit >> 3, 1 << (bit & 7));
      assert.equal(readDurableFile(copy, "/store/file"), "damaged");
    }
    assert.equal(readDurableFile(storage, "/store/other"), "missing");
  });
});

describe("SharedMemoryStorage", () => {
  it("keeps a log that another thread reads from its chunks, and that a new worker reopens", () => {
    const kept = new KeptMemory();
    const storage = new SharedMemoryStorage({ hooks: kept.hooks });
    const policy = { ...smallPolicy, segmentSize: 100_000, flushOnWrite: false };
    const log = StreamLog.create(logOptions(storage, { policy }));
    const wanted = Array.from({ length: 200 }, (_, at) => `message ${at} ${"z".repeat(at * 7)}`);
    for (const message of wanted) {
      log.append(blockOf([message]));
    }
    const elsewhere = new SharedMemoryStorage({ files: kept.files });
    const reader = new LogReader({ storage: elsewhere, directory: STREAM_DIRECTORY });
    assert.deepEqual([...readAll(reader, 0, 200).messages.values()], wanted);
    const { log: reopened } = StreamLog.open(logOptions(elsewhere, { epoch: 2 }));
    assert.deepEqual([...readAll(reopened, 0, 200).messages.values()], wanted);
  });
});

describe("LogReader", () => {
  it("takes the lack of descriptors for no gap, and reads on when there are some", () => {
    const storage = newStorage();
    const log = StreamLog.create(logOptions(storage));
    log.append(blockOf(["a", "b"]));
    log.sync(() => undefined);
    storage.completeSyncs();
    let isExhausted = true;
    const scarce: Pick<Storage, "open" | "list"> = {
      list: (directory) => storage.list(directory),
      open: (filePath, mode) => {
        if (isExhausted) throw Object.assign(new Error("EMFILE: too many open files"), { code: "EMFILE" });
        return storage.open(filePath, mode);
      },
    };
    const reader = new LogReader({ storage: scarce as Storage, directory: STREAM_DIRECTORY });
    const request = { fromSequence: 0, endSequence: 2, messageCountMax: 10, bytesMax: 1000 };
    assert.throws(() => reader.read(request), { code: "EMFILE" });
    isExhausted = false;
    assert.deepEqual(
      reader.read(request).map((slice) => slice.kind),
      ["messages"],
    );
  });
});
