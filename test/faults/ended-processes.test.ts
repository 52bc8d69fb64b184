import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { describe, it } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { MemoryGroup } from "../support/memory-group.ts";
import { Program } from "../support/program.ts";
import { requireProgram, skipOrFail } from "../support/require-program.ts";
import { testSeed } from "../support/seeded-random.ts";
import { isSoak } from "../support/test-length.ts";
import { FaultRun } from "./fault-run.ts";

const options = { timeout: 300_000 };
const ANSWERS = 20;
const MIB = 1024 * 1024;
const GROUP_BYTES = 160 * MIB;
const STOPPED_MS = isSoak ? 30_000 : 1500;

describe("an engine whose process", options, () => {
  it("is killed for want of memory has every acknowledged message at its next start", async (t) => {
    const group = MemoryGroup.make(t, GROUP_BYTES);
    if (typeof group === "string") {
      skipOrFail(t, group);
      return;
    }
    const run = new FaultRun(t, { seed: testSeed, windowMax: 32 });
    const engine = await run.start();
    await run.createStreams(engine);
    group.add(engine.serve.child.pid!);
    await run.startProducers(engine);
    await after(500);
    assert.equal(engine.serve.child.exitCode, null, "the engine itself stays within the limit");
    // Somebody else takes the memory, and the kernel's choice falls on the engine.
    writeFileSync(`/proc/${engine.serve.child.pid!}/oom_score_adj`, "1000");
    const script = `process.stdin.once("data", () => { const taken = []; for (;;) taken.push(Buffer.alloc(${8 * MIB}, 1)); });`;
    const greedy = new Program(t, ["--eval", script]);
    greedy.child.stdin.on("error", () => undefined);
    group.add(greedy.child.pid!);
    greedy.child.stdin.write("go\n");
    const { signal } = await engine.serve.finished();
    greedy.child.kill("SIGKILL");
    await greedy.finished();
    assert.equal(signal, "SIGKILL");
    await run.ended();
    assert.ok(run.acknowledgedCount > 0);
    const next = await run.start();
    await run.check(next);
    await next.stop();
  });

  it("is stopped for a while and goes on loses nothing", async (t) => {
    const run = new FaultRun(t, { seed: testSeed });
    const engine = await run.start();
    await run.createStreams(engine);
    await run.startProducers(engine);
    await after(200);
    engine.serve.child.kill("SIGSTOP");
    await after(STOPPED_MS);
    engine.serve.child.kill("SIGCONT");
    const resumedMs = performance.now();
    await run.untilAcknowledged({ answers: ANSWERS });
    const resumeMs = Math.round(performance.now() - resumedMs);
    await run.drain();
    await run.check(engine);
    await engine.stop();
    t.diagnostic(JSON.stringify({ stoppedMs: STOPPED_MS, resumeMs }));
  });

  it("crashes in native code ends at once, and the next one has every acknowledged message", async (t) => {
    const run = new FaultRun(t, { seed: testSeed });
    const engine = await run.start();
    await run.createStreams(engine);
    await run.startProducers(engine);
    await after(200);
    engine.serve.child.kill("SIGSEGV");
    const { signal } = await engine.serve.finished();
    assert.equal(signal, "SIGSEGV");
    await run.ended();
    assert.ok(run.acknowledgedCount > 0);
    await run.check(await run.start());
  });

  it("cannot be stopped cleanly, since a sync does not end, ends within its deadline all the same", async (t) => {
    if (!requireProgram(t, "gcc", "build the shim that makes file calls late")) return;
    const run = new FaultRun(t, { seed: testSeed, env: { MILLRACE_SHUTDOWN_MS: "500" }, meetsFaults: true });
    const engine = await run.startUnderShim();
    await run.createStreams(engine);
    run.shim.setRules("fdatasync .lz4 * DELAY:4000");
    await run.startProducers(engine);
    await after(300);
    const stoppedMs = performance.now();
    const { code, signal, stderr } = await engine.stop();
    const tookMs = performance.now() - stoppedMs;
    await run.ended();
    assert.ok(signal === null && code !== null, `ended by ${String(signal)}`);
    // Its deadline, the grace behind it, and the sync that is under way: no thread ends before its call does.
    assert.ok(tookMs < 15_000, `took ${tookMs} ms`);
    await run.check(await run.start());
    t.diagnostic(JSON.stringify({ code, tookMs: Math.round(tookMs), said: stderr.split("\n")[0] }));
  });
});
