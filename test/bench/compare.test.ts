import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import type { BenchEnvironment } from "../../bench/environment.ts";
import { figureKind } from "../../bench/figure-kinds.ts";
import { writeResult, type BenchResult } from "../../bench/result-file.ts";
import { emptyCaseValues } from "../../bench/scenario/case-record.ts";
import { compareResults } from "../../bench/tool/comparison.ts";
import { ratioInterval } from "../../bench/tool/ratio-interval.ts";
import { runProgram } from "../support/program.ts";
import { seededRandom, testSeed } from "../support/seeded-random.ts";
import { resultOf } from "../support/bench-result.ts";

const runScript = path.join(import.meta.dirname, "..", "..", "bench", "run.js");

/** Noise of a tenth around `centre`, skewed as times are. */
function noisyRounds(
  random: { fraction(): number },
  { centre, count }: { centre: number; count: number },
): number[] {
  return Array.from(
    { length: count },
    () => centre * (1 + 0.1 * (random.fraction() - random.fraction() ** 2)),
  );
}

describe("ratioInterval", () => {
  it("seldom excludes 1 where nothing differs, and finds a difference over the noise", () => {
    const random = seededRandom(testSeed);
    const trials = 150;
    let wrong = 0;
    let found = 0;
    for (let trial = 0; trial < trials; trial++) {
      const rounds = (centre: number): number[][] => [noisyRounds(random, { centre, count: 7 })];
      const same = ratioInterval(rounds(100), rounds(100))!;
      const more = ratioInterval(rounds(100), rounds(120))!;
      if (same.low > 1 || same.high < 1) wrong += 1;
      if (more.low > 1) found += 1;
    }
    // The 5 % that it promises, and what a median of seven adds to them.
    assert.ok(wrong / trials <= 0.13, `SEED=${testSeed}: ${wrong} of ${trials}`);
    assert.ok(found / trials >= 0.95, `SEED=${testSeed}: ${found} of ${trials}`);
  });

  it("is the same for the same rounds, and says nothing of a single value or of zero", () => {
    const rounds = [[1, 2, 3, 4, 5]];
    assert.deepEqual(ratioInterval(rounds, rounds), ratioInterval(rounds, rounds));
    assert.equal(ratioInterval([[1]], rounds), undefined);
    assert.equal(ratioInterval([[0, 0]], rounds), undefined);
    assert.equal(ratioInterval([[0, 1, 1]], rounds), undefined);
  });

  it("takes runs that differ from each other for more than the rounds within them", () => {
    const base = [[100, 101, 99, 100, 100]];
    const one = ratioInterval(base, [[110, 111, 109, 110, 110]])!;
    assert.ok(one.low > 1);
    const two = ratioInterval(
      [...base, [115, 114, 116, 115, 115]],
      [
        [110, 111, 109, 110, 110],
        [98, 99, 98, 98, 98],
      ],
    )!;
    assert.ok(two.low < 1 && two.high > 1);
  });
});

const fast = [110, 111, 112, 113, 114, 115, 116];
const slow = fast.map((value) => value / 2);

describe("compareResults", () => {
  it("knows which direction is better, and says when rounds are few or missing", () => {
    const record = (rounds: number[]) => ({
      name: "case",
      values: {
        messages_per_s: 1,
        ack_p50_us: 1,
        cpu_s_per_gb: 1,
        records_per_request: 1,
        rss_mib: 80,
        mib_per_s: null,
      },
      rounds: {
        messages_per_s: rounds,
        ack_p50_us: rounds,
        cpu_s_per_gb: rounds.slice(0, 3),
        records_per_request: rounds,
      },
    });
    const [a, b] = [slow, fast].map((rounds) => [{ path: "x", result: resultOf([record(rounds)]) }]);
    const { cases } = compareResults(a!, b!, { ratiosOnly: false });
    const twice = compareResults([...a!, ...a!], [...b!, ...b!], { ratiosOnly: false });
    assert.deepEqual(
      twice.cases[0]!.figures.map(({ verdict, note }) => [verdict, note]),
      [
        ["faster", null],
        ["slower", null],
        ["more", null],
        ["differs", null],
        ["no difference shown", "few rounds: 2 and 2"],
      ],
    );
    assert.deepEqual(
      cases[0]!.figures.map(({ key, ratio, verdict, note }) => [key, ratio, verdict, note]),
      [
        ["messages_per_s", 2, "faster", "within one run"],
        ["ack_p50_us", 2, "slower", "within one run"],
        ["cpu_s_per_gb", 2, "more", "few rounds: 3 and 3; within one run"],
        ["records_per_request", 2, "differs", "within one run"],
        ["rss_mib", 1, "one value", null],
      ],
    );
  });

  it("names what only one side has", () => {
    const side = (...names: string[]) => [
      { path: "x", result: resultOf(names.map((name) => ({ name, values: { rss_mib: 1 } }))) },
    ];
    const { cases, missing } = compareResults(side("both", "left"), side("right", "both"), {
      ratiosOnly: false,
    });
    assert.deepEqual(
      cases.map(({ name }) => name),
      ["both"],
    );
    assert.deepEqual(missing, { a: ["right"], b: ["left"] });
  });
});

