import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { Program, runProgram } from "../support/program.ts";

const fixture = path.join(import.meta.dirname, "serve-fixture.js");

function serve(t: TestContext, behaviour: string, ...args: string[]): Program {
  return new Program(t, [fixture, behaviour, ...args], { env: { STREAM_MANAGER_SERVER_PORT: "0" } });
}

const READY =
  /^millrace ready on 127\.0\.0\.1:\d+ store=\/home\/edge\/\.local\/state\/millrace auth=on pid=\d+$/;

describe("serve", () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    it(`says when it is ready, and on ${signal} stops the engine and exits with 0`, async (t) => {
      const program = serve(t, "normal");
      assert.match(await program.line("stdout", /ready/), READY);
      program.child.kill(signal);
      const { code, stdout, stderr } = await program.finished();
      assert.equal(code, 0);
      assert.equal(stdout.split("\n").length, 2);
      assert.equal(stderr, "closing\nclosed\n");
    });
  }

  it("reads again what changed while the engine was starting, and on each SIGHUP", async (t) => {
    const program = serve(t, "renewed");
    await program.line("stdout", /ready/);
    const again = program.line("stderr", /reloading/);
    program.child.kill("SIGHUP");
    await again;
    program.child.kill("SIGTERM");
    const { code, stderr } = await program.finished();
    assert.deepEqual([code, stderr], [0, "reloading\nreloading\nclosing\nclosed\n"]);
  });

  it("ends at once with 1 on the second signal", async (t) => {
    const program = serve(t, "hang", "--shutdown-ms", "600000");
    await program.line("stdout", /ready/);
    const closing = program.line("stderr", /closing/);
    program.child.kill("SIGTERM");
    await closing;
    program.child.kill("SIGTERM");
    assert.equal((await program.finished()).code, 1);
  });

  it("ends with 1 and a reason when the engine does not stop in time", async (t) => {
    const program = serve(t, "hang", "--shutdown-ms", "0");
    await program.line("stdout", /ready/);
    program.child.kill("SIGTERM");
    const { code, stderr } = await program.finished();
    assert.equal(code, 1);
    assert.match(stderr, /cannot stop cleanly within 0 ms/);
  });

  it("prints the ready line as JSON when asked, with the port that was taken", async (t) => {
    const program = serve(t, "normal", "--json", "--store-directory", "/tmp/a b");
    const ready = JSON.parse(await program.line("stdout", /ready/)) as Record<string, unknown>;
    assert.ok(Number(ready["port"]) > 0);
    assert.deepEqual(ready, {
      event: "ready",
      host: "127.0.0.1",
      port: ready["port"],
      store: "/tmp/a b",
      authenticate: true,
      pid: program.child.pid,
    });
  });

  it("takes settings from a file, and variables over it", async (t) => {
    const directory = mkdtempSync(path.join(tmpdir(), "millrace-"));
    t.after(() => rmSync(directory, { recursive: true }));
    const file = path.join(directory, "edge.toml");
    writeFileSync(file, 'port = 1\nstore_directory = "/from/file"\nauthenticate = false\n');
    const program = serve(t, "normal", "--config", file);
    assert.match(await program.line("stdout", /ready/), /:(?!1 )\d+ store=\/from\/file auth=off/);
  });

  it("gives notices on standard error and refuses a bad setting by name", async (t) => {
    const env = { JVM_ARGS: "-Xmx1g", STREAM_MANAGER_SERVER_PORT: "0" };
    const refused = await runProgram(t, [fixture, "refuse"], { env });
    assert.equal(refused.code, 1);
    assert.equal(
      refused.stderr,
      "millrace: JVM_ARGS has no effect: there is no JVM\n" +
        "failed: MillraceError: Cannot open the store /home/edge/.local/state/millrace: in use\n",
    );
    const invalid = await runProgram(t, [fixture, "normal", "--port", "x"], { env: {} });
    assert.equal(invalid.code, 1);
    assert.match(invalid.stderr, /^failed: MillraceError: --port is "x" and must be an integer/);
  });
});
