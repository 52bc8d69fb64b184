import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { EngineProcess } from "../support/engine-process.ts";
import { FakeKinesisServer } from "../support/fake-kinesis-server.ts";
import { type EnduranceCounts, runEnduranceLoad } from "./endurance-load.ts";

/** `npm run soak` says for how long; the everyday form only shows that all of it works. */
const seconds = Number(process.env["ENDURANCE_SECONDS"] ?? "6");
/** Before, caches and heaps fill, and a trend means nothing. */
const JUDGED_SECONDS_MIN = 300;
const DRAIN_MS_MAX = 120_000;
const SAMPLES = 400;
/** Of the middle third's median, and never below: a heap may be about to be collected. */
const GROWTH_MAX = 0.08;
const GROWTH_MIB_MIN = 12;
const DESCRIPTORS_GROWTH_MAX = 4;

interface Sample {
  readonly residentMib: number;
  readonly descriptors: number;
  readonly threads: number;
}

function sampleOf(pid: number): Sample {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1]);
  return {
    residentMib: field("VmRSS") / 1024,
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    threads: field("Threads"),
  };
}

function middleOf(samples: readonly Sample[], of: (sample: Sample) => number): number {
  const sorted = samples.map(of).sort((a, b) => a - b);
  return sorted[sorted.length >> 1]!;
}

test(
  "an engine under everything at once keeps its memory and its descriptors",
  { timeout: seconds * 1000 + DRAIN_MS_MAX + 60_000 },
  async (t) => {
    const kinesis = await FakeKinesisServer.start();
    t.after(() => kinesis.close());
    const engine = await EngineProcess.start(t, {
      env: {
        AWS_ACCESS_KEY_ID: "test",
        AWS_SECRET_ACCESS_KEY: "test",
        AWS_REGION: "eu-west-1",
        AWS_ENDPOINT_URL_KINESIS: kinesis.url,
      },
    });
    const counts: EnduranceCounts = {
      batched: 0,
      single: 0,
      read: 0,
      pushed: 0,
      exported: 0,
      visits: 0,
      outages: 0,
    };
    kinesis.answer = ({ data }) => {
      counts.exported += data.length;
      // What came is counted; an hour of it would fill this process.
      kinesis.requests.length = 0;
      kinesis.stored.clear();
      return { kind: "accept" };
    };
    const ended = new AbortController();
    t.after(() => ended.abort());
    const load = runEnduranceLoad({ engine, kinesis, signal: ended.signal, counts });
    // A part that fails ends the run at once.
    load.catch(() => ended.abort());
    const { pid } = engine.serve.child;
    assert.ok(pid !== undefined);
    const samples: Sample[] = [];
    for (let index = 0; index < SAMPLES && !ended.signal.aborted; index += 1) {
      await after((seconds * 1000) / SAMPLES);
      samples.push(sampleOf(pid));
    }
    ended.abort();
    await load;
    const { code, stderr } = await engine.stop();
    assert.equal(code, 0, stderr);

    const third = Math.floor(samples.length / 3);
    const middle = samples.slice(third, 2 * third);
    const last = samples.slice(2 * third);
    const residentMib = (part: readonly Sample[]): number => middleOf(part, (sample) => sample.residentMib);
    const descriptorsMax = (part: readonly Sample[]): number =>
      Math.max(...part.map(({ descriptors }) => descriptors));
    const figures = {
      seconds,
      ...counts,
      middleResidentMib: residentMib(middle),
      lastResidentMib: residentMib(last),
      middleDescriptorsMax: descriptorsMax(middle),
      lastDescriptorsMax: descriptorsMax(last),
      threadsMax: Math.max(...samples.map(({ threads }) => threads)),
    };
    t.diagnostic(JSON.stringify(figures));
    for (const [name, count] of Object.entries(counts)) assert.ok(count > 0, `${name}: nothing was done`);
    assert.ok(counts.exported >= counts.single, "each message was sent at least once");
    assert.ok(
      figures.lastDescriptorsMax <= figures.middleDescriptorsMax + DESCRIPTORS_GROWTH_MAX,
      `descriptors grew from ${figures.middleDescriptorsMax} to ${figures.lastDescriptorsMax}`,
    );
    if (seconds < JUDGED_SECONDS_MIN) return;
    const growthMib = figures.lastResidentMib - figures.middleResidentMib;
    const growthMibMax = Math.max(GROWTH_MIB_MIN, figures.middleResidentMib * GROWTH_MAX);
    assert.ok(
      growthMib <= growthMibMax,
      `memory grew by ${growthMib} MiB, at most ${growthMibMax} are taken`,
    );
  },
);
