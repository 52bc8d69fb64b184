import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { ChildProcesses } from "../../src/cli/demo-child.ts";
import { startEmulator } from "../../src/cli/demo-emulator.ts";
import { createKinesisStream, openKinesis } from "../../src/cli/demo-kinesis.ts";
import type { Summary } from "../../src/cli/demo-summary.ts";
import { isAlive, processesOf } from "../support/child-processes.ts";
import { Program, runProgram } from "../support/program.ts";

const root = path.join(import.meta.dirname, "..", "..", "..");
const millrace = path.join(root, "dist", "src", "millrace.js");

/** An environment without anything of the user's, whose temporary directory shows what is left behind. */
function makeEnvironment(t: TestContext): { env: NodeJS.ProcessEnv; temporary: string } {
  const temporary = mkdtempSync(path.join(tmpdir(), "millrace-demo-test-"));
  t.after(() => rmSync(temporary, { recursive: true }));
  return { temporary, env: { PATH: process.env["PATH"], HOME: temporary, TMPDIR: temporary } };
}

function summaryOf(stdout: string): Summary {
  return JSON.parse(stdout.trimEnd().split("\n").at(-1)!) as Summary;
}

describe("demo", () => {
  it("brings every message to its stream and to Kinesis, and leaves nothing behind", async (t) => {
    const { env, temporary } = makeEnvironment(t);
    const args = [millrace, "demo", "--seconds", "2", "--rate", "500", "--json"];
    const { code, stdout, stderr } = await runProgram(t, args, { env });
    assert.equal(code, 0, stderr);
    const summary = summaryOf(stdout);
    assert.equal(stdout.trimEnd().split("\n").length, 1);
    const { appended, exported, missing, wrong, storedBytes, acceptedBytes, duplicates, isComplete } =
      summary;
    assert.deepEqual(
      { appended, exported, missing, wrong, duplicates, isComplete },
      { appended: 2000, exported: 2000, missing: 0, wrong: 0, duplicates: 0, isComplete: true },
    );
    assert.ok(acceptedBytes > 2000 * 50, `accepted ${acceptedBytes}`);
    // How small the blocks are is a matter of time; until it is complete a segment of single messages takes 1.7 times their bytes.
    assert.ok(
      storedBytes > 0 && storedBytes < 2 * acceptedBytes,
      `stored ${storedBytes} of ${acceptedBytes}`,
    );
    assert.ok(summary.sensors > 10, `sensors ${summary.sensors}`);
    for (const name of ["DemoReadings", "DemoInferences"]) {
      const { inStream, inKinesis } = summary.streams[name]!;
      assert.equal(inStream.correct, 1000);
      assert.equal(inKinesis.correct, 1000);
    }
    assert.match(stderr, /appended 2,000 .* exported 2,000/);
    assert.deepEqual(readdirSync(temporary), []);
  });

  it("ends with 130 on Ctrl-C, with its processes and its directory gone", async (t) => {
    const { env, temporary } = makeEnvironment(t);
    const program = new Program(t, [millrace, "demo", "--seconds", "60", "--rate", "100"], { env });
    await program.line("stdout", /appended/);
    const children = processesOf(program.child.pid!);
    assert.equal(children.length, 3, children.map(({ command }) => command).join("; "));
    program.child.kill("SIGINT");
    const { code, stdout } = await program.finished();
    assert.equal(code, 130);
    assert.match(stdout, /interrupted by SIGINT\n$/);
    assert.deepEqual(
      children.filter(({ id }) => isAlive(id)),
      [],
    );
    assert.deepEqual(readdirSync(temporary), []);
  });

  for (const [name, entry] of [
    ["engine", "millrace.js"],
    ["emulator", "demo-emulator-process.js"],
    ["producer", "demo-producer.js"],
  ] as const) {
    it(`fails with the reason when the ${name} dies`, async (t) => {
      const { env, temporary } = makeEnvironment(t);
      const program = new Program(t, [millrace, "demo", "--seconds", "60", "--rate", "100"], { env });
      await program.line("stdout", /appended/);
      const child = processesOf(program.child.pid!).find(({ command }) => command.includes(entry));
      assert.ok(child);
      process.kill(child.id, "SIGKILL");
      const { code, stderr } = await program.finished();
      assert.equal(code, 1);
      assert.match(stderr, new RegExp(`^millrace: The ${name} ended with signal SIGKILL`));
      assert.deepEqual(readdirSync(temporary), []);
    });
  }

  it("uploads to the Kinesis that AWS_ENDPOINT_URL_KINESIS names, which may hold records already", async (t) => {
    const processes = new ChildProcesses(new AbortController());
    t.after(async () => processes.killAll());
    const access = await startEmulator(processes, []);
    const { env } = makeEnvironment(t);
    const target = {
      ...env,
      AWS_ENDPOINT_URL_KINESIS: access.endpoint,
      AWS_REGION: access.region,
      AWS_ACCESS_KEY_ID: "id",
      AWS_SECRET_ACCESS_KEY: "secret",
    };
    const args = [millrace, "demo", "--seconds", "1", "--rate", "200", "--json"];
    const refused = await runProgram(t, args, { env: target });
    assert.equal(refused.code, 1);
    assert.match(
      refused.stderr,
      /^millrace: Cannot use Kinesis stream "DemoReadings" at http:.*ResourceNotFoundException/,
    );
    const client = openKinesis(access);
    t.after(() => client.destroy());
    for (const name of ["DemoReadings", "DemoInferences"]) {
      await createKinesisStream(client, { name, shardCount: 1 });
    }
    for (let run = 0; run < 2; run++) {
      const { code, stdout, stderr } = await runProgram(t, args, { env: target });
      assert.equal(code, 0, stderr);
      assert.equal(summaryOf(stdout).exported, 400);
    }
  });

  it("says what to do where the emulator is not installed", async (t) => {
    const { env, temporary } = makeEnvironment(t);
    const installed = path.join(temporary, "installed");
    cpSync(path.join(root, "dist", "src"), path.join(installed, "dist", "src"), { recursive: true });
    cpSync(path.join(root, "package.json"), path.join(installed, "package.json"));
    mkdirSync(path.join(installed, "node_modules"));
    const modules = path.join(root, "node_modules");
    for (const name of readdirSync(modules).filter((entry) => entry !== "kinesalite")) {
      symlinkSync(path.join(modules, name), path.join(installed, "node_modules", name));
    }
    const program = path.join(installed, "dist", "src", "millrace.js");
    const { code, stderr } = await runProgram(t, [program, "demo"], { env });
    assert.equal(code, 2);
    assert.match(
      stderr,
      /emulator is not installed.*AWS_ENDPOINT_URL_KINESIS.*DemoReadings and DemoInferences\n$/,
    );
    assert.deepEqual(readdirSync(temporary), ["installed"]);
  });
});
