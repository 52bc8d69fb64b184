import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, it } from "node:test";
import { Doorbell } from "../../src/ring/doorbell.ts";
import { joinSpans, summarizeProfile, type CpuProfile } from "../../bench/tool/cpu-profile.ts";
import { placeOf, type ProfiledThread } from "../../bench/tool/profiled-threads.ts";
import { runProgram } from "../support/program.ts";

const dist = path.join(import.meta.dirname, "..", "..");
const runScript = path.join(dist, "bench", "run.js");
const DOORBELL_URL = "file:///project/dist/src/ring/doorbell.js";

function frame(id: number, functionName: string, url = ""): CpuProfile["nodes"][number] {
  return { id, callFrame: { functionName, url, lineNumber: 3, columnNumber: 5 } };
}

/** Ten milliseconds, a sample each. */
const tenSamples: CpuProfile = {
  nodes: [
    frame(1, "(root)"),
    frame(2, "(idle)"),
    frame(3, "(garbage collector)"),
    frame(4, "(program)"),
    frame(5, "work", "file:///a.js"),
    frame(6, "work", "file:///a.js"),
    frame(7, "wait", DOORBELL_URL),
    frame(8, "wait", "file:///a.js"),
  ],
  startTime: 1000,
  endTime: 11_000,
  samples: [2, 2, 3, 4, 5, 6, 6, 7, 7, 8],
  timeDeltas: [0, ...Array.from({ length: 9 }, () => 1000)],
};

describe("summarizeProfile", () => {
  it("tells work from waiting, and adds up a function that is called from two places", () => {
    const { functions, ...shares } = summarizeProfile(tenSamples, []);
    assert.deepEqual(shares, { seconds: 0.01, busy: 0.6, idle: 0.4, garbageCollection: 0.1, program: 0.1 });
    assert.deepEqual(
      functions.map(({ frame: { functionName }, share }) => [functionName, share]),
      [
        ["work", 0.3],
        ["wait", 0.1],
      ],
    );
  });

  it("counts the spans alone, of a sample the part that is inside", () => {
    const spans = [
      { startUs: 0, endUs: 2000 },
      { startUs: 5500, endUs: 6000 },
    ];
    const { seconds, idle, functions } = summarizeProfile(tenSamples, spans);
    assert.deepEqual([seconds, idle], [0.0015, 1000 / 1500]);
    assert.deepEqual(
      functions.map(({ share }) => share),
      [500 / 1500],
    );
    assert.equal(summarizeProfile(tenSamples, [{ startUs: 0, endUs: 1 }]).busy, 0);
  });

  it("knows the function in which an idle stream worker sleeps", () => {
    assert.equal(Doorbell.prototype.wait.name, "wait");
    assert.ok(existsSync(path.join(dist, "src", "ring", "doorbell.js")));
  });
});

describe("joinSpans", () => {
  it("makes one of those that overlap", () => {
    const spans = [
      [5, 9],
      [1, 3],
      [2, 4],
      [8, 10],
    ].map(([startUs, endUs]) => ({ startUs: startUs!, endUs: endUs! }));
    assert.deepEqual(joinSpans(spans), [
      { startUs: 1, endUs: 4 },
      { startUs: 5, endUs: 10 },
    ]);
  });
});

describe("placeOf", () => {
  it("is a folder of the project, a package, a module of Node.js or native code", () => {
    assert.deepEqual(
      [
        "src/export/destinations/kinesis.ts:7",
        "../main/node_modules/@smithy/core/dist/index.js:1",
        "node_modules/ws/lib/receiver.js:127",
        "node:internal/streams/readable:3",
        "node:zlib:853",
        "",
      ].map(placeOf),
      ["src/export", "@smithy/core", "ws", "node:internal/streams", "node:zlib", "native"],
    );
  });
});

describe("bench profile", () => {
  it("says of every thread of engine and driver how busy it was, and with what", async (t) => {
    const directory = mkdtempSync(path.join(tmpdir(), "millrace-profile-test-"));
    t.after(() => rmSync(directory, { recursive: true, force: true }));
    const args = [
      "profile",
      "ingest",
      "--case",
      "64 KiB batches, Memory",
      "--seconds",
      "0.2",
      "--dir",
      directory,
    ];
    const { code, stdout, stderr } = await runProgram(t, [runScript, ...args, "--top", "5", "--json"]);
    assert.equal(code, 0, stderr);
    const { threads } = JSON.parse(stdout) as { threads: ProfiledThread[] };
    assert.deepEqual(threads.map(({ name }) => name).sort(), [
      "driver",
      "engine main",
      "engine stream-worker 1",
    ]);
    for (const { name, summary, isWindowed, functions, file } of threads) {
      assert.ok(isWindowed && existsSync(file), name);
      assert.ok(summary.busy > 0 && summary.busy + summary.idle > 0.999, name);
      // The warm-up and the one round.
      assert.ok(summary.seconds > 0.3 && summary.seconds < 20, `${name}: ${summary.seconds}`);
      assert.equal(functions.length, 5, name);
    }
    const worker = threads.find(({ name }) => name.includes("stream-worker"));
    assert.ok(
      worker?.functions.some(({ where }) => /^src\/[\w/-]+\.ts:\d+$/.test(where)),
      JSON.stringify(worker),
    );
  });

  it("prints what a bench without an engine has, and refuses what is none", async (t) => {
    const directory = mkdtempSync(path.join(tmpdir(), "millrace-profile-test-"));
    t.after(() => rmSync(directory, { recursive: true, force: true }));
    const args = ["profile", "ring", "--case", "200 B", "--seconds", "0.3", "--dir", directory];
    const { code, stdout, stderr } = await runProgram(t, [runScript, ...args]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^driver \(pid \d+\) +\d+\.\d %/m);
    assert.match(stdout, /^ +\d+\.\d % {2}.+ (src\/ring|bench\/micro)\/[\w-]+\.ts:\d+$/m);
    assert.match(stdout, /No thread of an engine/);
    for (const wrong of [["no-such"], [], ["ring", "--top", "0"]])
      assert.equal((await runProgram(t, [runScript, "profile", ...wrong])).code, 2, wrong.join(" "));
  });
});
