import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { fileStorage } from "../../src/log/file-storage.ts";
import {
  assertStoreFormat,
  ensureStoreFormat,
  readStoreFormat,
  STORE_FORMAT,
} from "../../src/stream/store-format.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { crashStates, SimStorage } from "../support/sim-storage.ts";
import { SeededRandom } from "../support/deterministic.ts";

describe("store format", () => {
  it("is stated in a file that a person can read, once and for all", (t) => {
    const directory = temporaryDirectory(t);
    assert.equal(readStoreFormat(fileStorage, directory), "missing");
    ensureStoreFormat(fileStorage, directory, "9.8.7");
    assert.equal(readFileSync(path.join(directory, "format"), "utf8"), '{"format":1,"writtenBy":"9.8.7"}\n');
    assert.equal(statSync(path.join(directory, "format")).mode & 0o777, 0o600);
    ensureStoreFormat(fileStorage, directory, "9.9.0");
    assert.deepEqual(readStoreFormat(fileStorage, directory), { format: 1, writtenBy: "9.8.7" });
    assertStoreFormat(fileStorage, directory);
  });

  for (const text of [
    "",
    "{",
    "null",
    "[1]",
    '{"format":0}',
    '{"format":"1"}',
    '{"format":1.5}',
    "\0".repeat(9000),
  ]) {
    it(`that says nothing (${JSON.stringify(text.slice(0, 14))}) keeps nobody from starting, and is stated again`, (t) => {
      const directory = temporaryDirectory(t);
      writeFileSync(path.join(directory, "format"), text);
      assert.equal(readStoreFormat(fileStorage, directory), "damaged");
      assertStoreFormat(fileStorage, directory);
      ensureStoreFormat(fileStorage, directory, "1.0.0");
      assert.deepEqual(readStoreFormat(fileStorage, directory), { format: STORE_FORMAT, writtenBy: "1.0.0" });
    });
  }

  it("is there whole or not at all after a crash at any moment of its making", () => {
    const storage = new SimStorage();
    storage.makeDirectory("/store");
    storage.syncDirectory("/");
    ensureStoreFormat(storage, "/store", "1.0.0");
    const random = new SeededRandom(5);
    const crash = { randomSubsets: 3, garbleBytes: 4096, random: () => random.fraction() };
    let states = 0;
    for (let operation = 2; operation < storage.operations.length; operation++) {
      for (const state of crashStates(storage, operation, crash)) {
        const stated = readStoreFormat(state.storage, "/store");
        assert.notEqual(stated, "damaged", state.label);
        if (operation === storage.operations.length - 1) assert.notEqual(stated, "missing", state.label);
        ensureStoreFormat(state.storage, "/store", "1.0.1");
        states += 1;
      }
    }
    assert.ok(states > 20, `${states} states`);
  });

  it("of a later version is refused with both numbers, and nothing in the store is touched", async (t) => {
    const storeDirectory = temporaryDirectory(t);
    const store = path.join(storeDirectory, "store");
    mkdirSync(path.join(store, "streams"), { recursive: true, mode: 0o700 });
    writeFileSync(path.join(store, "format"), '{"format":2,"writtenBy":"3.0.0","more":[]}\n', {
      mode: 0o600,
    });
    const before = picture(store);
    const { code, stderr } = await EngineProcess.spawn(t, { storeDirectory }).finished();
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^millrace: Cannot use store ".*": it has format 2, written by Millrace 3\.0\.0, and this version knows formats up to 1; nothing in it was changed$/m,
    );
    assert.deepEqual(picture(store), before);
  });
});

/** Names, times and contents of everything in a directory. */
function picture(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .map((entry) => {
      const file = path.join(entry.parentPath, entry.name);
      const { mtimeMs, mode } = statSync(file);
      return `${file} ${mode} ${mtimeMs} ${entry.isFile() ? readFileSync(file, "hex") : ""}`;
    })
    .concat(`${statSync(directory).mtimeMs}`)
    .sort();
}
