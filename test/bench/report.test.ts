import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import type { BenchRecord } from "../../bench/bench.ts";
import { resultPage } from "../../bench/page/result-page.ts";
import { writeResult } from "../../bench/result-file.ts";
import { inspectPage } from "../support/browser-inspection.ts";
import { BROWSER } from "../support/browser.ts";
import { resultOf } from "../support/bench-result.ts";
import { runProgram } from "../support/program.ts";
import { requireProgram } from "../support/require-program.ts";

const runScript = path.join(import.meta.dirname, "..", "..", "bench", "run.js");
const attack = `</td></svg><script>throw new Error("run")</script><img src=x onerror=alert(1)>"'&`;

function directoryFor(t: TestContext): string {
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-report-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

const latency = {
  count: 5000,
  min_us: 90,
  mean_us: 400,
  max_us: 25_000,
  percentiles_us: [
    [0, 90],
    [50, 300],
    [99, 2000],
    [99.9, 9000],
    [99.999, 25_000],
    [100, 25_000],
  ] as [number, number][],
};

function measured(name: string): BenchRecord {
  return {
    name,
    values: { messages_per_s: 2_000_000, ack_p50_us: 300, rss_mib: 170, one_vs_other: 0.5 },
    rounds: { messages_per_s: [1_900_000, 2_000_000, 2_100_000], ack_p50_us: [290, 300, 310] },
    latencies: { ack: latency },
    threads: { "engine mr-main": 1.5, "engine mr-stream": 2, driver: 1 },
  };
}

const swept = ["1", "2", "4"].flatMap((workers) =>
  ["65536", "262144"].map((blockBytes): BenchRecord => ({
    ...measured(`append [workers=${workers} blockBytes=${blockBytes}]`),
    sweep: { case: "append", parameters: { workers, blockBytes } },
  })),
);

const results = [
  { title: "first", result: resultOf([measured("append"), measured(attack)]) },
  { title: attack, result: resultOf([measured("append"), ...swept], { cpu: attack, load_average: 7 }) },
];

describe("resultPage", () => {
  it("escapes whatever comes from a file", () => {
    const page = resultPage(results);
    assert.ok(!page.includes("<script"));
    assert.ok(!page.includes("<img"));
    const shown = page.match(/&lt;script&gt;throw new Error\(&quot;run&quot;\)/g);
    assert.ok(shown !== null && shown.length > 4);
  });

  it("shows a result without figures, and values that no plot has a place for", () => {
    const odd = {
      name: "odd",
      values: { messages_per_s: 0, text: "words", none: null },
      rounds: { messages_per_s: [0, 0] },
    };
    const page = resultPage([
      { title: "empty", result: resultOf([]) },
      { title: "odd", result: resultOf([odd]) },
    ]);
    assert.match(page, /words/);
    assert.doesNotMatch(page, /NaN|Infinity|undefined/);
  });

  it("is whole in a browser: all plots, no error, nothing asked of the network", async (t) => {
    if (!requireProgram(t, BROWSER, "open the page of a result")) return;
    const selectors = {
      lines: ".latency g.series polyline",
      labels: ".latency .legend label",
      bars: ".bars .row",
      segments: ".bars .segment",
      dots: ".rounds .dot",
      ratios: ".ratios .dot",
      sweeps: ".sweep svg[role]",
      sweepLines: ".sweep g.series polyline",
      rows: "table.figures tbody tr",
      differing: ".environment .differs",
      warnings: ".warning",
    };
    // A click on a line's name hides it, and no other.
    const look = `document.querySelector(".latency .legend input.s1").click();
      [0, 1, 2].map((line) => getComputedStyle(document.querySelector(".latency g.s" + line)).display).join()`;
    const { complaints, requests, found, seen } = await inspectPage(t, resultPage(results), selectors, look);
    assert.equal(seen, "inline,none,inline");
    assert.deepEqual(complaints, []);
    assert.deepEqual(requests, []);
    assert.deepEqual(found, {
      lines: 9,
      labels: 9,
      bars: 9,
      segments: 27,
      dots: 54,
      ratios: 9,
      sweeps: 4,
      sweepLines: 8,
      rows: 9,
      differing: 1,
      warnings: 1,
    });
  });
});

describe("inspectPage", () => {
  it("sees what a page complains of and asks for", async (t) => {
    if (!requireProgram(t, BROWSER, "open a page")) return;
    const page =
      '<link rel="icon" href="data:,"><script>console.error("no"); throw new Error("bad")</script><img src="/other.png">';
    const { complaints, requests, found } = await inspectPage(t, page, { images: "img" });
    assert.match(complaints.join("\n"), /"no"[^]*Error: bad/);
    assert.deepEqual([requests.map((url) => new URL(url).pathname), found], [["/other.png"], { images: 1 }]);
  });
});

describe("bench report", () => {
  it("writes a page from files, and refuses to write one of nothing", async (t) => {
    const directory = directoryFor(t);
    const [resultFile, page] = [path.join(directory, "a.json"), path.join(directory, "deeper", "page.html")];
    writeResult(resultFile, resultOf([measured("append")]));
    const { code, stderr } = await runProgram(t, [runScript, "report", resultFile, "--out", page]);
    assert.equal(code, 0, stderr);
    assert.match(readFileSync(page, "utf8"), /<title>Millrace bench: ingest, 2026-11-27<\/title>/);
    for (const args of [[], [resultFile], ["--out", page]])
      assert.equal((await runProgram(t, [runScript, "report", ...args])).code, 2);
  });

  it("comes with a run that asks for it", async (t) => {
    const directory = directoryFor(t);
    const page = path.join(directory, "page.html");
    const out = path.join(directory, "ring.json");
    const args = ["ring", "--case", "200 B", "--seconds", "0.05", "--out", out, "--report", page];
    const { code, stderr } = await runProgram(t, [runScript, ...args]);
    assert.equal(code, 0, stderr);
    assert.match(readFileSync(page, "utf8"), /read 200 B records/);
  });
});
