import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import test from "node:test";

// Compiled to dist/test/project/.
const root = path.join(import.meta.dirname, "..", "..", "..");

test("npm start is serve, and SIGTERM to npm stops the engine", { timeout: 60_000 }, async (t) => {
  const store = mkdtempSync(path.join(tmpdir(), "millrace-start-"));
  t.after(() => rmSync(store, { recursive: true, force: true }));
  const npm = spawn("npm", ["start", "--silent"], {
    cwd: root,
    env: {
      ...process.env,
      STREAM_MANAGER_STORE_ROOT_DIR: path.join(store, "store"),
      STREAM_MANAGER_SERVER_PORT: "0",
    },
    stdio: ["ignore", "pipe", "inherit"],
    // A group of its own, so that an engine that SIGTERM did not stop goes with it.
    detached: true,
  });
  t.after(() => {
    if (npm.exitCode === null) process.kill(-npm.pid!, "SIGKILL");
  });
  const exited = once(npm, "exit");
  const [line] = (await once(npm.stdout.setEncoding("utf8"), "data")) as [string];
  const engine = Number(/^millrace ready on 127\.0\.0\.1:\d+ store=\S+ auth=on pid=(\d+)\n$/.exec(line)?.[1]);
  assert.ok(engine > 0, line);
  npm.kill("SIGTERM");
  const [code] = (await exited) as [number | null];
  assert.equal(code, 0);
  assert.throws(() => process.kill(engine, 0), { code: "ESRCH" });
});
