import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { describe, it } from "node:test";
import { EngineProcess } from "../support/engine-process.ts";
import { requireProgramPath } from "../support/require-program.ts";

describe("other versions of Node.js", () => {
  for (const version of [22, 24]) {
    it(`run engine and commands under Node.js ${version}`, async (t) => {
      const nodePath = requireProgramPath(
        t,
        `MILLRACE_TEST_NODE_${version}`,
        `run the engine under Node.js ${version}`,
      );
      if (nodePath === undefined) return;
      const actual = execFileSync(nodePath, ["--version"], { encoding: "utf8" });
      assert.match(actual, new RegExp(`^v${version}\\.`));

      const lines = `${Array.from({ length: 1000 }, (_, index) => `reading ${index}`).join("\n")}\n`;
      const engine = await EngineProcess.start(t, { nodePath });
      assert.equal((await engine.run(["streams", "create", "raw", "--flush-on-write"])).code, 0);
      assert.equal((await engine.run(["append", "raw"], lines)).code, 0);
      assert.equal((await engine.run(["read", "raw"])).stdout, lines);
      assert.equal((await engine.stop()).code, 0);

      const again = await EngineProcess.start(t, { nodePath, storeDirectory: engine.storeDirectory });
      assert.equal((await again.run(["read", "raw"])).stdout, lines);
    });
  }
});
