import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import type { BenchRecord } from "../../bench/bench.ts";
import { readResult } from "../../bench/result-file.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { runProgram } from "../support/program.ts";

const program = path.join(import.meta.dirname, "..", "..", "src", "millrace.js");
const POLL_MS = 20;

/** One engine serves these cases, as it must be found as it was. */
test("millrace bench, with an engine that runs,", async (t) => {
  const engine = await EngineProcess.start(t);
  const directory = temporaryDirectory(t);
  const url = `ws://127.0.0.1:${engine.port}`;
  const streams = async (): Promise<string[]> => {
    const { stdout } = await engine.run(["streams", "list", "--json"]);
    return stdout.match(/millrace-bench-[0-9a-f]{8}/g) ?? [];
  };

  await t.test("measures every case, writes the result, and leaves no stream", async () => {
    const out = path.join(directory, "result.json");
    const tokenFile = path.join(directory, "token");
    writeFileSync(tokenFile, `${engine.token ?? ""}\n`);
    // A home of its own: the token comes from the file alone.
    const env = { PATH: process.env["PATH"], HOME: directory };
    const args = [
      "bench",
      "--url",
      url,
      "--token-file",
      tokenFile,
      "--seconds",
      "0.1",
      "--json",
      "--out",
      out,
    ];
    const { code, stdout, stderr } = await runProgram(t, [program, ...args], { env });
    assert.deepEqual([code, stderr], [0, ""]);
    const records = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as BenchRecord);
    assert.deepEqual(
      records.map(({ name }) => name),
      [
        "append 64 KiB batches",
        "append one message awaited",
        "append 10000 messages a second",
        "replay by subscription",
        "from append to push, 1000 a second",
      ],
    );
    for (const { name, values } of records) {
      assert.ok(Number(values["messages_per_s"]) > 0, name);
      assert.ok(Number(values["driver_cpu_s_per_gb"]) >= 0, name);
      for (const key of ["rss_mib", "cpu_s_per_gb", "engine_cpu_s_per_gb"])
        assert.equal(values[key], null, `${name}: ${key} of a process that is not known`);
    }
    const { bench, environment, records: written } = readResult(out);
    assert.deepEqual([bench, written.length], ["live", records.length]);
    assert.match(String(environment.settings["engine_version"]), /^\d+\.\d+\.\d+/);
    assert.ok(!readFileSync(out, "utf8").includes(engine.token ?? "-"), "no token is written down");
    assert.deepEqual(await streams(), []);
  });

  await t.test("measures the engine's process too where it is told which", async () => {
    const pid = String(engine.serve.child.pid);
    const args = [
      "bench",
      "--seconds",
      "0.3",
      "--json",
      "--case",
      "64 KiB",
      "--url",
      url,
      "--engine-pid",
      pid,
    ];
    const { code, stdout, stderr } = await engine.run(args);
    assert.equal(code, 0, stderr);
    const { values } = JSON.parse(stdout) as BenchRecord;
    for (const key of ["rss_mib", "cpu_s_per_gb", "engine_cpu_s_per_gb"])
      assert.ok(Number(values[key]) > 0, key);
  });

  await t.test("deletes its stream when it is interrupted", async () => {
    const running = engine.launch(["bench", "--seconds", "60", "--url", url, "--case", "64 KiB"]);
    while ((await streams()).length === 0) await after(POLL_MS);
    running.child.kill("SIGINT");
    const { code, stderr } = await running.finished();
    assert.equal(code, 130);
    assert.match(stderr, /^millrace: interrupted by SIGINT; the stream is deleted\n$/);
    assert.deepEqual(await streams(), []);
  });

  await t.test("refuses what it cannot measure", async () => {
    const refused = async (...args: string[]) => engine.run(["bench", "--url", url, ...args]);
    const noCase = await refused("--case", "no such");
    assert.equal(noCase.code, 2);
    assert.match(noCase.stderr, /no case contains "no such"; there are: "append 64 KiB batches"/);
    assert.equal((await refused("--seconds", "x")).code, 2);
    const noPlace = await refused("--seconds", "0.1", "--out", directory);
    assert.deepEqual([noPlace.code, noPlace.stdout], [2, ""]);
    assert.match(noPlace.stderr, /--out .*: is a directory/);
    assert.equal((await refused("--engine-pid", "4194304")).code, 2);
    const noToken = path.join(directory, "none");
    const unread = await refused("--token-file", noToken);
    assert.equal(unread.code, 1);
    assert.match(unread.stderr, /Cannot read the token .*: ENOENT/);
    writeFileSync(noToken, "wrong-token-of-enough-letters");
    assert.match((await refused("--token-file", noToken)).stderr, /^millrace: Cannot connect to ws:.*401\n$/);
    assert.deepEqual(await streams(), []);
  });
});
