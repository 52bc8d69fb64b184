import assert from "node:assert/strict";
import { test } from "node:test";
import { EXPORT_READERS_MAX } from "../../src/core/limits.ts";
import { EXPORT_POOL_THREADS_DEFAULT } from "../../src/core/thread-limits.ts";
import { testSeed } from "../support/seeded-random.ts";
import { EngineFuzz } from "./engine-fuzz.ts";
import { EngineInputs } from "./engine-inputs.ts";
import { fuzzTarget } from "./fuzz-thread.ts";
import { FuzzedEngine } from "./fuzzed-engine.ts";

const MIB = 1024 * 1024;
/** `FUZZ_ENGINE_INPUTS=1000000` is the long form. */
const inputCount = Number(process.env["FUZZ_ENGINE_INPUTS"] ?? 4000);
const isSoak = inputCount > 100_000;
/** Of an export worker: two polls and two events of its loop, and the segments that it keeps open. */
const THREAD_DESCRIPTORS = 4 + EXPORT_READERS_MAX;
/** Before what it holds is taken as the measure: code is compiled, threads are started, pools are filled. */
const WARM_UP_INPUTS = isSoak ? 50_000 : 1500;
/** Inputs of the targets without an engine, whose corpus is mutated further. */
const CORPUS_RUNS = 100_000;
const HEAP_GROWTH_BYTES_MAX = 8 * MIB;
const RSS_GROWTH_BYTES_MAX = 64 * MIB;
const timeout = isSoak ? 4 * 60 * 60_000 : 120_000;

test(
  "an engine goes on serving a good client under mutated requests, and holds no more afterwards",
  { timeout },
  async (t) => {
    const corpusOf = async (name: string): Promise<readonly Uint8Array[]> =>
      isSoak ? (await fuzzTarget({ name, runs: CORPUS_RUNS, seed: testSeed })).corpus : [];
    const official = await corpusOf("operations");
    const own = await corpusOf("own-layouts");
    const target = await FuzzedEngine.start(t);
    const fuzz = new EngineFuzz(target, new EngineInputs({ seed: testSeed, official, own }));
    t.after(() => fuzz.close());

    await fuzz.run(WARM_UP_INPUTS);
    await fuzz.close();
    const before = await target.held();
    await fuzz.run(inputCount);
    await fuzz.close();
    const after = await target.held();
    const figures = {
      ...fuzz.counts,
      heapGrowthMib: (after.heapUsed - before.heapUsed) / MIB,
      buffersGrowthMib: (after.arrayBuffers - before.arrayBuffers) / MIB,
      rssGrowthMib: (after.rss - before.rss) / MIB,
      rssMib: after.rss / MIB,
    };
    t.diagnostic(JSON.stringify(figures));

    const seed = `SEED=${testSeed}`;
    assert.ok(after.heapUsed - before.heapUsed < HEAP_GROWTH_BYTES_MAX, `${seed} ${JSON.stringify(figures)}`);
    assert.ok(after.arrayBuffers - before.arrayBuffers < HEAP_GROWTH_BYTES_MAX, seed);
    assert.ok(after.rss - before.rss < RSS_GROWTH_BYTES_MAX, `${seed} ${JSON.stringify(figures)}`);
    // A mutated definition may start an export worker, which ends once it has been idle for a minute.
    const threads = after.threads - before.threads;
    assert.ok(threads <= EXPORT_POOL_THREADS_DEFAULT, `${seed} ${threads} threads more`);
    const descriptors = after.descriptors - before.descriptors;
    const most = THREAD_DESCRIPTORS * Math.max(0, threads);
    assert.ok(descriptors <= most, `${seed} ${descriptors} descriptors more, ${threads} threads`);
    await target.stop();
  },
);
