import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { fileStorage } from "../../src/log/file-storage.ts";

const NOBODY = 65_534;
const isRoot = process.geteuid?.() === 0;

function temporary(t: TestContext): string {
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-storage-"));
  t.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

/** What somebody may have put where a segment was. */
const planted: readonly [string, (file: string, elsewhere: string) => void][] = [
  ["a symbolic link", (file, elsewhere) => symlinkSync(elsewhere, file)],
  ["a second name of a file", (file, elsewhere) => linkSync(elsewhere, file)],
  ["a pipe", (file) => void execFileSync("mkfifo", ["-m", "600", file])],
  [
    "a directory",
    (file) => {
      mkdirSync(file);
    },
  ],
];

describe("fileStorage", () => {
  for (const [what, plant] of planted) {
    it(`does not open ${what}, in no mode, and at once`, (t) => {
      const directory = temporary(t);
      const elsewhere = path.join(directory, "elsewhere");
      const file = path.join(directory, "segment");
      writeFileSync(elsewhere, "not a segment", { mode: 0o600 });
      plant(file, elsewhere);
      for (const mode of ["read", "append", "create"] as const) {
        assert.throws(() => fileStorage.open(file, mode), /ELOOP|EEXIST|EISDIR/, mode);
      }
      assert.equal(readFileSync(elsewhere, "utf8"), "not a segment");
    });
  }

  it("does not open a device", () => {
    for (const mode of ["read", "append"] as const) {
      assert.throws(() => fileStorage.open("/dev/zero", mode), { code: "ELOOP" });
    }
  });

  it(
    "does not open a file of another user, but for root in that user's store",
    { skip: isRoot ? false : "only root can give a file away" },
    (t) => {
      const directory = temporary(t);
      const file = path.join(directory, "segment");
      writeFileSync(file, "", { mode: 0o600 });
      fileStorage.open(file, "read").close();
      chownSync(file, NOBODY, NOBODY);
      for (const mode of ["read", "append"] as const) {
        assert.throws(() => fileStorage.open(file, mode), /ELOOP: a file of another user/);
      }
      chownSync(directory, NOBODY, NOBODY);
      fileStorage.open(file, "read").close();
    },
  );

  it("makes files 0600 and directories 0700, whatever the mask would let through", (t) => {
    const directory = temporary(t);
    const before = process.umask(0);
    t.after(() => process.umask(before));
    fileStorage.makeDirectory(path.join(directory, "stream"));
    fileStorage.open(path.join(directory, "stream", "segment"), "create").close();
    assert.equal(statSync(path.join(directory, "stream")).mode & 0o777, 0o700);
    assert.equal(statSync(path.join(directory, "stream", "segment")).mode & 0o777, 0o600);
  });

  it("syncs no directory by way of a link", (t) => {
    const directory = temporary(t);
    chmodSync(directory, 0o700);
    symlinkSync(directory, path.join(directory, "link"));
    assert.throws(() => fileStorage.syncDirectory(path.join(directory, "link")), /ELOOP|ENOTDIR/);
  });
});
