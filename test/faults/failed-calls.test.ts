import assert from "node:assert/strict";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { changesOf, type ShimCall } from "../support/fault-shim.ts";
import { requireProgram } from "../support/require-program.ts";
import { testSeed } from "../support/seeded-random.ts";
import type { EngineProcess } from "../support/engine-process.ts";
import { byLength, isSoak } from "../support/test-length.ts";
import { FaultRun, plainAndFlushed, withClient } from "./fault-run.ts";

/** Of all pairs of a call and an error one in so many is taken. */
const PAIR_STRIDE = byLength({ everyday: 13, long: 7 });

const options = { timeout: 600_000 };
const KIB = 1024;
const ANSWERS = 10;

const streams = [
  ...plainAndFlushed,
  {
    name: "overwritten",
    strategyOnFull: StrategyOnFull.OverwriteOldestData,
    streamSegmentSize: 8 * KIB,
    maxSize: 24 * KIB,
  },
];

async function startRun(t: TestContext): Promise<{ run: FaultRun; engine: EngineProcess } | undefined> {
  if (!requireProgram(t, "gcc", "build the shim that makes file calls fail")) return undefined;
  const run = new FaultRun(t, { seed: testSeed, streams, meetsFaults: true });
  const engine = await run.startUnderShim();
  await run.createStreams(engine);
  await run.load(engine, { answers: ANSWERS });
  return { run, engine };
}

/** Dies without a word, so that what counts is what the files hold, and is compared. */
async function killAndCheck(run: FaultRun, engine: EngineProcess): Promise<void> {
  await run.check(engine, { hint: `before the kill, SEED=${testSeed}` });
  await engine.kill();
  const next = await run.start();
  await run.check(next, { hint: `after the kill, SEED=${testSeed}` });
  await next.stop();
}

/** The faults that struck; at least one. */
function struckIn(run: FaultRun): ShimCall[] {
  const struck = run.shim.calls().filter(({ fault }) => fault !== undefined);
  assert.ok(struck.length > 0, "no call met the rule");
  return struck;
}

/**
 * A second sync of a file would claim success for pages that the first one dropped. The writer hears of the failure a moment
 * later, and may write until then, but not once it has made another file.
 */
function assertNoSecondSync(calls: readonly ShimCall[]): void {
  const failed = new Set<string>();
  const replaced = new Set<string>();
  for (const { number, call, path: file, fault } of changesOf(calls)) {
    if (call === "fdatasync") assert.ok(!failed.has(file), `call ${number}: a second sync of ${file}`);
    if (call === "pwrite") assert.ok(!replaced.has(file), `call ${number}: a write to ${file}`);
    if (call === "fdatasync" && fault !== undefined) failed.add(file);
    if (call !== "create") continue;
    for (const old of failed) if (path.dirname(old) === path.dirname(file)) replaced.add(old);
  }
  assert.ok(failed.size > 0, "no sync failed");
  assert.ok(replaced.size > 0, "no segment was replaced");
}

