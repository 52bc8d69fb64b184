import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { publint } from "publint";
import { formatMessage } from "publint/utils";

// Compiled to dist/test/project/.
const root = path.join(import.meta.dirname, "..", "..", "..");

interface PackedPackage {
  readonly files: readonly { readonly path: string }[];
}

/** What `npm pack` would put into the package. Scripts stay off: `prepare` would clear dist/ under the running tests. */
function packedFiles(): PackedPackage {
  const args = ["pack", "--dry-run", "--json", "--ignore-scripts"];
  const output = execFileSync("npm", args, {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const [packed] = JSON.parse(output) as PackedPackage[];
  assert.ok(packed);
  return packed;
}

describe("the package", () => {
  it("has nothing that publint finds fault with", async () => {
    const manifest = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as Record<
      string,
      unknown
    >;
    const { messages } = await publint({ pkgDir: root, level: "suggestion", strict: true, pack: false });
    assert.deepEqual(
      messages.map((message) => formatMessage(message, manifest)),
      [],
    );
  });

  it("holds what is compiled from src and bench, the native addon, the papers, and nothing else", () => {
    const { files } = packedFiles();
    const paths = files.map((file) => file.path);
    for (const needed of ["package.json", "README.md", "CHANGELOG.md", "LICENSE"]) {
      assert.ok(paths.includes(needed), `${needed} is missing`);
    }
    const known =
      /^(package\.json|README\.md|CHANGELOG\.md|LICENSE|dist\/(src|bench)\/.+|native-bindings\/.+\.(c|h|node)|tools\/build-native\.mjs)$/;
    const others = paths.filter((file) => !known.test(file));
    assert.deepEqual(others, []);
    assert.ok(paths.includes("dist/src/core/errors.js"));
    assert.ok(paths.includes("dist/bench/live/live-bench.js"));
    // As it was built here, and what builds it on another machine.
    assert.ok(paths.includes("native-bindings/module.c"));
    assert.ok(paths.includes("tools/build-native.mjs"));
    const built = `native-bindings/build/${process.platform}-${process.arch}.node`;
    assert.equal(paths.includes(built), existsSync(path.join(root, built)));
    assert.ok(paths.includes("dist/src/core/errors.d.ts"));
  });
});
