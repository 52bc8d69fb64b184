import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import test from "node:test";
import { streamOptionsDefault } from "../../src/core/stream-options.ts";
import { writeDurableFile } from "../../src/log/durable-file.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import { definitionPath, encodeDefinition } from "../../src/stream/definition-file.ts";
import { makeStoreRoot, openStoreDirectory } from "../../src/stream/store-directory.ts";
import { crashStates, SimStorage } from "../support/sim-storage.ts";
import { AgentFixture, directoryOf, streamDefinition } from "./agent-fixture.ts";

test("makeStoreRoot makes every directory that is missing, for this user alone", (t) => {
  const root = mkdtempSync(path.join(tmpdir(), "millrace-root-"));
  t.after(() => rmSync(root, { recursive: true }));
  makeStoreRoot(fileStorage, path.join(root, "a", "b", "store"));
  for (const directory of ["a", "a/b", "a/b/store"]) {
    assert.equal(statSync(path.join(root, directory)).mode & 0o777, 0o700);
  }
});

test(
  "makeStoreRoot gives up with the system's reason where no directory can be made",
  { skip: noProc() },
  () => {
    assert.throws(() => makeStoreRoot(fileStorage, "/proc/nope/store"), { code: "ENOENT" });
  },
);

for (const [what, plant] of [
  ["a link", (file: string, elsewhere: string) => symlinkSync(elsewhere, file)],
  ["a file", (file: string) => writeFileSync(file, "")],
] as const) {
  test(`openStoreDirectory opens no store whose folder of streams is ${what}`, (t) => {
    const root = mkdtempSync(path.join(tmpdir(), "millrace-root-"));
    t.after(() => rmSync(root, { recursive: true }));
    const storeDirectory = path.join(root, "store");
    const elsewhere = path.join(root, "elsewhere");
    mkdirSync(elsewhere);
    makeStoreRoot(fileStorage, storeDirectory);
    plant(path.join(storeDirectory, "streams"), elsewhere);
    assert.throws(() => openStoreDirectory({ storage: fileStorage, storeDirectory }), {
      code: "STORE_UNUSABLE",
      message: /streams: it is not a directory of the store$/,
    });
    assert.deepEqual(readdirSync(elsewhere), []);
  });
}

test("a start makes the names of all streams durable at once, before anything is written to one of them", () => {
  const storage = new SimStorage();
  storage.makeDirectory("/store");
  storage.syncDirectory("/");
  openStoreDirectory({ storage, storeDirectory: "/store" });
  const directories = Array.from({ length: 20 }, (_, slot) => directoryOf(slot));
  for (const [slot, directory] of directories.entries()) {
    // As a process leaves it that is killed before the medium has the name.
    storage.makeDirectory(directory);
    const definition = streamDefinition({ name: `stream ${slot}` });
    const bytes = encodeDefinition({ definition, options: streamOptionsDefault }, directory);
    writeDurableFile(storage, definitionPath(directory), bytes);
  }
  const crash = { random: () => 0.5, randomSubsets: 2, garbleBytes: 0 };
  const { streams } = openStoreDirectory({ storage, storeDirectory: "/store" });
  assert.equal(streams.length, directories.length);
  for (const state of crashStates(storage, storage.operations.length - 1, crash)) {
    const found = state.storage.list("/store/streams").map(({ name }) => `/store/streams/${name}`);
    assert.deepEqual(found.sort(), directories);
  }
  const syncs = storage.count("syncDirectory");
  const fixture = new AgentFixture({ storage, epoch: 2 });
  for (const [slot] of directories.entries())
    assert.equal(fixture.open(slot, { name: `stream ${slot}` }, { create: false }).kind, "done");
  assert.equal(storage.count("syncDirectory"), syncs, "idle streams cost no sync");
});

function noProc(): string | false {
  return existsSync("/proc/self") ? false : "this machine has no /proc";
}