describe("an engine whose file calls fail", options, () => {
  for (const code of ["EIO", "ENOSPC"]) {
    it(`answers a sync that fails with ${code} by writing everything again elsewhere`, async (t) => {
      const started = await startRun(t);
      if (started === undefined) return;
      const { run, engine } = started;
      for (let round = 0; round < 3; round++) {
        run.shim.setRules(`fdatasync .lz4 1 ${code}`);
        await run.load(engine, { answers: 2 * ANSWERS });
      }
      assertNoSecondSync(run.shim.calls());
      assert.equal(run.unknownCount, 0, "a disk that takes the new file leaves nobody in doubt");
      await killAndCheck(run, engine);
    });
  }

  it("cuts what a failed write left behind, and gives up a segment that cannot be cut", async (t) => {
    const started = await startRun(t);
    if (started === undefined) return;
    const { run, engine } = started;
    for (const rules of [
      ["pwrite .lz4 1 EIO"],
      ["pwrite .lz4 2 TORN:50%:EIO"],
      // All of it was written, and the call says otherwise.
      ["pwrite .lz4 3 TORN:100%:EIO"],
      ["pwrite .lz4 1 TORN:50%:EIO", "ftruncate .lz4 1 EIO"],
    ]) {
      run.shim.setRules(...rules);
      await run.load(engine, { answers: ANSWERS });
    }
    assert.ok(struckIn(run).length >= 5);
    // At times it is padding that this meets, which nobody waits for.
    for (let tries = 0; run.unknownCount === 0; tries++) {
      assert.ok(tries < 20, "a failed write leaves somebody in doubt");
      run.shim.setRules("pwrite .lz4 1 TORN:50%:EIO");
      await run.load(engine, { answers: ANSWERS });
    }
    await killAndCheck(run, engine);
  });

  it("makes another segment when the directory of a new one cannot be synced", async (t) => {
    const started = await startRun(t);
    if (started === undefined) return;
    const { run, engine } = started;
    run.shim.setRules("fsync /streams/ 1 EIO", "fsync /streams/ 3 EIO");
    await run.load(engine, { answers: 6 * ANSWERS });
    assert.equal(struckIn(run).length, 2);
    await killAndCheck(run, engine);
  });

  it("goes on after short writes and gives up after three that wrote nothing", async (t) => {
    const started = await startRun(t);
    if (started === undefined) return;
    const { run, engine } = started;
    run.shim.setRules("pwrite .lz4 1-60 SHORT:700", "pwrite .lz4 65 ZERO", "pwrite .lz4 70-71 ZERO");
    await run.load(engine, { answers: 2 * ANSWERS });
    assert.equal(run.unknownCount + run.rejectedCount, 0, "a short write is no failure");
    // At times it is padding that this meets, which nobody waits for.
    for (let tries = 0; run.unknownCount === 0; tries++) {
      assert.ok(tries < 20, "writes that wrote nothing left nobody in doubt");
      run.shim.setRules("pwrite .lz4 1-3 ZERO");
      await run.loadAcknowledged(engine, { answers: ANSWERS });
    }
    await killAndCheck(run, engine);
  });

  it("refuses a batch that the full disk took nothing of, and does not know of one that it took part of", async (t) => {
    const started = await startRun(t);
    if (started === undefined) return;
    const { run, engine } = started;
    run.shim.setRules("pwrite .lz4 * ENOSPC");
    await run.loadUntil(engine, ({ failureTexts }) => failureTexts.size > 0);
    assert.ok(run.rejectedCount > 0);
    assert.equal(run.unknownCount, 0);
    const parts = isSoak ? ["1", "75", "76", "77", "511", "512", "50%", "-1"] : ["1", "50%", "-1"];
    for (const part of parts) {
      // The call says that it took nothing, and yet bytes are there.
      run.shim.setRules(`pwrite .lz4 * TORN:${part}:ENOSPC`);
      await run.loadUntil(engine, ({ failureTexts }) => failureTexts.size > 0);
      assert.equal(run.unknownCount, 0);
      run.shim.setRules();
      await run.loadAcknowledged(engine, { answers: ANSWERS });
    }
    for (const part of parts) {
      // The call says how much it took, and the next one that there is no room; at times it is padding that this meets.
      const before: number = run.unknownCount;
      while (run.unknownCount === before) {
        run.shim.setRules(`pwrite .lz4 1 SHORT:${part}`, "pwrite .lz4 2+ ENOSPC");
        await run.loadUntil(engine, ({ failureTexts }) => failureTexts.size > 0);
        // There is room again, and what was left of the batch is out of the way.
        run.shim.setRules();
        await run.loadAcknowledged(engine, { answers: ANSWERS });
      }
    }
    await killAndCheck(run, engine);
  });

  it("becomes read-only within a second while every write fails, and comes back by itself", async (t) => {
    const started = await startRun(t);
    if (started === undefined) return;
    const { run, engine } = started;
    // Where the first call that fails is a write, there may be none to sync: one sync fails before.
    run.shim.setRules("fdatasync .lz4 1 EIO");
    await run.load(engine, { answers: 2 * ANSWERS });
    run.shim.setRules("pwrite .lz4 * EIO", "fdatasync .lz4 * EIO", "create .lz4 * EIO");
    const failingMs = performance.now();
    await run.loadUntil(engine, ({ failureTexts }) =>
      [...failureTexts].some((text) => text.includes("does not take writes")),
    );
    const readOnlyMs = performance.now() - failingMs;
    // What was stored before can be read.
    await withClient(engine, async (client) => {
      const messages = await client.readMessages("flushed", {
        desiredStartSequenceNumber: 0,
        minMessageCount: 1,
      });
      assert.equal(messages[0]!.sequenceNumber, 0);
    });
    run.shim.setRules();
    const healedMs = performance.now();
    await run.loadAcknowledged(engine, { answers: ANSWERS });
    const backMs = performance.now() - healedMs;
    assertNoSecondSync(run.shim.calls());
    assert.ok(backMs < 60_000, `took ${backMs} ms to come back`);
    t.diagnostic(JSON.stringify({ readOnlyMs: Math.round(readOnlyMs), backMs: Math.round(backMs) }));
    await killAndCheck(run, engine);
    const { stderr } = await engine.serve.finished();
    assert.match(stderr, /"stream\.read-only"[^]*"stream\.restored"/, stderr);
  });

  it("survives any error of any call, once", async (t) => {
    const started = await startRun(t);
    if (started === undefined) return;
    const { run, engine } = started;
    const calls = ["pwrite", "fdatasync", "fsync", "create", "unlink", "open"];
    const codes = [
      "EIO",
      "ENOSPC",
      "EDQUOT",
      "EFBIG",
      "EMFILE",
      "ENFILE",
      "EINTR",
      "EAGAIN",
      "ENOMEM",
      "EACCES",
    ];
    const pairs = calls.flatMap((call) => codes.map((code) => [call, code] as const));
    const chosen = isSoak ? pairs : pairs.filter((_pair, index) => index % PAIR_STRIDE === 0);
    let struck = 0;
    for (const [call, code] of chosen) {
      const before = run.shim.calls().length;
      // What follows a failed write may fail too.
      run.shim.setRules(`${call} /streams/ 2 ${code}`, `ftruncate /streams/ 1 ${code}`);
      await run.load(engine, { answers: ANSWERS });
      run.shim.setRules();
      await run.check(engine, { hint: `${call} failed with ${code}, SEED=${testSeed}` });
      const made = run.shim.calls().slice(before);
      struck += made.some(({ fault }) => fault !== undefined) ? 1 : 0;
    }
    await run.loadAcknowledged(engine, { answers: ANSWERS });
    assert.ok(struck >= 0.6 * chosen.length, `only ${struck} faults struck`);
    t.diagnostic(JSON.stringify({ pairs: chosen.length, struck }));
    await killAndCheck(run, engine);
  });
});
