import assert from "node:assert/strict";
import { realpathSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { temporaryDirectory } from "../support/engine-process.ts";
import { runProgram } from "../support/program.ts";

const root = path.join(import.meta.dirname, "..", "..", "..");
const program = path.join(root, "dist", "src", "millrace.js");

describe("Node's permission model", () => {
  it("takes the sync calls away, without which there is no store: the engine says so and ends", async (t) => {
    const home = temporaryDirectory(t);
    const readable = [root, realpathSync(path.join(root, "node_modules")), home];
    const permissions = [
      "--experimental-permission",
      ...readable.map((directory) => `--allow-fs-read=${directory}/*`),
      `--allow-fs-write=${home}/*`,
      "--allow-worker",
      "--allow-addons",
    ];
    const env = {
      PATH: process.env["PATH"] ?? "",
      HOME: home,
      STREAM_MANAGER_STORE_ROOT_DIR: path.join(home, "store"),
      STREAM_MANAGER_SERVER_PORT: "0",
    };
    const { code, stdout, stderr } = await runProgram(t, [...permissions, program, "serve", "--json"], {
      env,
    });
    assert.equal(code, 1);
    assert.equal(stdout, "");
    assert.match(stderr, /^millrace: Cannot use store ".*": f(data)?sync API is disabled/m);
  });
});
