import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { systemClock } from "../../src/core/clock.ts";
import { systemRandom } from "../../src/core/random.ts";
import { Persistence } from "../../src/core/stream-definition.ts";
import { createNamedToken } from "../../src/net/named-tokens.ts";
import { readToken } from "../../src/net/token-store.ts";
import type { Bench, BenchOptions, BenchRecord } from "../bench.ts";
import { endWithBench } from "../clean-up.ts";
import { median, roundTo } from "../statistics.ts";
import {
  BenchEngine,
  checkNewest,
  createStream,
  describeStream,
  engineScript,
  openStream,
  STREAM_NAME,
} from "./append-case.ts";
import { mergedLatencies } from "./case-record.ts";
import { AppendPipeline } from "./append-pipeline.ts";
import type { AttackKind, AttackNews, AttackOrder } from "./attack-driver.ts";
import { FrameArena } from "./frame-arena.ts";
import type { FrameSocket } from "./frame-socket.ts";
import { profileArgs } from "./profile-args.ts";
import type { Slice } from "./slice.ts";

const KIB = 1024;
const MESSAGE_COUNT = 32_768;
const BATCH_BYTES = 64 * KIB;
const FRAMES_IN_FLIGHT_MAX = 32;
const WARM_UP_S_MAX = 1;
/** Long, because an attack begins anew in each: readers that never read cost something at their beginning only. */
const ROUND_S = 10;
const ROUNDS_MAX = 5;
/** About 40 MB/s of 160-byte messages: a good producer has a rate, and room to spare. */
const PACED_MESSAGES_PER_S = 250_000;
const driverScript = path.join(import.meta.dirname, "attack-driver.js");

const attacks: readonly { readonly name: string; readonly kind: AttackKind }[] = [
  { name: "a page of another origin", kind: "origin" },
  { name: "no token", kind: "no token" },
  { name: "a token without the right", kind: "no right" },
  { name: "oversize frames", kind: "oversize" },
  { name: "10,000 connection attempts and more", kind: "attempts" },
  { name: "readers that never read", kind: "never reads" },
];

/** A good producer in batches of 64 KiB, at a rate of its own and as fast as it is answered, alone and under each attack in turns. */
export const attackBench: Bench = {
  name: "attack",
  secondsDefault: 20,
  takes: ["data-set"],
  settings: {
    data_set_messages: MESSAGE_COUNT,
    batch_bytes: BATCH_BYTES,
    paced_messages_per_s: PACED_MESSAGES_PER_S,
    attacker_niceness: 19,
  },
  run: runAttacks,
};

async function* runAttacks(options: BenchOptions): AsyncGenerator<BenchRecord> {
  const { caseFilter, seconds, storeRoot, profileDirectory } = options;
  const env = { STREAM_MANAGER_AUTHENTICATE_CLIENT: "true" };
  const engine = await BenchEngine.start({
    engineScript,
    storeRoot,
    nodeArgs: profileArgs(profileDirectory),
    env,
  });
  let attacker: Attacker | undefined;
  try {
    attacker = await Attacker.start();
    const { storeDirectory } = engine;
    const token = createNamedToken({
      storeDirectory,
      name: "reader",
      patterns: { append: [], read: ["*"], manage: [], metrics: false },
      random: systemRandom,
      clock: systemClock,
    });
    const socket = await engine.connect(readToken(storeDirectory));
    await createStream(socket, { persistence: Persistence.File, flushOnWrite: false });
    const { messages } = options.createDataSet(MESSAGE_COUNT);
    let acknowledgedMessages = 0;
    for (const isPaced of [true, false]) {
      const producer = await startProducer(socket, { isPaced, messages });
      await producer.run(Math.min(seconds, WARM_UP_S_MAX));
      for (const { name: what, kind } of attacks) {
        const name = `${what}, ${isPaced ? "paced" : "full speed"}`;
        if (!name.includes(caseFilter)) continue;
        const order = { kind, port: engine.server.port, token, stream: STREAM_NAME };
        yield await measureAttack({ name, order, seconds, producer, attacker, engine });
      }
      acknowledgedMessages += producer.acknowledgedMessages;
    }
    checkNewest(await describeStream(socket), acknowledgedMessages);
    await socket.close();
    await engine.stop();
  } finally {
    attacker?.end();
    await engine.kill();
  }
}