describe("figureKind", () => {
  it("knows every figure of a case", () => {
    for (const key of Object.keys(emptyCaseValues)) assert.ok(figureKind(key).better !== null, key);
    assert.equal(figureKind("awaited_vs_echo_p50").better, "lower");
    assert.equal(figureKind("one_message_vs_sink").better, "higher");
    assert.equal(figureKind("something_else").better, null);
  });

  it("gives no verdict on what describes the disk or the driver", () => {
    for (const key of ["syncs_per_s", "driver_lag_p99_us", "driver_lag_max_us"])
      assert.equal(figureKind(key).better, null, key);
    assert.equal(figureKind("messages_per_s").better, "higher");
  });

  it("says of each figure of bytes and memory what it is of", () => {
    for (const key of ["written_per_payload_byte", "rewritten_per_payload_byte"]) {
      assert.equal(figureKind(key).better, "lower", key);
      assert.doesNotMatch(figureKind(key).meaning, /below 1/, key);
    }
    assert.match(figureKind("stored_bytes_per_payload_byte").meaning, /below 1/);
    assert.match(figureKind("sender_cpu_s_per_gb").meaning, /process that sends/);
    assert.match(figureKind("rss_mib").meaning, /at its peak/);
    for (const key of ["added_rss_mib", "rss_end_mib"])
      assert.doesNotMatch(figureKind(key).meaning, /peak/, key);
  });
});

function written(t: TestContext, results: Readonly<Record<string, BenchResult>>): string {
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-compare-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  for (const [name, result] of Object.entries(results)) writeResult(path.join(directory, name), result);
  return directory;
}

const records = (rounds: number[]) => [
  { name: "append", values: { messages_per_s: 1 }, rounds: { messages_per_s: rounds } },
  { name: "ratios", values: { one_vs_other: 0.5 } },
];

