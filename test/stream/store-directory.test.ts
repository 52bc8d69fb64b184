import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import test from "node:test";
import { fileStorage } from "../../src/log/file-storage.ts";
import { makeStoreRoot } from "../../src/stream/store-directory.ts";

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

function noProc(): string | false {
  return existsSync("/proc/self") ? false : "this machine has no /proc";
}
