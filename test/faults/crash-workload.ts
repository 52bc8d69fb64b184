import assert from "node:assert/strict";
import { setTimeout as after } from "node:timers/promises";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import type { StreamDefinitionInput } from "../../src/wire/stream-definition-codec.ts";
import { checkStream } from "../simulation/check-stream.ts";
import { EngineProcess } from "../support/engine-process.ts";
import { changesOf, type ShimCall } from "../support/fault-shim.ts";
import type { CleanUp } from "../support/program.ts";
import { FaultRun, plainAndFlushed, withClient } from "./fault-run.ts";

const KIB = 1024;
const ANSWERS_EACH = 8;
/** What a start may take on a machine that does ten other things; what it took is told. */
const RESTART_MS_MAX = 20_000;
const DEATH_NOTICE_MS = 5000;
const CHANGED_TIME_TO_LIVE_MS = 7 * 24 * 3600 * 1000;

const overwritten: StreamDefinitionInput = {
  name: "overwritten",
  strategyOnFull: StrategyOnFull.OverwriteOldestData,
  streamSegmentSize: 8 * KIB,
  maxSize: 24 * KIB,
};
const shortLived: StreamDefinitionInput = {
  name: "short-lived",
  strategyOnFull: StrategyOnFull.RejectNewData,
};

export interface CrashOutcome {
  /** Whether the engine died of the rules, and did not come to its clean end. */
  readonly isKilled: boolean;
  /** The calls that it made, and that any of them changed. */
  readonly calls: readonly ShimCall[];
  readonly restartMs: number;
  readonly acknowledged: number;
  readonly tornTails: number;
}

/** Control requests that were answered; one that was under way when the engine died may have been done or not. */
interface Told {
  readonly created: Set<string>;
  isDeleting?: boolean;
  isDeleted?: boolean;
  isChanged?: boolean;
}

/**
 * A short life of a store, in which everything happens that writes: streams are made, filled, rolled, overwritten, changed and deleted,
 * and the engine stops. `rules` decide where it dies. Then an engine without faults starts, and nothing that was
 * answered may be otherwise.
 */
export async function runCrashWorkload(
  t: CleanUp,
  { rules, seed }: { rules: readonly string[]; seed: number },
): Promise<CrashOutcome> {
  const run = new FaultRun(t, { seed, streams: [...plainAndFlushed, overwritten], windowMax: 2 });
  const hint = `rules ${rules.join("; ")}, SEED=${seed}`;
  run.shim.setRules(...rules);
  const told: Told = { created: new Set() };
  const isKilled = await liveUntilKilled(t, run, told);
  const startedMs = performance.now();
  const engine = await run.start();
  const restartMs = performance.now() - startedMs;
  assert.ok(restartMs < RESTART_MS_MAX, `the start after the kill took ${restartMs} ms, ${hint}`);
  await compare(engine, run, told);
  run.assertSound(hint);
  // The store takes messages again, and keeps them.
  await run.load(engine, { answers: 2 });
  await withClient(engine, async (client) => {
    for (const checker of run.checkers) await checkStream(client, checker, { isFull: true });
  });
  run.assertSound(hint);
  const { stderr } = await engine.stop();
  return {
    isKilled,
    calls: changesOf(run.shim.calls()),
    restartMs,
    acknowledged: run.acknowledgedCount,
    tornTails: stderr.match(/cut a torn tail/g)?.length ?? 0,
  };
}

/** @returns whether the engine was killed */
async function liveUntilKilled(t: CleanUp, run: FaultRun, told: Told): Promise<boolean> {
  const serve = EngineProcess.spawn(t, {
    env: { ...run.env, ...run.shim.env },
    storeDirectory: run.storeDirectory,
  });
  const { storeDirectory, env } = run;
  const living = EngineProcess.attach(t, serve, { env, storeDirectory }).then((engine) =>
    live(engine, run, told),
  );
  const finished = serve.finished();
  // Calls that were under way fail in one way or another, or wait for an engine that comes back; both end here.
  const isLived = await Promise.race([
    finished.then(() => false),
    living.then(
      () => true,
      async (error: unknown) => {
        // A failure that is the death's own is told a moment before the process is known to have ended.
        await after(DEATH_NOTICE_MS, undefined, { ref: false });
        throw error;
      },
    ),
  ]);
  if (isLived) serve.child.kill("SIGTERM");
  const { code, signal, stderr } = await finished;
  assert.ok(
    signal === "SIGKILL" || (isLived && code === 0),
    `ended with ${String(code ?? signal)}: ${stderr}`,
  );
  return signal === "SIGKILL";
}

async function live(engine: EngineProcess, run: FaultRun, told: Told): Promise<void> {
  await withClient(engine, async (client) => {
    for (const definition of [...run.streams, shortLived]) {
      await client.createMessageStream(definition);
      told.created.add(definition.name);
    }
    await run.load(engine, { answers: ANSWERS_EACH });
    await client.appendMessage(shortLived.name, Buffer.from("gone soon"));
    told.isDeleting = true;
    await client.deleteMessageStream(shortLived.name);
    told.isDeleted = true;
    await client.updateMessageStream({ ...run.streams[0]!, timeToLiveMillis: CHANGED_TIME_TO_LIVE_MS });
    told.isChanged = true;
    await run.load(engine, { answers: ANSWERS_EACH });
  });
}

async function compare(engine: EngineProcess, run: FaultRun, told: Told): Promise<void> {
  await withClient(engine, async (client) => {
    const names = new Set(await client.listStreams());
    for (const name of told.created) {
      if (name === shortLived.name && told.isDeleting === true) continue;
      assert.ok(names.has(name), `stream "${name}" was created and is gone`);
    }
    if (told.isDeleted === true) assert.ok(!names.has(shortLived.name), "the deleted stream is there again");
    if (told.isChanged === true) {
      const { definition } = await client.describeMessageStream(run.streams[0]!.name);
      assert.equal(definition.timeToLiveMillis, CHANGED_TIME_TO_LIVE_MS);
    }
    for (const checker of run.checkers) {
      if (names.has(checker.stream)) await checkStream(client, checker, { isFull: true });
      // The load that follows needs it; its creation was never answered.
      else await client.createMessageStream(run.streams.find(({ name }) => name === checker.stream)!);
    }
  });
}
