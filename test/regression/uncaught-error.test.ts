import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { it } from "node:test";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";

it(
  "an error that nobody catches ends the process with code 1, after a clean stop",
  { timeout: 60_000 },
  async (t) => {
    const plant = `${temporaryDirectory(t)}/plant.mjs`;
    writeFileSync(
      plant,
      `import { isMainThread } from "node:worker_threads";
    if (isMainThread) process.on("SIGUSR2", () => void Promise.reject(new Error("planted")));`,
    );
    const env = { NODE_OPTIONS: `--import=${plant}`, LOG_LEVEL: "INFO" };
    const engine = await EngineProcess.start(t, { env });
    engine.serve.child.kill("SIGUSR2");
    const { code, stderr } = await engine.serve.finished();
    assert.equal(code, 1);
    assert.match(stderr, /millrace: ends after an unexpected error: Error: planted/);
    assert.match(stderr, /engine\.stopped/);
  },
);
