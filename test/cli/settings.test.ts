import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { PassThrough } from "node:stream";
import { test, type TestContext } from "node:test";
import { settingsCommand } from "../../src/cli/settings.ts";
import { settingKeys } from "../../src/config/schema.ts";
import { MillraceError } from "../../src/core/errors.ts";
import { temporaryDirectory } from "../support/engine-process.ts";

async function run(env: Record<string, string>, args: readonly string[]) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const machine = { env, homeDirectory: "/home/edge", cores: 8, memoryBytes: 2 ** 33 };
  const command = settingsCommand({ machine, stdin: new PassThrough(), stdout, stderr });
  await command.parseAsync(args, { from: "user" });
  const textOf = (stream: PassThrough): string => String((stream.read() as Buffer | null) ?? "");
  return { stdout: textOf(stdout), stderr: textOf(stderr) };
}

function settingsFile(t: TestContext, text: string): string {
  const file = path.join(temporaryDirectory(t), "edge.toml");
  writeFileSync(file, text);
  return file;
}

test("settings shows every setting with its value and where it comes from", async (t) => {
  const file = settingsFile(t, 'ring_bytes = 8388608\nhost = "127.0.0.3"\n');
  const { stdout, stderr } = await run({ MILLRACE_PROFILE: "small", MILLRACE_TYPO: "1" }, ["--config", file]);
  const lines = stdout.trimEnd().split("\n");
  assert.equal(lines.length, settingKeys.length + 1);
  const fieldsOf = (variable: string): string[] =>
    lines.find((line) => line.startsWith(`${variable} `))!.split(/ {2,}/);
  assert.deepEqual(fieldsOf("MILLRACE_RING_BYTES").slice(1), ["8388608", "bytes", `ring_bytes in ${file}`]);
  assert.deepEqual(fieldsOf("MILLRACE_WORKERS").slice(1), ["1", "MILLRACE_PROFILE=small"]);
  assert.deepEqual(fieldsOf("MILLRACE_SOCKET").slice(1), ["none", "default"]);
  assert.equal(stderr, "millrace: MILLRACE_TYPO has no effect: there is no such setting\n");
});

test("settings --changed leaves out what is at its default, also as JSON", async () => {
  assert.deepEqual(await run({}, ["--changed"]), { stdout: "", stderr: "" });
  const { stdout } = await run({ MILLRACE_RING_BYTES: "2097152" }, ["--changed", "--json"]);
  assert.deepEqual(JSON.parse(stdout), {
    ringBytes: {
      variable: "MILLRACE_RING_BYTES",
      value: 2097152,
      source: "MILLRACE_RING_BYTES",
      unit: "bytes",
    },
  });
});

test("settings refuses what serve would refuse", async () => {
  await assert.rejects(
    run({ MILLRACE_THREAD_CPUS: "main=0;main=1" }, []),
    (error) =>
      error instanceof MillraceError &&
      error.message === 'MILLRACE_THREAD_CPUS: "main=1" is the second for main',
  );
});
