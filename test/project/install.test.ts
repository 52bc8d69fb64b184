import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { bindingsPath } from "../../src/native/native-bindings.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { skipOrFail } from "../support/require-program.ts";

// Compiled to dist/test/project/.
const root = path.join(import.meta.dirname, "..", "..", "..");

const NO_NETWORK = /\b(ENOTFOUND|EAI_AGAIN|ENETUNREACH|ECONNREFUSED|ETIMEDOUT|ENOTCACHED)\b/;

/** The commands' failure carries npm's own output. Scripts stay off: `prepare` would clear dist/ under the running tests. */
function npm(directory: string, ...args: string[]): void {
  execFileSync("npm", [...args, "--ignore-scripts", "--no-audit", "--no-fund"], {
    cwd: directory,
    stdio: "pipe",
  });
}

describe("the installed package", () => {
  it("serves, appends and reads without the development dependencies", async (t) => {
    const directory = temporaryDirectory(t);
    npm(root, "pack", "--pack-destination", directory);
    const [tarball] = readdirSync(directory).filter((name) => name.endsWith(".tgz"));
    assert.ok(tarball !== undefined);
    writeFileSync(path.join(directory, "package.json"), "{}\n");
    try {
      npm(directory, "install", "--omit=dev", "--prefer-offline", "--fetch-retries=0", tarball);
    } catch (error) {
      if (!NO_NETWORK.test(String(error))) throw error;
      skipOrFail(t, "the package registry cannot be reached; needed to install the dependencies");
      return;
    }

    const program = path.join(directory, "node_modules", ".bin", "millrace");
    const engine = await EngineProcess.start(t, { program });
    assert.equal((await engine.run(["streams", "create", "raw"])).code, 0);
    assert.match((await engine.run(["append", "raw"], "a\nb\n")).stdout, /^appended 2 messages/);
    assert.equal((await engine.run(["read", "raw"])).stdout, "a\nb\n");
    const measured = await engine.run(["bench", "--seconds", "0.05", "--case", "awaited", "--json"]);
    assert.equal(measured.code, 0, measured.stderr);
    assert.match(measured.stdout, /^\{"name":"append one message awaited",.+\}\n$/);
    // With the native addon, where it was built before the package was.
    const metrics = await engine.metrics();
    const isBuilt = existsSync(bindingsPath());
    assert.match(metrics, new RegExp(`^millrace_native_bindings ${isBuilt ? 1 : 0}$`, "m"));
    assert.equal((await engine.stop()).code, 0);
  });
});
