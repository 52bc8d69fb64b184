import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { SyncFigures } from "../../../src/cli/doctor/sync-probe.ts";
import { choose } from "../../../src/cli/tune/tune-choice.ts";
import type { Dimension, FlushFigures } from "../../../src/cli/tune/tune-plan.ts";
import { formatReport, reportToToml, type TuneReport } from "../../../src/cli/tune/tune-report.ts";

const latency = { count: 9, p50: 2, p90: 3, p99: 4, max: 5 };
const syncs: SyncFigures = { small: latency, large: latency, group: latency, create: latency };

function dimension(defaultValue: number, rates: Readonly<Record<number, readonly number[]>>): Dimension {
  const candidates = Object.entries(rates).map(([value, of]) => ({
    value: Number(value),
    rates: of,
    cpuSecondsPerMillion: 0.5,
    peakMib: undefined,
  }));
  return { candidates, choice: choose(candidates, defaultValue), defaultValue };
}

const flush = (rates: readonly number[], awaitedP50Ms: number): FlushFigures => ({
  rates,
  awaitedP50Ms,
  awaitedP99Ms: 2 * awaitedP50Ms,
});

const report: TuneReport = {
  machine: { cores: 4, memoryBytes: 2 ** 30, directory: "/var/lib" },
  syncs,
  figures: {
    workers: dimension(2, { 1: [90, 95, 100], 2: [100, 110, 120], 3: [200, 210, 220] }),
    blockBytes: dimension(262_144, { 65_536: [100, 130, 100], 262_144: [100, 104, 108] }),
    unflushed: flush([1000, 1100, 1200], 0.5),
    flushed: flush([700, 550, 600], 5),
    rounds: 3,
    secondsPerRound: 1.25,
  },
  settings: { profile: "small", workers: 3 },
};

describe("the report of millrace tune", () => {
  it("shows each candidate, what was chosen and how sure that is", () => {
    const text = formatReport(report);
    assert.match(text, /^4 cores, 1024 MiB of memory, store on the disk of \/var\/lib$/m);
    assert.match(text, /^ +3 +210 +200 +220 +0\.50 +unknown +chosen$/m);
    assert.match(text, /^ +2 +110 +100 +120 +0\.50 +unknown +default$/m);
    assert.match(
      text,
      /^workers: 3, 91 % above the default by the median, and faster in every round; .* differ by up to 18 %$/m,
    );
    assert.match(text, /^block size: the default, 256 KiB, was the fastest; .* by up to 30 %$/m);
    assert.match(text, /^flushOnWrite: 55 % of the rate in batches, and 10\.0 times the wait/m);
    assert.match(text, /^ {2}workers = 3 +MILLRACE_WORKERS=3$/m);
    assert.match(text, /^ {2}profile = "small" +MILLRACE_PROFILE=small$/m);
  });

  it("says of no difference within the noise how large it is", () => {
    const figures = { ...report.figures, flushed: flush([1500, 900, 1300], 0.5) };
    const text = formatReport({ ...report, figures, settings: {} });
    assert.match(text, /^flushOnWrite: in batches a rate that differs within the noise, and 1\.0 times/m);
    assert.match(text, /^settings: none; the defaults suit this machine$/m);
  });

  it("writes a settings file of what was chosen, with the reasons", () => {
    const lines = reportToToml(report).split("\n");
    assert.deepEqual(
      lines.filter((line) => !line.startsWith("#")),
      ['profile = "small"', "workers = 3", ""],
    );
    assert.ok(lines.some((line) => line.startsWith("# workers: 3, 91 % above the default")));
  });
});
