import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { describe, it } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { loadSettings } from "../../../src/config/load-settings.ts";
import { readSettingsFile } from "../../../src/config/settings-file.ts";
import { isAlive, processesOf } from "../../support/child-processes.ts";
import { temporaryDirectory } from "../../support/engine-process.ts";
import { Program, runProgram } from "../../support/program.ts";

const program = path.join(import.meta.dirname, "..", "..", "..", "src", "millrace.js");
const env = { PATH: process.env["PATH"] ?? "" };
const timeout = 120_000;

interface Report {
  readonly cores: number;
  readonly settings: Record<string, unknown>;
  readonly workers: Dimension;
  readonly blockBytes: Dimension;
  readonly withoutFlushOnWrite: { readonly rates: number[]; readonly awaitedP50Ms: number };
  readonly withFlushOnWrite: { readonly rates: number[]; readonly awaitedP50Ms: number };
  readonly syncsMs: { readonly small: { readonly p50: number } };
}

interface Dimension {
  readonly default: number;
  readonly chosen: number;
  readonly certainty: string;
  readonly candidates: readonly {
    readonly value: number;
    readonly rates: number[];
    readonly cpuSecondsPerMillion: number;
    readonly peakMib: number;
  }[];
}

describe("millrace tune", () => {
  it(
    "measures engines of its own, is sure of nothing after one round, and writes a settings file",
    { timeout },
    async (t) => {
      // The settings are for another user's engine to read, the store's are not.
      const umask = process.umask(0o022);
      t.after(() => process.umask(umask));
      const directory = temporaryDirectory(t);
      const store = path.join(directory, "store");
      mkdirSync(store, { mode: 0o700 });
      const { pid: dead } = spawnSync(process.execPath, ["--version"]);
      mkdirSync(path.join(store, `tune-${dead}-0123456789abcdef.tmp`));
      const other = `tune-${process.pid}-0123456789abcdef.tmp`;
      mkdirSync(path.join(store, other));
      const written = path.join(directory, "tuned.toml");
      const args = [
        "tune",
        "--seconds",
        "5",
        "--rounds",
        "1",
        "--json",
        "--store-directory",
        store,
        "--write",
        written,
      ];
      // Settings of the engine in use must not reach those that are measured: this one could not listen there.
      const used = { ...env, MILLRACE_SOCKET: "/nowhere/at/all.sock", MILLRACE_WORKERS: "7" };
      const { code, stdout, stderr } = await runProgram(t, [program, ...args], { env: used });
      assert.deepEqual([code, stderr], [0, `millrace: wrote ${written}\n`]);
      const report = JSON.parse(stdout) as Report;
      assert.equal(report.cores, availableParallelism());
      for (const { default: standard, chosen, certainty, candidates } of [
        report.workers,
        report.blockBytes,
      ]) {
        assert.equal(chosen, standard);
        assert.match(certainty, /^(default is best|within the noise)$/);
        assert.ok(candidates.length >= 2 || report.cores === 1);
        for (const { rates, cpuSecondsPerMillion, peakMib } of candidates)
          assert.ok(rates.length === 1 && rates[0]! > 0 && cpuSecondsPerMillion >= 0 && peakMib > 30);
      }
      for (const { rates, awaitedP50Ms } of [report.withoutFlushOnWrite, report.withFlushOnWrite])
        assert.ok(rates[0]! > 0 && awaitedP50Ms > 0);
      assert.ok(report.syncsMs.small.p50 > 0);
      assert.deepEqual(readdirSync(store), [other]);

      const text = readFileSync(written, "utf8");
      assert.equal(statSync(written).mode & 0o777, 0o644);
      assert.match(text, /^# Measured by millrace tune on \d+ cores/);
      const machine = { env: {}, homeDirectory: "/home/edge", cores: 4, memoryBytes: 2 ** 33 };
      const { sources } = loadSettings({ ...machine, file: await readSettingsFile(written) });
      const set = Object.values(sources).filter((source) => source.endsWith(` in ${written}`));
      assert.equal(set.length, Object.keys(report.settings).length);
    },
  );

  it("writes over no file, and takes no nonsense", { timeout }, async (t) => {
    const directory = temporaryDirectory(t);
    const file = path.join(directory, "mine.toml");
    writeFileSync(file, "workers = 3\n");
    const run = (...args: string[]) =>
      runProgram(t, [program, "tune", "--store-directory", directory, ...args], { env });
    const there = await run("--write", file);
    assert.deepEqual(
      [there.code, there.stderr],
      [2, `millrace: --write: ${file} is there already, and is not written over\n`],
    );
    assert.equal(readFileSync(file, "utf8"), "workers = 3\n");
    for (const [target, reason] of [
      [path.join(directory, "none", "x.toml"), "ENOENT"],
      [path.join(file, "x.toml"), `${file} is no directory`],
    ] as const) {
      const refused = await run("--write", target);
      assert.deepEqual([refused.code, refused.stderr], [1, `millrace: Cannot write ${target}: ${reason}\n`]);
    }
    assert.equal((await run("--seconds", "1")).code, 2);
    assert.equal((await run("--rounds", "0")).code, 2);
    assert.equal((await run("--help")).code, 0);
    const other = await runProgram(t, [program, "tune", "--store-directory", file], { env });
    assert.deepEqual([other.code, other.stderr], [1, `millrace: ${file} is no directory\n`]);
    assert.deepEqual(readdirSync(directory), ["mine.toml"]);
  });

  it("leaves neither files nor engines behind when it is interrupted", { timeout }, async (t) => {
    const directory = temporaryDirectory(t);
    const tune = new Program(t, [program, "tune", "--seconds", "60", "--store-directory", directory], {
      env,
    });
    const isMeasuring = (): boolean =>
      readdirSync(directory).some((name) => readdirSync(path.join(directory, name)).includes("store"));
    let engines: number[] = [];
    while (engines.length === 0) {
      await after(20);
      if (isMeasuring()) engines = processesOf(tune.child.pid!).map(({ id }) => id);
    }
    tune.child.kill("SIGINT");
    const { code, stdout } = await tune.finished();
    assert.deepEqual([code, stdout], [130, ""]);
    assert.deepEqual(engines.filter(isAlive), []);
    assert.deepEqual(readdirSync(directory), []);
  });
});
