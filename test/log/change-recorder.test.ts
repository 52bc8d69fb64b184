import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { ChangeRecorder } from "../../src/log/change-recorder.ts";
import { writeDurableFile } from "../../src/log/durable-file.ts";
import { SimStorage } from "../support/sim-storage.ts";

describe("ChangeRecorder", () => {
  it("passes calls on and keeps what changes something, in order", () => {
    const base = new SimStorage();
    const storage = new ChangeRecorder(base);
    storage.makeDirectory("/store");
    writeDurableFile(storage, "/store/file", Buffer.from("content"));
    const file = storage.open("/store/file", "append");
    file.write([Buffer.from("ab")], 0);
    file.write([Buffer.from("c")], 2);
    file.truncate(file.sizeBytes());
    file.truncate(1);
    file.syncNow();
    file.close();
    storage.list("/store");
    storage.unlink("/store/file");
    storage.removeDirectory("/store");
    assert.deepEqual(storage.changes, [
      { kind: "made directory", path: "/store" },
      { kind: "created", path: "/store/file.tmp" },
      { kind: "written", path: "/store/file.tmp", position: 0, sizeBytes: 23 },
      { kind: "renamed", path: "/store/file.tmp", target: "/store/file" },
      { kind: "written", path: "/store/file", position: 0, sizeBytes: 3 },
      { kind: "cut", path: "/store/file", fromBytes: 23, toBytes: 1 },
      { kind: "removed", path: "/store/file" },
      { kind: "removed directory", path: "/store" },
    ]);
    assert.ok(base.operations.length > 10);
  });

  it("keeps nothing of what failed", () => {
    const storage = new ChangeRecorder(new SimStorage());
    assert.throws(() => storage.unlink("/gone"), { code: "ENOENT" });
    assert.throws(() => storage.open("/gone", "append"), { code: "ENOENT" });
    assert.deepEqual(storage.changes, []);
  });
});