describe("bench compare", () => {
  it("prints ratios, verdicts, what differs and a warning, and pools several results a side", async (t) => {
    const busy: Partial<BenchEnvironment> = { load_average: 9, node: "v21.0.0", settings: { seconds: 2 } };
    const directory = written(t, {
      "a.json": resultOf(records(slow)),
      "b1.json": resultOf(records(fast)),
      "b2.json": resultOf(records(fast), busy),
    });
    const args = ["a.json", "b1.json,b2.json"].map((side) =>
      side
        .split(",")
        .map((name) => path.join(directory, name))
        .join(","),
    );
    const { code, stdout, stderr } = await runProgram(t, [runScript, "compare", ...args]);
    assert.equal(code, 0, stderr);
    assert.match(
      stdout,
      /messages_per_s +56\.5 +113 +2\.000 +1\.9\d\d to 2\.0\d\d {2}faster \(within one run; settings differ\)$/m,
    );
    assert.match(stdout, /^warning: one run on a side: a difference may be the run's and not the code's/m);
    assert.match(stdout, /one_vs_other +0\.5 +0\.5 +1\.000 +one value$/m);
    assert.match(stdout, /node: v20\.20\.2 and v21\.0\.0/);
    assert.match(stdout, /seconds: 1 and 2/);
    assert.match(stdout, /warning: .*b2\.json: load average 9 on 2 cores/);
    const json = await runProgram(t, [runScript, "compare", ...args, "--json"]);
    const told = JSON.parse(json.stdout) as {
      cases: { figures: { verdict: string }[] }[];
      differences: string[];
    };
    assert.equal(told.cases[0]?.figures[0]?.verdict, "faster");
    assert.equal(told.differences.length, 2);
  });

  it("finds rounds in results as benches write them", async (t) => {
    const directory = written(t, {});
    const paths = ["a.json", "b.json"].map((name) => path.join(directory, name));
    for (const out of paths) {
      const args = ["ring", "--case", "200 B", "--seconds", "0.07", "--out", out];
      const { code, stderr } = await runProgram(t, [runScript, ...args]);
      assert.equal(code, 0, stderr);
    }
    const { code, stdout, stderr } = await runProgram(t, [runScript, "compare", ...paths]);
    assert.equal(code, 0, stderr);
    assert.match(
      stdout,
      /^ {2}operations_per_s .* \d\.\d{3} to \d\.\d{3} {2}(faster|slower|no difference shown) \(within one run\)$/m,
    );
  });

  it("stands in the list of what there is, beside the other tools", async (t) => {
    const { stdout } = await runProgram(t, [runScript, "--help"]);
    for (const tool of ["compare", "report", "sweep", "profile"]) {
      assert.match(stdout, new RegExp(`^ {2}${tool} `, "m"));
      const help = await runProgram(t, [runScript, tool, "--help"]);
      assert.match(help.stdout, new RegExp(`^Usage: npm run bench -- ${tool} `));
    }
  });

  it("refuses results of two machines, but for ratios", async (t) => {
    const directory = written(t, {
      "a.json": resultOf(records(slow)),
      "b.json": resultOf(records(fast), { cpu: "Other CPU" }),
    });
    const args = [path.join(directory, "a.json"), path.join(directory, "b.json")];
    const refused = await runProgram(t, [runScript, "compare", ...args]);
    assert.equal(refused.code, 1);
    assert.match(
      refused.stderr,
      /two machines, which differ in cpu:\n.*a\.json: Test CPU, .*\n.*b\.json: Other CPU, /,
    );
    assert.equal(refused.stdout, "");
    const across = await runProgram(t, [runScript, "compare", ...args, "--across-machines", "--json"]);
    assert.equal(across.code, 0, across.stderr);
    const { cases } = JSON.parse(across.stdout) as { cases: { name: string; figures: { key: string }[] }[] };
    assert.deepEqual(
      cases.map(({ name, figures }) => [name, figures.map(({ key }) => key)]),
      [["ratios", ["one_vs_other"]]],
    );
  });

  it("takes a kernel that keeps a little more memory for the same machine", async (t) => {
    const directory = written(t, {
      "a.json": resultOf(records(slow)),
      "b.json": resultOf(records(fast), { memory_mib: 4096 + 80 }),
      "c.json": resultOf(records(fast), { memory_mib: 4096 + 90 }),
    });
    const [a, b, c] = ["a", "b", "c"].map((name) => path.join(directory, `${name}.json`));
    assert.equal((await runProgram(t, [runScript, "compare", a!, b!])).code, 0);
    const { code, stderr } = await runProgram(t, [runScript, "compare", a!, c!]);
    assert.equal(code, 1);
    assert.match(stderr, /two machines, which differ in memory_mib/);
  });

  it("refuses another bench, a file that is none, and a side too many", async (t) => {
    const directory = written(t, {
      "a.json": resultOf(records(slow)),
      "b.json": { ...resultOf(records(fast)), bench: "seal" },
      "c.json": resultOf(records(fast), { data_set: "tensors" }),
    });
    const [a, b] = [path.join(directory, "a.json"), path.join(directory, "b.json")];
    for (const [args, code, message] of [
      [[a, b], 1, /the bench ingest of .*a\.json with seal of/],
      [[a, path.join(directory, "none.json")], 1, /^bench: Cannot read the result .*none\.json: ENOENT.*\n$/],
      [[a], 2, /two sides/],
      [[a, ","], 2, /^bench: compare takes a result on each side, "," is none\n$/],
      [[a, path.join(directory, "c.json")], 1, /the data set inference of .*a\.json with tensors of/],
      [[a, a, "--bad"], 2, /--bad/],
    ] as const) {
      const { code: found, stderr } = await runProgram(t, [runScript, "compare", ...args]);
      assert.equal(found, code, stderr);
      assert.match(stderr, message);
    }
  });
});
