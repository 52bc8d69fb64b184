import { readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { MillraceClient, type Producer, StrategyOnFull } from "../../client/index.ts";
import type { Clock } from "../../core/clock.ts";
import { readToken } from "../../net/token-store.ts";
import type { ChildProcesses } from "../demo-child.ts";
import { type DemoEngine, startEngine } from "../demo-engine.ts";
import { unlessAborted } from "../interruption.ts";

const MIB = 1024 * 1024;
/** What all streams of a round may leave on the disk. */
export const ROUND_BYTES_MAX = 256 * MIB;
const SEGMENT_BYTES = 4 * MIB;
/** The share of a round that is not counted: files are made, code is compiled, windows are filled. */
const WARM_UP_SHARE = 0.25;
const PAYLOADS = 4096;
/** For the report. */
export const PAYLOAD_BYTES_MEAN = 116;
/** /proc counts in these, on every machine that Node.js runs on. */
const CPU_TICKS_PER_SECOND = 100;

/** Where rounds run, and by what. */
export interface RoundContext {
  readonly processes: ChildProcesses;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  /** On the disk that is measured; each round leaves nothing there. */
  readonly directory: string;
  /** For a path that Node.js and npm need; no setting is among it. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly streamCount: number;
}

export interface RoundOrder {
  readonly flags: Readonly<Record<string, string>>;
  readonly flushOnWrite: boolean;
  readonly seconds: number;
  /** Whether single appends are awaited, instead of many being sent in batches. */
  readonly isAwaited: boolean;
}

export interface RoundResult {
  readonly messagesPerSecond: number;
  /** CPU-seconds of the engine for a million messages. */
  readonly cpuSecondsPerMillion: number | undefined;
  /** Most that was resident at a time. */
  readonly peakMib: number | undefined;
  /** Of awaited appends. */
  readonly latenciesMs: readonly number[];
}

/** Starts an engine with an empty store, drives it for a while by the client's producer, and ends it. */
export async function runRound(context: RoundContext, order: RoundOrder): Promise<RoundResult> {
  const storeDirectory = path.join(context.directory, "store");
  const { processes, env, signal } = context;
  try {
    const starting = startEngine(processes, { storeDirectory, env, flags: order.flags });
    const engine = await unlessAborted(signal, starting);
    const result = await unlessAborted(signal, drive(context, order, engine));
    await engine.stop();
    return result;
  } finally {
    await processes.killAll();
    rmSync(storeDirectory, { recursive: true, force: true });
  }
}

async function drive(context: RoundContext, order: RoundOrder, engine: DemoEngine): Promise<RoundResult> {
  const token = readToken(path.join(context.directory, "store"));
  const url = `ws://127.0.0.1:${engine.port}`;
  const client = await MillraceClient.connect({ url, ...(token !== undefined && { token }) });
  // What waits for an engine that is gone would keep this process alive.
  const close = (): void => client.close();
  context.signal.addEventListener("abort", close, { once: true });
  try {
    const names = Array.from(
      { length: order.isAwaited ? 1 : context.streamCount },
      (_, index) => `tune-${index}`,
    );
    const { flushOnWrite } = order;
    const sizes = {
      maxSize: Math.floor(ROUND_BYTES_MAX / context.streamCount),
      streamSegmentSize: SEGMENT_BYTES,
    };
    for (const name of names) {
      const strategyOnFull = StrategyOnFull.OverwriteOldestData;
      await client.createMessageStream({ name, strategyOnFull, flushOnWrite, ...sizes });
    }
    return order.isAwaited
      ? await awaitAppends(context, { client, name: names[0]!, order })
      : await fillBatches(context, { client, names, order, engine });
  } finally {
    context.signal.removeEventListener("abort", close);
    client.close();
  }
}

async function fillBatches(
  { clock, signal }: RoundContext,
  given: { client: MillraceClient; names: readonly string[]; order: RoundOrder; engine: DemoEngine },
): Promise<RoundResult> {
  const { client, names, order, engine } = given;
  const producers = await Promise.all(names.map((name) => client.producer(name)));
  const acknowledged = (): number => producers.reduce((sum, { counters }) => sum + counters.acknowledged, 0);
  const work = { isOver: false };
  const payloads = inferencePayloads();
  const filling = Promise.all(producers.map((producer) => fill(producer, payloads, work)));
  // A producer that fails ends the round at once.
  await Promise.race([filling, sleep(order.seconds * WARM_UP_SHARE * 1000, undefined, { signal })]);
  const [beganMs, before, cpuBefore] = [clock.monotonicMs(), acknowledged(), cpuSeconds(engine.pid)];
  await Promise.race([filling, sleep(order.seconds * (1 - WARM_UP_SHARE) * 1000, undefined, { signal })]);
  const [endedMs, after, cpuAfter] = [clock.monotonicMs(), acknowledged(), cpuSeconds(engine.pid)];
  work.isOver = true;
  await filling;
  const peakMib = peakMibOf(engine.pid);
  await Promise.all(producers.map((producer) => producer.close()));
  const count = after - before;
  const hasCpu = cpuBefore !== undefined && cpuAfter !== undefined && count > 0;
  return {
    messagesPerSecond: (count * 1000) / (endedMs - beganMs),
    cpuSecondsPerMillion: hasCpu ? ((cpuAfter - cpuBefore) * 1e6) / count : undefined,
    peakMib,
    latenciesMs: [],
  };
}

/** Full windows pace it: each wait lets acknowledgements in. */
async function fill(
  producer: Producer,
  payloads: readonly Buffer[],
  work: { isOver: boolean },
): Promise<void> {
  for (let index = 0; !work.isOver; index = (index + 1) % payloads.length) {
    const taken = producer.append(payloads[index]!);
    if (taken) await taken;
  }
}

async function awaitAppends(
  { clock }: RoundContext,
  { client, name, order }: { client: MillraceClient; name: string; order: RoundOrder },
): Promise<RoundResult> {
  const payloads = inferencePayloads();
  const latenciesMs: number[] = [];
  const beganMs = clock.monotonicMs();
  const warmMs = beganMs + order.seconds * WARM_UP_SHARE * 1000;
  for (
    let index = 0, nowMs = beganMs;
    nowMs < beganMs + order.seconds * 1000 || latenciesMs.length === 0;
    index++
  ) {
    await client.appendMessage(name, payloads[index % PAYLOADS]!);
    const endMs = clock.monotonicMs();
    if (nowMs >= warmMs) latenciesMs.push(endMs - nowMs);
    nowMs = endMs;
  }
  const totalMs = latenciesMs.reduce((sum, latencyMs) => sum + latencyMs, 0);
  const messagesPerSecond = (latenciesMs.length * 1000) / totalMs;
  return { messagesPerSecond, cpuSecondsPerMillion: undefined, peakMib: undefined, latenciesMs };
}

/** {@link PAYLOAD_BYTES_MEAN} each on average, as an edge model's results are; the same in every run, so that runs can be compared. */
export function inferencePayloads(): Buffer[] {
  const labels = ["person", "forklift", "pallet", "helmet", "door"];
  return Array.from({ length: PAYLOADS }, (_, index) => {
    // A linear congruence: figures that differ and do not compress to nothing.
    const noise = (index * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Buffer.from(
      JSON.stringify({
        camera: `cam-${index % 7}`,
        time: 1_767_225_600_000 + index * 40,
        model: "detector-v3",
        label: labels[noise % labels.length],
        score: (noise % 10_000) / 10_000,
        box: [noise % 640, noise % 479, (noise >> 4) % 640, (noise >> 7) % 479],
      }),
    );
  });
}

/** Of all threads so far; undefined where there is no /proc. */
function cpuSeconds(pid: number): number | undefined {
  const stat = readProc(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // Behind the name, which may hold anything: state is the 3rd field, utime the 14th, stime the 15th.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / CPU_TICKS_PER_SECOND;
}

function peakMibOf(pid: number): number | undefined {
  const kib = /^VmHWM:\s*(\d+) kB$/m.exec(readProc(`/proc/${pid}/status`) ?? "")?.[1];
  return kib === undefined ? undefined : Number(kib) / 1024;
}

function readProc(file: string): string | undefined {
  try {
    return readFileSync(file, "latin1");
  } catch {
    return undefined;
  }
}
