import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { it } from "node:test";
import { commitOfBuild, writeBuildRecord } from "../../bench/build-record.ts";

it("commitOfBuild tells of a dist that is not of the sources that lie there", (t) => {
  const root = mkdtempSync(path.join(tmpdir(), "millrace-build-"));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  for (const directory of ["src", "bench", "dist"]) mkdirSync(path.join(root, directory));
  const source = path.join(root, "src", "a.ts");
  writeFileSync(source, "1");
  assert.equal(commitOfBuild(root, "abc"), "abc, dist not known to be of it");
  writeBuildRecord(root, "abc");
  assert.equal(commitOfBuild(root, "abc"), "abc");
  writeFileSync(source, "2");
  assert.equal(commitOfBuild(root, "def+"), "def+, dist built from other sources: abc");
  writeFileSync(source, "1");
  writeFileSync(path.join(root, "bench", "b.ts"), "");
  assert.equal(commitOfBuild(root, "def"), "def, dist built from other sources: abc");
});
