import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { temporaryDirectory } from "../support/engine-process.ts";
import { buildNative, builtAddon } from "../support/native-addon.ts";

const own = `linux-${process.arch}.node`;
const isLinux = process.platform === "linux";

/** A directory for PATH with a compiler that is a shell script; `$out` is the file that it is to make. */
function fakeCompiler(t: TestContext, name: string, script: string): string {
  const directory = temporaryDirectory(t);
  const skipToOutput = 'while [ "$1" != -o ]; do shift; done\nout=$2\n';
  writeFileSync(path.join(directory, name), `#!/bin/sh\n${skipToOutput}${script}\n`, { mode: 0o755 });
  return directory;
}

/** The one line of a build that made nothing, which is never a failure. */
function complaint(output: string, env: Readonly<Record<string, string>>): string {
  const { code, stdout, stderr } = buildNative(output, env);
  assert.deepEqual([code, stdout], [0, ""]);
  assert.match(stderr, /^native bindings: [^\n]+\n$/);
  assert.deepEqual(
    readdirSync(output).filter((file) => file.includes("tmp")),
    [],
  );
  return stderr;
}

describe("tools/build-native.mjs", { skip: isLinux ? false : "the native addon is for Linux" }, () => {
  it("builds without a warning of the compiler", (t) => {
    const file = builtAddon(t);
    assert.ok(file === undefined || existsSync(file));
  });

  it("says so in one line where there is no compiler", (t) => {
    const output = temporaryDirectory(t);
    const text = complaint(output, { PATH: temporaryDirectory(t) });
    assert.match(text, /not built: there is no C compiler \(cc, gcc, clang\), and none is needed/);
    assert.match(
      complaint(output, { PATH: "", CC: "/no/such/compiler -O1" }),
      /\(\/no\/such\/compiler -O1\)/,
    );
    assert.deepEqual(readdirSync(output), []);
  });

  it("warns of a compiler that fails, and leaves what was built before", (t) => {
    const output = temporaryDirectory(t);
    writeFileSync(path.join(output, own), "built before");
    const broken = fakeCompiler(
      t,
      "cc",
      'echo half > "$out"; echo "no stdint.h" >&2; echo "second line" >&2; exit 1',
    );
    const text = complaint(output, { PATH: broken });
    assert.match(text, /warning: .* Millrace works without it: cc: no stdint\.h second line\n$/);
    assert.equal(readFileSync(path.join(output, own), "utf8"), "built before");
    assert.match(complaint(output, { PATH: fakeCompiler(t, "cc", "kill -9 $$") }), /it ended with SIGKILL/);
    assert.match(complaint(output, { PATH: fakeCompiler(t, "cc", "exit 0") }), /it made no file/);
  });

  it("puts nothing in place that this Node.js cannot load", (t) => {
    const output = temporaryDirectory(t);
    const text = complaint(output, { PATH: fakeCompiler(t, "gcc", 'echo "no addon" > "$out"') });
    assert.match(text, /gcc: what it made cannot be loaded: /);
    assert.deepEqual(readdirSync(output), []);
  });

  it("warns when it cannot write", (t) => {
    const file = path.join(temporaryDirectory(t), "file");
    writeFileSync(file, "");
    const { code, stderr } = buildNative(path.join(file, "build"), { PATH: process.env["PATH"] ?? "" });
    assert.equal(code, 0);
    assert.match(stderr, /^native bindings: not built: [^\n]*ENOTDIR[^\n]*\n$/);
  });

  it("also builds for other processors whose compilers are there, beside its own", (t) => {
    const output = temporaryDirectory(t);
    const other = process.arch === "arm64" ? "x64" : "arm64";
    const compiler = other === "x64" ? "x86_64-linux-gnu-gcc" : "aarch64-linux-gnu-gcc";
    const directory = fakeCompiler(t, compiler, 'echo "for another" > "$out"');
    const { code, stderr } = buildNative(output, { PATH: directory });
    assert.equal(code, 0);
    assert.match(stderr, /not built: there is no C compiler/);
    assert.ok(stderr.includes(`built ${path.join(output, `linux-${other}.node`)} with ${compiler}\n`));
    assert.deepEqual(readdirSync(output), [`linux-${other}.node`]);
  });
});
