import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { removeLeftovers } from "../../bench/clean-up.ts";
import { describeEnvironment } from "../../bench/environment.ts";
import { measureInTurns } from "../../bench/scenario/turns.ts";
import { Program } from "../support/program.ts";

const runScript = path.join(import.meta.dirname, "..", "..", "bench", "run.js");
const DEADLINE_MS = 30_000;
const POLL_MS = 20;

function temporaryDirectory(t: TestContext): string {
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-clean-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Processes whose environment or words name the directory. */
function processesOn(directory: string): string[] {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return ["cmdline", "environ"].some((file) =>
        readFileSync(`/proc/${pid}/${file}`, "latin1").includes(`${directory}/millrace-bench-`),
      );
    } catch {
      return false;
    }
  });
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const endMs = performance.now() + DEADLINE_MS;
  while (!holds()) {
    assert.ok(performance.now() < endMs, `not within ${DEADLINE_MS} ms: ${what}`);
    await sleep(POLL_MS);
  }
}

describe("a bench that is ended early", () => {
  for (const [signal, code] of [
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const) {
    it(`leaves no engine and no store behind at ${signal}`, async (t) => {
      const storeRoot = temporaryDirectory(t);
      const words = ["ingest", "--case", "64 KiB batches, File", "--seconds", "60", "--store", storeRoot];
      const bench = new Program(t, [runScript, ...words, "--out", path.join(storeRoot, "out.json")]);
      await until("an engine on a store", () => {
        const names = readdirSync(storeRoot);
        return processesOn(storeRoot).length > 0 && names.some((name) => name.includes("-engine-"));
      });
      bench.child.kill(signal);
      const finished = await bench.finished();
      assert.equal(finished.code, code, finished.stderr);
      assert.equal(finished.stderr, "");
      assert.deepEqual(readdirSync(storeRoot), []);
      assert.deepEqual(processesOn(storeRoot), []);
    });
  }

  it("ends the engine of a sweep's run too", async (t) => {
    const storeRoot = temporaryDirectory(t);
    const words = ["sweep", "ingest", "workers=1", "--case", "64 KiB batches, File", "--seconds", "60"];
    const sweep = new Program(t, [runScript, ...words, "--store", storeRoot]);
    await until("an engine on a store", () => processesOn(storeRoot).length > 0);
    sweep.child.kill("SIGTERM");
    assert.equal((await sweep.finished()).code, 143);
    assert.deepEqual(readdirSync(storeRoot), []);
    assert.deepEqual(processesOn(storeRoot), []);
  });

  it("ends without a stack when its reader has gone", async (t) => {
    const storeRoot = temporaryDirectory(t);
    const words = ["ingest", "--case", "64 KiB batches, Memory", "--seconds", "0.2", "--store", storeRoot];
    const bench = new Program(t, [runScript, ...words, "--out", path.join(storeRoot, "out.json")]);
    bench.child.stdout.destroy();
    const { code, stderr } = await bench.finished();
    assert.equal(code, 141, stderr);
    assert.equal(stderr, "");
    assert.deepEqual(
      readdirSync(storeRoot).filter((name) => name.startsWith("millrace-bench-")),
      [],
    );
  });
});

describe("removeLeftovers", () => {
  it("removes directories of processes that are no more, and no others", (t) => {
    const root = temporaryDirectory(t);
    const { pid: dead } = spawnSync(process.execPath, ["--version"]);
    const left = path.join(root, `millrace-bench-engine-${dead}-abcDEF`);
    const kept = [
      `millrace-bench-engine-${process.pid}-abcDEF`,
      "millrace-bench-test-abcDEF",
      `other-${dead}-abcDEF`,
    ];
    for (const name of kept) mkdirSync(path.join(root, name));
    mkdirSync(path.join(left, "streams"), { recursive: true });
    removeLeftovers(root);
    assert.ok(!existsSync(left));
    assert.deepEqual(readdirSync(root).sort(), [...kept].sort());
  });
});

describe("measureInTurns", () => {
  it("abandons every case when one of them cannot be", async () => {
    const abandoned: string[] = [];
    const cases = ["a", "b", "c"].map((name) => ({
      name,
      start: async () =>
        Promise.resolve({
          measure: async () => Promise.reject(new Error("not measured")),
          finish: async () => Promise.reject(new Error("not finished")),
          abandon: async () => {
            abandoned.push(name);
            return name === "a" ? Promise.reject(new Error("not abandoned")) : Promise.resolve();
          },
        }),
    }));
    await assert.rejects(measureInTurns(cases, 1).next(), /not abandoned/);
    assert.deepEqual(abandoned, ["a", "b", "c"]);
  });
});

describe("describeEnvironment", () => {
  it("records settings that are numbers or known words, and nothing that may be secret", (t) => {
    const secret = "s3cr3t";
    const given: Readonly<Record<string, string>> = {
      MILLRACE_TOKEN: secret,
      MILLRACE_EXPORT_HTTP_HEADERS: `/etc/${secret}`,
      MILLRACE_EXPORT_MAP: `a=https://user:${secret}@host/`,
      MILLRACE_SYNC_BYTES: secret,
      MILLRACE_WORKERS: "auto",
      MILLRACE_BLOCK_BYTES: "65536",
      MILLRACE_THREAD_CPUS: "main=0;stream=1",
      LOG_LEVEL: "info",
    };
    for (const [name, value] of Object.entries(given)) {
      const before = process.env[name];
      t.after(() => {
        if (before === undefined) Reflect.deleteProperty(process.env, name);
        else process.env[name] = before;
      });
      process.env[name] = value;
    }
    const described = describeEnvironment({ storeRoot: tmpdir(), dataSet: "inference", settings: {} });
    assert.ok(!JSON.stringify(described).includes(secret));
    assert.deepEqual(described.settings, {
      MILLRACE_WORKERS: "auto",
      MILLRACE_BLOCK_BYTES: "65536",
      MILLRACE_SYNC_BYTES: "(set)",
      MILLRACE_THREAD_CPUS: "main=0;stream=1",
      LOG_LEVEL: "info",
      MILLRACE_EXPORT_HTTP_HEADERS: "(set)",
      MILLRACE_EXPORT_MAP: "(set)",
    });
    const elsewhere = describeEnvironment({
      storeRoot: undefined,
      dataSet: "inference",
      settings: { rate: 1 },
    });
    assert.deepEqual(
      elsewhere.settings,
      { rate: 1 },
      "an engine that was not started here has other settings",
    );
  });
});
