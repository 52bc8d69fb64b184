import { setTimeout as after } from "node:timers/promises";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import type { StreamDefinitionInput } from "../../src/wire/stream-definition-codec.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import type { CleanUp } from "../support/program.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { AppendChecker } from "./append-checker.ts";
import { checkStream } from "./check-stream.ts";
import { LoadProducer } from "./load-producer.ts";

const KIB = 1024;

/** How long producers run before the kill, and how long a start runs that is killed before it is ready. */
const LOAD_MS_MAX = 250;
const START_MS_MAX = 250;
/** One start in so many is killed. */
const START_KILLS = 0.25;
/** Every so often a pass reads everything again. */
const FULL_PASS_EVERY = 10;

const streams: readonly StreamDefinitionInput[] = [
  { name: "plain", streamSegmentSize: 256 * KIB, maxSize: 4096 * 1024 * KIB },
  { name: "flushed", streamSegmentSize: 64 * KIB, maxSize: 4096 * 1024 * KIB, flushOnWrite: true },
  { name: "overwritten", streamSegmentSize: 64 * KIB, maxSize: 512 * KIB },
  { name: "overwritten and flushed", streamSegmentSize: 32 * KIB, maxSize: 256 * KIB, flushOnWrite: true },
].map((definition) => ({
  ...definition,
  strategyOnFull: definition.name.startsWith("overwritten")
    ? StrategyOnFull.OverwriteOldestData
    : StrategyOnFull.RejectNewData,
}));

export interface KillLoopFigures {
  readonly rounds: number;
  readonly startsKilled: number;
  readonly acknowledged: number;
  readonly stored: number;
  readonly lost: number;
  readonly duplicates: number;
  readonly violations: readonly string[];
  readonly seconds: number;
}

/** Kills an engine under load, again and again, in one store, and compares what it kept with what it had acknowledged. */
export async function runKillLoop(
  t: CleanUp,
  options: { rounds: number; seed: number; onRound?: (figures: KillLoopFigures) => void },
): Promise<KillLoopFigures> {
  const startedMs = performance.now();
  const random = seededRandom(options.seed);
  const storeDirectory = temporaryDirectory(t);
  const checkers = streams.map(
    ({ name, strategyOnFull }) =>
      new AppendChecker({
        stream: name,
        isOverwriting: strategyOnFull === StrategyOnFull.OverwriteOldestData,
        withLarge: name === "plain",
      }),
  );
  const producers = checkers.flatMap((checker, index) => [
    new LoadProducer({ name: `w${index}`, checker, transport: "websocket", windowMax: 8, random }),
    new LoadProducer({ name: `t${index}`, checker, transport: "tcp", windowMax: 16, random }),
  ]);
  let startsKilled = 0;
  let stored = 0;
  const figures = (rounds: number): KillLoopFigures => ({
    rounds,
    startsKilled,
    acknowledged: sum(checkers.map((checker) => checker.acknowledgedCount)),
    stored,
    lost: sum(checkers.map((checker) => checker.lostCount)),
    duplicates: sum(checkers.map((checker) => checker.duplicateCount)),
    violations: checkers.flatMap((checker) => checker.violations),
    seconds: Math.round((performance.now() - startedMs) / 100) / 10,
  });
  // Small blocks and often synced, so that there are many moments to be killed at.
  const env = { MILLRACE_WORKERS: "2", MILLRACE_BLOCK_BYTES: "16384", MILLRACE_SYNC_INTERVAL_MS: "20" };

  for (let round = 0; ; round++) {
    if (round > 0 && random.fraction() < START_KILLS) {
      await killStart(t, { env, storeDirectory, delayMs: random.fraction() * START_MS_MAX });
      startsKilled += 1;
    }
    const isLast = round === options.rounds;
    const engine = await EngineProcess.start(t, { env, storeDirectory });
    const { port, token } = engine;
    const client = await MillraceClient.connect({ url: `ws://127.0.0.1:${port}`, ...(token && { token }) });
    if (round === 0) for (const definition of streams) await client.createMessageStream(definition);
    const isFull = isLast || round % FULL_PASS_EVERY === 0;
    const ends = await Promise.all(checkers.map((checker) => checkStream(client, checker, { isFull })));
    stored = sum(ends);
    client.close();
    options.onRound?.(figures(round));
    if (isLast || figures(round).violations.length > 0) {
      await engine.stop();
      return figures(round);
    }
    await Promise.all(producers.map((producer) => producer.start({ port, token })));
    await after(random.fraction() * LOAD_MS_MAX);
    await engine.kill();
    await Promise.all(producers.map((producer) => producer.ended()));
  }
}

/** Killed at any moment between its first instruction and its ready line, recovery included. */
async function killStart(
  t: CleanUp,
  { delayMs, ...options }: { env: Record<string, string>; storeDirectory: string; delayMs: number },
): Promise<void> {
  const program = EngineProcess.spawn(t, options);
  await after(delayMs);
  program.child.kill("SIGKILL");
  await program.finished();
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
