import { setTimeout as sleep } from "node:timers/promises";
import { Persistence } from "../../src/core/stream-definition.ts";
import type { Bench, BenchOptions, BenchRecord } from "../bench.ts";
import type { DataSet } from "../data-set.ts";
import { roundTo } from "../statistics.ts";
import {
  BenchEngine,
  engineScript,
  startAppendCase,
  type EngineOptions,
  type StreamOptions,
} from "./append-case.ts";
import { caseRecord, emptyCaseValues } from "./case-record.ts";
import { profileArgs } from "./profile-args.ts";
import { startProducerCase } from "./producer-case.ts";
import type { CostedSlice, ScenarioCase } from "./slice.ts";
import type { SendingWay } from "./frame-socket.ts";
import { measureInTurns, messageRate, TurnRatios } from "./turns.ts";
import { startEchoCase, startSinkCase } from "./yardstick.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
/** Enough for more than two windows of frames that differ. */
const MESSAGE_COUNT = 32_768;
/** Half of what the engine lets one connection have in flight. */
const IN_FLIGHT_BYTES_MAX = 2 * MIB;
const SINGLES_IN_FLIGHT_MAX = 8192;
const SINGLES_PER_WRITE = 64;
/** V8 gives back what the start took some ten seconds after it. */
const IDLE_S = 12;
const SHORT_RUN_S = 2;
/** Any but 0. */
const PRODUCER_ID = 77;

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
  batches: "append 64 KiB batches, File",
  namedBatches: "append 64 KiB batches, File, named producer",
  namedSingles: "append one message a frame in ready bytes, File, named producer",
  echo: "bare ws echo, one message awaited",
} as const;

/** Drives an engine in another process over WebSocket. What is acknowledged is counted and compared with the engine. */
export const ingestBench: Bench = {
  name: "ingest",
  secondsDefault: 5,
  takes: ["data-set"],
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
  const nodeArgs = profileArgs(profileDirectory);
  const engine: EngineOptions = { engineScript: script, storeRoot, nodeArgs };
  if (names.idle.includes(caseFilter)) {
    yield await measureIdle(engine, seconds < SHORT_RUN_S ? seconds : IDLE_S);
  }
  const dataSet = options.createDataSet(MESSAGE_COUNT);
  const measured = new Map<string, readonly CostedSlice[]>();
  for (const group of caseGroups(engine, dataSet)) {
    const wanted = group.filter(({ name }) => name.includes(caseFilter));
    for await (const { name, slices, end } of measureInTurns(wanted, seconds)) {
      measured.set(name, slices);
      yield caseRecord(name, slices, { end });
    }
  }
  const ratios = compareWithYardsticks(measured);
  if (ratios) yield ratios;
}

/** Cases of one group take turns. */
function caseGroups(engine: EngineOptions, dataSet: DataSet): ScenarioCase[][] {
  const batches = (kib: number, stream: StreamOptions & { readonly producerId?: number }) => async () =>
    startAppendCase({
      ...engine,
      ...stream,
      dataSet,
      batchBytes: kib * KIB,
      framesInFlightMax: IN_FLIGHT_BYTES_MAX / (kib * KIB),
      framesPerWrite: 1,
    });
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
    [{ name: "append 4 KiB batches, File", start: batches(4, file) }],
    [
      { name: names.batches, start: batches(64, file) },
      { name: names.namedBatches, start: batches(64, { ...file, producerId: PRODUCER_ID }) },
    ],
    [{ name: "append 256 KiB batches, File", start: batches(256, file) }],
    [
      {
        name: "append 64 KiB batches by producer(), File",
        start: async () => startProducerCase({ ...engine, dataSet, batchBytes: 64 * KIB }),
      },
    ],
    [{ name: "append 64 KiB batches, File flushOnWrite", start: batches(64, flushed) }],
    [{ name: "append 64 KiB batches, Memory", start: batches(64, memory) }],
    singles("ws", names.singles, names.sink),
    [
      ...singles("ready bytes", names.readySingles, names.readySink),
      {
        name: names.namedSingles,
        start: async () =>
          startAppendCase({ ...single, ...pipelined, by: "ready bytes", producerId: PRODUCER_ID }),
      },
    ],
    [
      {
        name: names.awaited,
        start: async () => startAppendCase({ ...single, framesInFlightMax: 1, framesPerWrite: 1 }),
      },
      { name: names.echo, start: async () => startEchoCase({ dataSet, nodeArgs }) },
    ],
  ];
}

async function measureIdle(options: EngineOptions, seconds: number): Promise<BenchRecord> {
  const engine = await BenchEngine.start(options);
  try {
    await sleep(seconds * 1000);
    const rssMib = engine.server.residentMib();
    await engine.stop();
    return { name: names.idle, values: { ...emptyCaseValues, rss_mib: roundTo(rssMib, 4) } };
  } finally {
    await engine.kill();
  }
}

/** Undefined when not both sides of any pair were measured. */
function compareWithYardsticks(
  measured: ReadonlyMap<string, readonly CostedSlice[]>,
): BenchRecord | undefined {
  const ratios = new TurnRatios();
  const add = (key: string, pair: readonly [string, string], of: (slice: CostedSlice) => number): void =>
    ratios.add(key, [measured.get(pair[0]), measured.get(pair[1])], of);
  add("one_message_vs_sink", [names.singles, names.sink], messageRate);
  add("one_message_vs_sink_ready_bytes", [names.readySingles, names.readySink], messageRate);
  add("named_producer_vs_none", [names.namedBatches, names.batches], messageRate);
  add("named_producer_vs_none_one_message", [names.namedSingles, names.readySingles], messageRate);
  for (const percent of [50, 99]) {
    const latency = ({ latencies }: CostedSlice): number => latencies.percentile(percent) ?? NaN;
    add(`awaited_vs_echo_p${percent}`, [names.awaited, names.echo], latency);
  }
  const { values, rounds } = ratios;
  if (Object.keys(values).length === 0) return undefined;
  return { name: "ratios", values: { ...emptyCaseValues, ...values }, rounds };
}
