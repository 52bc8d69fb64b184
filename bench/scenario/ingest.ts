import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Persistence } from "../../src/core/stream-definition.ts";
import type { Bench, BenchOptions, BenchRecord } from "../bench.ts";
import { createInferenceDataSet, type DataSet } from "../data-set.ts";
import { median, roundTo, Samples } from "../statistics.ts";
import { BenchEngine, startAppendCase, type EngineOptions, type StreamOptions } from "./append-case.ts";
import { startProducerCase } from "./producer-case.ts";
import type { CaseEnd, CostedSlice, RunningCase, ScenarioCase } from "./slice.ts";
import type { SendingWay } from "./frame-socket.ts";
import { startEchoCase, startSinkCase } from "./yardstick.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
/** Enough for more than two windows of frames that differ. */
const MESSAGE_COUNT = 32_768;
/** Half of what the engine lets one connection have in flight. */
const IN_FLIGHT_BYTES_MAX = 2 * MIB;
const SINGLES_IN_FLIGHT_MAX = 8192;
const SINGLES_PER_WRITE = 64;
const ROUND_S = 1;
const ROUNDS_MAX = 7;
const WARM_UP_S_MAX = 1;
const IDLE_S_MAX = 2;
const BYTES_PER_GB = 1e9;

const engineScript = path.join(import.meta.dirname, "..", "..", "src", "millrace.js");

const file: StreamOptions = { persistence: Persistence.File, flushOnWrite: false };
const flushed: StreamOptions = { persistence: Persistence.File, flushOnWrite: true };
const memory: StreamOptions = { persistence: Persistence.Memory, flushOnWrite: false };

const names = {
  idle: "idle, no streams",
  singles: "append one message a frame, File",
  sink: "bare ws sink, one message a frame",
  readySingles: "append one message a frame in ready bytes, File",
  readySink: "bare ws sink, one message a frame in ready bytes",
  awaited: "append one message awaited, File",
  echo: "bare ws echo, one message awaited",
} as const;

/** Drives an engine in another process over WebSocket. What is acknowledged is counted and compared with the engine. */
export const ingestBench: Bench = {
  name: "ingest",
  summary: "append over WebSocket",
  secondsDefault: 5,
  settings: {
    data_set_messages: MESSAGE_COUNT,
    in_flight_bytes_max: IN_FLIGHT_BYTES_MAX,
    singles_in_flight_max: SINGLES_IN_FLIGHT_MAX,
    singles_per_write: SINGLES_PER_WRITE,
  },
  run: (options) => runIngest(options, engineScript),
};

