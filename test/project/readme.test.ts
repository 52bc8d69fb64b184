import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { readToken } from "../../src/net/token-store.ts";
import { EngineProcess } from "../support/engine-process.ts";
import { runProgram } from "../support/program.ts";

// Compiled to dist/test/project/.
const readme = readFileSync(path.join(import.meta.dirname, "..", "..", "..", "README.md"), "utf8");

/** The JavaScript blocks of the README, in order. */
const programs = [...readme.matchAll(/^```js\n(.*?)^```$/gms)].map(([, text]) => text ?? "");

const expectedOutputs = [/^21\.5$/m, /^99998 \{"reading":99998\}\n99999 \{"reading":99999\}\n$/];

describe("the README", () => {
  it("shows a program for each client", () => {
    assert.equal(programs.length, expectedOutputs.length);
  });

  for (const [index, expected] of expectedOutputs.entries()) {
    it(`shows program ${index + 1} as it runs`, async (t) => {
      const engine = await EngineProcess.start(t);
      const token = readToken(engine.env["STREAM_MANAGER_STORE_ROOT_DIR"] ?? "");
      assert.ok(token !== undefined);
      // Inside the package, so that it finds "millrace/client" as a program that depends on it does.
      const file = path.join(import.meta.dirname, `readme-${index + 1}.mjs`);
      writeFileSync(file, (programs[index] ?? "").replaceAll(":8088", `:${engine.port}`));
      const env = {
        AWS_CONTAINER_AUTHORIZATION_TOKEN: token,
        STREAM_MANAGER_SERVER_PORT: String(engine.port),
      };
      const { code, stdout, stderr } = await runProgram(t, [file], { env });
      assert.deepEqual([code, stderr], [0, ""]);
      assert.match(stdout, expected);
    });
  }
});
