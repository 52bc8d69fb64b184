import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { countStart, noteCleanEnd } from "../../src/stream/store-epoch.ts";
import { patchStorage } from "../support/patch-storage.ts";
import { systemError } from "../support/system-error.ts";
import { crashStates, SimStorage } from "../support/sim-storage.ts";

function newStore(): SimStorage {
  const storage = new SimStorage();
  storage.makeDirectory("/store");
  storage.syncDirectory("/");
  return storage;
}

describe("the count of a store's starts", () => {
  it("goes up by one, and says of each start whether the one before it ended cleanly", () => {
    const storage = newStore();
    assert.deepEqual(countStart(storage, "/store"), { epoch: 1, endedCleanly: true });
    assert.deepEqual(countStart(storage, "/store"), { epoch: 2, endedCleanly: false });
    noteCleanEnd(storage, "/store", 2);
    assert.deepEqual(countStart(storage, "/store"), { epoch: 3, endedCleanly: true });
    assert.deepEqual(countStart(storage, "/store"), { epoch: 4, endedCleanly: false });
  });

  it("never comes back to a number that was used, also when its file is damaged", () => {
    const storage = newStore();
    countStart(storage, "/store");
    for (let at = 0; at < storage.read("/store/epoch").length; at++) {
      const copy = storage.copy();
      copy.flip("/store/epoch", at);
      assert.deepEqual(countStart(copy, "/store"), { epoch: 2 ** 31, endedCleanly: false });
      assert.equal(countStart(copy, "/store").epoch, 2 ** 31 + 1);
    }
  });

  it("never comes back to a number that was used when its file is gone from a store with streams", () => {
    const storage = newStore();
    storage.makeDirectory("/store/streams");
    assert.deepEqual(countStart(storage, "/store"), { epoch: 1, endedCleanly: true });
    storage.makeDirectory("/store/streams/one");
    storage.unlink("/store/epoch");
    assert.deepEqual(countStart(storage, "/store"), { epoch: 2 ** 31, endedCleanly: false });
    assert.deepEqual(countStart(storage, "/store"), { epoch: 2 ** 31 + 1, endedCleanly: false });
  });

  it("says nothing of a clean end that was not reached, wherever a crash comes", () => {
    const storage = newStore();
    countStart(storage, "/store");
    noteCleanEnd(storage, "/store", 1);
    const ended = storage.operations.length;
    countStart(storage, "/store");
    const crash = { random: () => 0.5, randomSubsets: 2, garbleBytes: 0 };
    const last = storage.operations.length - 1;
    // Once the second start has counted itself, its own end is not clean, whatever the medium made of the first.
    for (const state of crashStates(storage, last, crash)) {
      assert.deepEqual(countStart(state.storage, "/store"), { epoch: 3, endedCleanly: false });
    }
    for (const state of crashStates(storage, ended - 1, crash)) {
      assert.deepEqual(countStart(state.storage, "/store"), { epoch: 2, endedCleanly: true });
    }
  });

  it("is written over the old one where the medium has no room for another file", () => {
    const storage = newStore();
    countStart(storage, "/store");
    const full = patchStorage(storage, (file) => ({
      write: (buffers, position) => {
        if (position + Buffer.concat(buffers).length > file.sizeBytes()) throw systemError("ENOSPC", "write");
        return file.write(buffers, position);
      },
    }));
    assert.deepEqual(countStart(full, "/store"), { epoch: 2, endedCleanly: false });
    noteCleanEnd(full, "/store", 2);
    const crash = { random: () => 0.5, randomSubsets: 2, garbleBytes: 0 };
    for (const state of crashStates(storage, storage.operations.length - 1, crash))
      assert.deepEqual(countStart(state.storage, "/store"), { epoch: 3, endedCleanly: true });
    assert.deepEqual(
      storage.list("/store").map(({ name }) => name),
      ["epoch"],
    );
    assert.deepEqual(countStart(storage, "/store"), { epoch: 3, endedCleanly: true });
  });
});