async function startProducer(
  socket: FrameSocket,
  { isPaced, messages }: { readonly isPaced: boolean; readonly messages: readonly Uint8Array[] },
): Promise<AppendPipeline> {
  const { handle, nextSequence } = await openStream(socket);
  const framesPerWrite = 1;
  const arena = new FrameArena({ messages, handle, batchBytes: BATCH_BYTES, framesPerWrite });
  const by = "ready bytes";
  const messagesPerFrame = arena.messageCounts.reduce((sum, count) => sum + count, 0) / arena.frameCount;
  const framesInFlightMax = FRAMES_IN_FLIGHT_MAX;
  const options = { socket, arena, framesInFlightMax, framesPerWrite, by, nextSequence } as const;
  const framesPerSecondMax = PACED_MESSAGES_PER_S / messagesPerFrame;
  return new AppendPipeline(isPaced ? { ...options, framesPerSecondMax } : options);
}

/** Alone and attacked in turns, because the machine changes from second to second. */
async function measureAttack(run: {
  readonly name: string;
  readonly order: AttackOrder;
  readonly seconds: number;
  readonly producer: AppendPipeline;
  readonly attacker: Attacker;
  readonly engine: BenchEngine;
}): Promise<BenchRecord> {
  const { name, order, seconds, producer, attacker, engine } = run;
  const roundCount = Math.min(Math.max(Math.floor(seconds / ROUND_S), 1), ROUNDS_MAX);
  const alone: Slice[] = [];
  const attacked: Slice[] = [];
  let tries = 0;
  let refusals = 0;
  for (let round = 0; round < roundCount; round++) {
    alone.push(await producer.run(seconds / roundCount / 2));
    await attacker.begin(order);
    attacked.push(await producer.run(seconds / roundCount / 2));
    const counts = await attacker.stop();
    tries += counts.tries;
    refusals += counts.refusals;
  }
  const rate = ({ messageCount, elapsedS }: Slice): number => messageCount / elapsedS;
  const attackedS = attacked.reduce((sum, { elapsedS }) => sum + elapsedS, 0);
  const ratios = attacked.map((slice, index) => rate(slice) / rate(alone[index]!));
  const values = {
    alone_messages_per_s: roundTo(median(alone.map(rate)), 4),
    attacked_messages_per_s: roundTo(median(attacked.map(rate)), 4),
    attacked_vs_alone: roundTo(median(ratios), 3),
    alone_ack_p99_us: p99(alone),
    attacked_ack_p99_us: p99(attacked),
    tries_per_s: roundTo(tries / attackedS, 4),
    answered_refusals: refusals,
    rss_mib: roundTo(engine.server.residentPeakMib(), 4),
  };
  return { name, values, rounds: { attacked_vs_alone: ratios.map((ratio) => roundTo(ratio, 4)) } };
}

function p99(slices: readonly Slice[]): number {
  return roundTo(mergedLatencies(slices).percentile(99)!, 4);
}

/** The process that attacks. */
class Attacker {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(): Promise<Attacker> {
    const child = endWithBench(fork(driverScript, { stdio: ["ignore", "ignore", "inherit", "ipc"] }));
    await once(child, "spawn");
    return new Attacker(child);
  }

  /** Resolves once the first try was answered. */
  async begin(order: AttackOrder): Promise<void> {
    const begun = this.#news("begun");
    this.#child.send(order);
    await begun;
  }

  async stop(): Promise<{ tries: number; refusals: number }> {
    const ended = this.#news("ended");
    this.#child.send("stop");
    return ended;
  }

  end(): void {
    this.#child.kill();
  }

  async #news<K extends AttackNews["kind"]>(kind: K): Promise<Extract<AttackNews, { kind: K }>> {
    const stopped = new AbortController();
    const { signal } = stopped;
    const died = once(this.#child, "exit", { signal }).then(() => {
      throw new Error("the attacker has ended");
    });
    died.catch(() => undefined);
    const told = once(this.#child, "message", { signal });
    told.catch(() => undefined);
    const [news] = (await Promise.race([told, died])) as [AttackNews];
    stopped.abort();
    if (news.kind !== kind) throw new Error(`the attacker says ${news.kind}`);
    return news as Extract<AttackNews, { kind: K }>;
  }
}
