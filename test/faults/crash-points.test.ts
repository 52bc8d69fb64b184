import assert from "node:assert/strict";
import { cpSync, rmSync } from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { changesOf } from "../support/fault-shim.ts";
import { requireProgram } from "../support/require-program.ts";
import { seededRandom, testSeed } from "../support/seeded-random.ts";
import { byLength, isSoak, SOAK_TIMEOUT_MS } from "../support/test-length.ts";
import { runCrashWorkload } from "./crash-workload.ts";
import { FaultRun } from "./fault-run.ts";

/** Kills outside of a soak, spread evenly over the whole life, at places that the seed decides. */
const KILLS = byLength({ everyday: 2, long: 5 });
const TORN = isSoak ? 100 : byLength({ everyday: 3, long: 4 });
const RECOVERY_KILLS = byLength({ everyday: 1, long: 3 });
/** Where a write is torn, by the bytes that are written. */
const tornAt = ["1", "511", "512", "50%", "-1"] as const;

const options = { timeout: isSoak ? SOAK_TIMEOUT_MS : 600_000 };

function requireShim(t: TestContext): boolean {
  return requireProgram(t, "gcc", "build the shim that makes file calls fail");
}

/** One place in each of `count` equal parts of [1, end]. */
function spread(end: number, count: number, seed: number): number[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, (_, part) =>
    Math.min(end, 1 + Math.floor(((part + random.fraction()) * end) / count)),
  );
}

describe("an engine that dies in a file call", options, () => {
  it("keeps every acknowledged message, at whichever call it dies", async (t) => {
    if (!requireShim(t)) return;
    const whole = await runCrashWorkload(t, { rules: [], seed: testSeed });
    assert.ok(!whole.isKilled);
    const total = whole.calls.length;
    assert.ok(total > 150, `a life of only ${total} calls`);
    const every = Array.from({ length: total }, (_, index) => index + 1);
    const places = isSoak ? every : spread(total, KILLS, testSeed);
    let killed = 0;
    let restartMsMax = 0;
    for (const place of places) {
      const outcome = await runCrashWorkload(t, { rules: [`any * ${place} KILL`], seed: testSeed });
      if (outcome.isKilled) killed += 1;
      restartMsMax = Math.max(restartMsMax, outcome.restartMs);
    }
    // How batches meet in blocks is a matter of time, so that a life has a few calls more or less.
    assert.ok(killed >= 0.9 * places.length - 1, `only ${killed} of ${places.length} were killed`);
    const figures = { places: places.length, killed, calls: total, restartMsMax: Math.round(restartMsMax) };
    t.diagnostic(JSON.stringify({ ...figures, seed: testSeed }));
  });

  it("keeps every acknowledged message when a write is torn, wherever it is torn", async (t) => {
    if (!requireShim(t)) return;
    let killed = 0;
    let tornTails = 0;
    for (const [index, place] of spread(100, TORN, testSeed + 1).entries()) {
      const rules = [`pwrite .lz4 ${place} TORN:${tornAt[index % tornAt.length]!}`];
      const outcome = await runCrashWorkload(t, { rules, seed: testSeed + index });
      if (outcome.isKilled) killed += 1;
      tornTails += outcome.tornTails;
    }
    assert.ok(killed >= 0.9 * TORN - 1, `only ${killed} of ${TORN} were killed`);
    assert.ok(tornTails > 0, "no torn tail was cut");
    t.diagnostic(JSON.stringify({ kills: TORN, killed, tornTails, seed: testSeed }));
  });

  it("in the middle of its recovery comes to the same store at the next start", async (t) => {
    if (!requireShim(t)) return;
    const run = new FaultRun(t, { seed: testSeed, windowMax: 2 });
    const saved = temporaryDirectory(t);
    await makeTornStore(t, run, saved);
    // How many calls a recovery makes.
    run.shim.clearLog();
    run.shim.setRules();
    const whole = await run.startUnderShim();
    const total = changesOf(run.shim.calls()).length;
    await run.check(whole);
    await whole.kill();
    const every = Array.from({ length: total }, (_, index) => index + 1);
    for (const place of isSoak ? every : spread(total, RECOVERY_KILLS, testSeed)) {
      restore(run, saved);
      run.shim.setRules(`any * ${place} KILL`);
      const first = EngineProcess.spawn(t, {
        env: { ...run.env, ...run.shim.env },
        storeDirectory: run.storeDirectory,
      });
      const { signal } = await first.finished();
      assert.equal(signal, "SIGKILL", `call ${place} of ${total}`);
      const second = await run.start();
      await run.check(second, { hint: `recovery killed at call ${place}, SEED=${testSeed}` });
      await second.kill();
    }
    t.diagnostic(JSON.stringify({ recoveryCalls: total, seed: testSeed }));
  });
});

/** A store whose engine died in the middle of a write, kept in `saved`. */
async function makeTornStore(t: TestContext, run: FaultRun, saved: string): Promise<void> {
  run.shim.setRules("pwrite .lz4 60 TORN:50%");
  const engine = await run.startUnderShim();
  await run.createStreams(engine);
  await run.load(engine, { answers: 1000 });
  const { signal } = await engine.serve.finished();
  assert.equal(signal, "SIGKILL");
  assert.ok(run.acknowledgedCount > 20);
  cpSync(path.join(run.storeDirectory, "store"), saved, { recursive: true, filter: isNoSocket });
  t.diagnostic(`${run.acknowledgedCount} messages were acknowledged`);
}

function restore(run: FaultRun, saved: string): void {
  const store = path.join(run.storeDirectory, "store");
  rmSync(store, { recursive: true });
  cpSync(saved, store, { recursive: true, preserveTimestamps: true });
}

function isNoSocket(source: string): boolean {
  return !source.endsWith(".sock");
}