/** `script` is asked to `serve --json`; tests pass another one. */
export async function* runIngest(options: BenchOptions, script: string): AsyncGenerator<BenchRecord> {
  const { caseFilter, seconds, storeRoot, profileDirectory } = options;
  const nodeArgs = profileDirectory === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profileDirectory}`];
  const engine: EngineOptions = { engineScript: script, storeRoot, nodeArgs };
  if (names.idle.includes(caseFilter)) yield await measureIdle(engine, Math.min(seconds, IDLE_S_MAX));
  const dataSet = createInferenceDataSet(MESSAGE_COUNT);
  const measured = new Map<string, CostedSlice[]>();
  for (const group of caseGroups(engine, dataSet)) {
    const wanted = group.filter(({ name }) => name.includes(caseFilter));
    yield* measureGroup(wanted, seconds, measured);
  }
  const ratios = compareWithYardsticks(measured);
  if (ratios) yield ratios;
}

/** Cases of one group take turns, because their ratio is asked for and the machine changes from second to second. */
function caseGroups(engine: EngineOptions, dataSet: DataSet): ScenarioCase[][] {
  const batches = (kib: number, kind: string, stream: StreamOptions): ScenarioCase[] => [
    {
      name: `append ${kib} KiB batches, ${kind}`,
      start: async () =>
        startAppendCase({
          ...engine,
          ...stream,
          dataSet,
          batchBytes: kib * KIB,
          framesInFlightMax: IN_FLIGHT_BYTES_MAX / (kib * KIB),
          framesPerWrite: 1,
        }),
    },
  ];
  const single = { ...engine, ...file, dataSet, batchBytes: undefined };
  const { nodeArgs } = engine;
  const pipelined = { framesInFlightMax: SINGLES_IN_FLIGHT_MAX, framesPerWrite: SINGLES_PER_WRITE };
  const singles = (by: SendingWay, append: string, sink: string): ScenarioCase[] => [
    { name: append, start: async () => startAppendCase({ ...single, ...pipelined, by }) },
    {
      name: sink,
      start: async () => startSinkCase({ dataSet, nodeArgs, framesPerWrite: SINGLES_PER_WRITE, by }),
    },
  ];
  return [
    batches(4, "File", file),
    batches(64, "File", file),
    batches(256, "File", file),
    [
      {
        name: "append 64 KiB batches by producer(), File",
        start: async () => startProducerCase({ ...engine, dataSet, batchBytes: 64 * KIB }),
      },
    ],
    batches(64, "File flushOnWrite", flushed),
    batches(64, "Memory", memory),
    singles("ws", names.singles, names.sink),
    singles("ready bytes", names.readySingles, names.readySink),
    [
      {
        name: names.awaited,
        start: async () => startAppendCase({ ...single, framesInFlightMax: 1, framesPerWrite: 1 }),
      },
      { name: names.echo, start: async () => startEchoCase({ dataSet, nodeArgs }) },
    ],
  ];
}

async function* measureGroup(
  cases: readonly ScenarioCase[],
  seconds: number,
  measured: Map<string, CostedSlice[]>,
): AsyncGenerator<BenchRecord> {
  const running: { name: string; run: RunningCase; slices: CostedSlice[] }[] = [];
  const roundCount = Math.min(Math.max(Math.floor(seconds / ROUND_S), 1), ROUNDS_MAX);
  try {
    for (const { name, start } of cases) running.push({ name, run: await start(), slices: [] });
    for (const { run } of running) await run.measure(Math.min(seconds, WARM_UP_S_MAX));
    for (let round = 0; round < roundCount; round++) {
      for (const { run, slices } of running) slices.push(await run.measure(seconds / roundCount));
    }
    for (const { name, run, slices } of running) {
      measured.set(name, slices);
      yield caseRecord(name, slices, await run.finish());
    }
  } finally {
    for (const { run } of running) await run.abandon();
  }
}

/** Rates are medians of the rounds, percentiles are of all rounds together. */
function caseRecord(name: string, slices: readonly CostedSlice[], end: CaseEnd): BenchRecord {
  const latencies = new Samples();
  for (const { latenciesUs } of slices) latencies.addAll(latenciesUs);
  const payloadBytes = slices.reduce((sum, slice) => sum + slice.payloadBytes, 0);
  const cpuS = slices.reduce((sum, slice) => sum + slice.cpuS, 0);
  return {
    name,
    messages_per_s: Math.round(median(slices.map((slice) => slice.messageCount / slice.elapsedS))),
    mib_per_s: roundTo(median(slices.map((slice) => slice.payloadBytes / MIB / slice.elapsedS)), 4),
    ack_p50_us: rounded(latencies.percentile(0.5)),
    ack_p99_us: rounded(latencies.percentile(0.99)),
    rss_mib: roundTo(end.rssMib, 4),
    cpu_s_per_gb: roundTo(cpuS / (payloadBytes / BYTES_PER_GB), 3),
    bytes_per_accepted_byte: rounded(end.bytesPerAcceptedByte),
  };
}

function rounded(value: number | undefined | null): number | null {
  return value === undefined || value === null ? null : roundTo(value, 4);
}

const withoutValues = {
  messages_per_s: null,
  mib_per_s: null,
  ack_p50_us: null,
  ack_p99_us: null,
  rss_mib: null,
  cpu_s_per_gb: null,
  bytes_per_accepted_byte: null,
} as const;

async function measureIdle(options: EngineOptions, seconds: number): Promise<BenchRecord> {
  const engine = await BenchEngine.start(options);
  try {
    await sleep(seconds * 1000);
    const rssMib = engine.server.residentMib();
    await engine.stop();
    return { name: names.idle, ...withoutValues, rss_mib: roundTo(rssMib, 4) };
  } finally {
    await engine.kill();
  }
}

function messageRate({ messageCount, elapsedS }: CostedSlice): number {
  return messageCount / elapsedS;
}

/** The middle of the ratios of neighbouring rounds; undefined when not both sides of any pair were measured. */
function compareWithYardsticks(
  measured: ReadonlyMap<string, readonly CostedSlice[]>,
): BenchRecord | undefined {
  const ratio = (name: string, yardstick: string, of: (slice: CostedSlice) => number): number | null => {
    const slices = measured.get(name);
    const others = measured.get(yardstick);
    if (!slices || !others) return null;
    return roundTo(median(slices.map((slice, round) => of(slice) / of(others[round]!))), 3);
  };
  const ratios = {
    one_message_vs_sink: ratio(names.singles, names.sink, messageRate),
    one_message_vs_sink_ready_bytes: ratio(names.readySingles, names.readySink, messageRate),
    awaited_vs_echo_p50: ratio(
      names.awaited,
      names.echo,
      ({ latenciesUs }) => latenciesUs.percentile(0.5) ?? NaN,
    ),
  };
  if (Object.values(ratios).every((value) => value === null)) return undefined;
  return { name: "ratios", ...withoutValues, ...ratios };
}
