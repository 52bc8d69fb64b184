import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { Program } from "../support/program.ts";
import { requireProgram, skipOrFail } from "../support/require-program.ts";
import { byLength } from "../support/test-length.ts";

// Compiled to dist/test/python/; the Python tests stay where they are.
const directory = path.join(import.meta.dirname, "..", "..", "..", "test", "python");
/** `MILLRACE_TEST_PYTHON=/path/to/python3.9` runs them under another version. */
const python = process.env["MILLRACE_TEST_PYTHON"] ?? "python3";
const OUTPUT_LINES = 80;
const NUMBERING_ROUNDS = byLength({ everyday: "6", long: "20" });

function requirePython(t: TestContext): boolean {
  if (!requireProgram(t, python, "test the Python client")) return false;
  const isFit = "import sys; sys.exit(sys.version_info < (3, 9))";
  const { status } = spawnSync(python, ["-c", isFit]);
  return status === 0 || skipOrFail(t, `${python} is older than Python 3.9`);
}

describe("the Python client", { timeout: 600_000 }, () => {
  const modules = readdirSync(directory).filter((name) => /^test_.*\.py$/.test(name));

  for (const name of modules) {
    it(`passes ${name}`, async (t) => {
      if (!requirePython(t)) return;
      // In this directory the modules find each other.
      // From 3.12 on Python warns of every fork beside a thread; that it goes well is tested here.
      const warnings = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"];
      const args = [...warnings, "-B", "-m", "unittest", "-v", name.replace(/\.py$/, "")];
      const env = { NUMBERING_ROUNDS, ...process.env, MILLRACE_TEST_NODE: process.execPath };
      const program = new Program(t, args, { nodePath: python, env, directory });
      const { code, stdout, stderr } = await program.finished();
      assert.equal(code, 0, `${stdout}${stderr}`.split("\n").slice(-OUTPUT_LINES).join("\n"));
      assert.doesNotMatch(stderr, /ResourceWarning/);
      for (const line of stdout.split("\n")) if (line !== "") t.diagnostic(line);
      const skipped = [...stderr.matchAll(/^(test_\S+).* skipped '(.*)'$/gm)];
      for (const [, test, reason] of skipped) t.diagnostic(`${test} skipped: ${reason}`);
    });
  }

  it("has tests", () => {
    assert.ok(modules.length >= 4);
  });
});
