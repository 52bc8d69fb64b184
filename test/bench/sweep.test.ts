import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import type { BenchRecord } from "../../bench/bench.ts";
import { readResult } from "../../bench/result-file.ts";
import { mergeRuns } from "../../bench/tool/sweep-merge.ts";
import { combinationText, planSweep, sweepOrder } from "../../bench/tool/sweep-plan.ts";
import { marksOf, sweepLines } from "../../bench/tool/sweep-table.ts";
import { TABLE_WIDTH } from "../../bench/table-printer.ts";
import { runProgram } from "../support/program.ts";

const runScript = path.join(import.meta.dirname, "..", "..", "bench", "run.js");

describe("planSweep", () => {
  it("makes every combination, of keys, short names and variables, ranges and sizes", () => {
    const plan = planSweep(["workers=1..3", "MILLRACE_BLOCK_BYTES=64k,1m", "threads=2"]);
    assert.equal(plan.length, 6);
    assert.equal(combinationText(plan[5]!), "workers=3 MILLRACE_BLOCK_BYTES=1m threads=2");
    assert.deepEqual(plan[5]!.variables, {
      MILLRACE_WORKERS: "3",
      MILLRACE_BLOCK_BYTES: "1048576",
      STREAM_MANAGER_EXPORTER_THREAD_POOL_SIZE: "2",
    });
  });

  it("refuses what the engine would refuse, and what would change nothing", () => {
    for (const [words, message] of [
      [["wrkers=1"], /^wrkers is no setting; there are .*blockBytes.*workers/],
      [["workers=99"], /^MILLRACE_WORKERS is 99 and must be an integer from 1 to/],
      [["workers=2k"], /^MILLRACE_WORKERS is "2k"/],
      [["ringBytes=65537"], /power of two/],
      [["port=1"], /^port cannot be swept/],
      [["jvmArguments=x"], /^jvmArguments cannot be swept/],
      [["workers="], /empty value/],
      [["workers"], /is not name=values/],
      [["workers=4..1"], /no range/],
      [["workers=1", "MILLRACE_WORKERS=2"], /MILLRACE_WORKERS is swept twice/],
      [["streamsMax=1..200", "workers=1..2"], /more than 256 combinations/],
      [["constructor=1"], /is no setting/],
    ] as const)
      assert.throws(() => planSweep(words), { message });
  });
});

describe("sweepOrder", () => {
  it("runs each combination once a round, in orders that differ and repeat under their seed", () => {
    const plan = planSweep(["workers=1..8"]);
    const orders = (seed: number): string[][] => {
      const all = [...sweepOrder(plan, { rounds: 4, seed })];
      return [0, 1, 2, 3].map((round) =>
        all.filter((one) => one.round === round).map(({ combination }) => combinationText(combination)),
      );
    };
    const rounds = orders(1);
    for (const order of rounds) assert.deepEqual([...order].sort(), plan.map(combinationText));
    assert.ok(new Set(rounds.map(String)).size > 1);
    assert.deepEqual(orders(1), rounds);
    assert.notDeepEqual(orders(2), rounds);
  });
});

function run(rate: number): BenchRecord {
  const summary = { count: 9, min_us: 1, mean_us: rate, max_us: 9, percentiles_us: [] };
  return {
    name: "append",
    values: { messages_per_s: rate, rss_mib: null, p50_us: rate },
    latencies: { ack: summary },
    threads: { driver: rate },
  };
}

const merged = (workers: string, rates: number[]): BenchRecord =>
  mergeRuns(rates.map(run), { parameters: { workers }, variables: {} });

describe("mergeRuns", () => {
  it("takes each run for a round, and the distribution of the middle one", () => {
    const record = merged("2", [30, 10, 20]);
    assert.equal(record.name, "append [workers=2]");
    assert.deepEqual(record.values, { messages_per_s: 20, rss_mib: null, p50_us: 20 });
    assert.deepEqual(record.rounds, { messages_per_s: [30, 10, 20], p50_us: [30, 10, 20] });
    assert.equal(record.latencies?.["ack"]?.mean_us, 20);
    assert.deepEqual(record.threads, { driver: 20 });
    assert.deepEqual(record.sweep, { case: "append", parameters: { workers: "2" } });
  });
});

describe("sweepLines", () => {
  const rows = [merged("1", [10, 11, 12]), merged("2", [28, 30, 32]), merged("4", [26, 27, 29])];

  it("marks the best, and those whose runs reach into its runs", () => {
    assert.deepEqual(marksOf("messages_per_s", rows), [" ", "*", "="]);
    assert.deepEqual(marksOf("p50_us", rows), ["*", " ", " "]);
    assert.deepEqual(marksOf("rss_mib", rows), [" ", " ", " "]);
  });

  it("shows each combination with its spread, in lines that fit a terminal", () => {
    const lines = sweepLines(rows);
    assert.match(lines.join("\n"), /^ {2}workers=2 +30 +±7%\* +30 +±7%$/m);
    for (const line of lines) assert.ok(line.length <= TABLE_WIDTH, line);
  });
});

function directoryFor(t: TestContext): string {
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-sweep-test-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

describe("bench sweep", () => {
  it("runs an engine under each combination, and writes a result, a table and a page", async (t) => {
    const directory = directoryFor(t);
    const [out, page] = [path.join(directory, "sweep.json"), path.join(directory, "sweep.html")];
    const words = ["sweep", "ingest", "blockBytes=64k,256k", "--case", "64 KiB batches, Memory"];
    const options = ["--seconds", "0.1", "--rounds", "2", "--out", out, "--report", page];
    const { code, stdout, stderr } = await runProgram(t, [runScript, ...words, ...options]);
    assert.equal(code, 0, stderr);
    assert.equal(stderr.match(/round [12]: blockBytes=/g)?.length, 4);
    assert.match(stdout, /^ {2}blockBytes=64k +[\d,]+ +/m);
    const { records, environment } = readResult(out);
    assert.deepEqual(
      records.map(({ sweep }) => sweep?.parameters),
      [{ blockBytes: "64k" }, { blockBytes: "256k" }],
    );
    for (const { rounds } of records) assert.equal(rounds?.["messages_per_s"]?.length, 2);
    assert.equal(environment.settings["sweep"], "blockBytes=64k,256k");
    assert.equal(environment.settings["MILLRACE_BLOCK_BYTES"], undefined);
    assert.match(readFileSync(page, "utf8"), /class="plot sweep"/);
  });

  it("refuses before anything runs, and says what a run said that failed", async (t) => {
    for (const [args, code, message] of [
      [["ring", "workers=1"], 2, /"ring" runs no engine; sweep takes one of ingest,/],
      [["nothing", "workers=1"], 2, /"nothing" is no bench/],
      [["ingest"], 2, /sweep takes settings/],
      [["ingest", "workers=1", "--rounds", "0"], 2, /--rounds is "0"/],
      [["ingest", "workers=1", "--report", tmpdir()], 2, /--report .*: is a directory/],
      [["ingest", "workers=1", "--out", "/dev/null/sweep.json"], 2, /--out .*: \/dev\/null is no directory/],
      [
        ["ingest", "workers=1", "--case", "no such case"],
        1,
        /ended with 2: bench: no case of "ingest" contains/,
      ],
    ] as const) {
      const { code: found, stderr, stdout } = await runProgram(t, [runScript, "sweep", ...args]);
      assert.deepEqual([found, stdout], [code, ""], stderr);
      assert.match(stderr, message);
    }
  });
});
