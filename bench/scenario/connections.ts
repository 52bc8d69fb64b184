import { Persistence } from "../../src/core/stream-definition.ts";
import type { Bench, BenchOptions, BenchRecord } from "../bench.ts";
import type { DataSet } from "../data-set.ts";
import { roundTo } from "../statistics.ts";
import {
  BenchEngine,
  bytesPerAcceptedByte,
  createStream,
  engineScript,
  type EngineOptions,
  measureCosts,
} from "./append-case.ts";
import { caseRecord } from "./case-record.ts";
import { profileArgs } from "./profile-args.ts";
import { SharedLoad } from "./shared-load.ts";
import type { CostedSlice, RunningCase, ScenarioCase } from "./slice.ts";
import { measureInTurns, messageRate, TurnRatios } from "./turns.ts";

const KIB = 1024;
const MESSAGE_COUNT = 32_768;
const BATCH_BYTES = 2 * KIB;
/** Of all connections together: each of a thousand has one frame in flight. */
const FRAMES_IN_FLIGHT = 1000;
const connectionCounts = [1, 10, 100, 1000] as const;
/** Below a second it is only shown that everything works. */
const SHORT_DIVISOR = 20;

/** What it costs that the same load comes over many connections. */
export const connectionsBench: Bench = {
  name: "connections",
  secondsDefault: 5,
  takes: ["data-set"],
  settings: {
    data_set_messages: MESSAGE_COUNT,
    batch_bytes: BATCH_BYTES,
    frames_in_flight: FRAMES_IN_FLIGHT,
  },
  run: runConnections,
};

async function* runConnections(options: BenchOptions): AsyncGenerator<BenchRecord> {
  const { caseFilter, seconds, storeRoot, profileDirectory } = options;
  const nodeArgs = profileArgs(profileDirectory);
  const engine: EngineOptions = { engineScript, storeRoot, nodeArgs };
  const dataSet = options.createDataSet(MESSAGE_COUNT);
  const counts = connectionCounts.map((count) => (seconds < 1 ? Math.ceil(count / SHORT_DIVISOR) : count));
  const memory = new Map<string, number>();
  const cases = [...new Set(counts)].map((count) => {
    const name = count === 1 ? "1 connection" : `${count} connections`;
    const onMemory = (kib: number): void => void memory.set(name, kib);
    const start = async () => startCase({ ...engine, dataSet, count, onMemory });
    return { name, count, start } satisfies ScenarioCase & { count: number };
  });
  const wanted = cases.filter(({ name }) => name.includes(caseFilter));
  const measured = new Map<string, readonly CostedSlice[]>();
  for await (const { name, slices, end } of measureInTurns(wanted, seconds)) {
    measured.set(name, slices);
    const record = caseRecord(name, slices, { end });
    yield { ...record, values: { kib_per_connection: memory.get(name) ?? null, ...record.values } };
  }
  const one = measured.get(cases[0]!.name);
  const ratios = new TurnRatios();
  for (const { name, count } of cases.slice(1))
    ratios.add(`connections_${count}_vs_1`, [measured.get(name), one], messageRate);
  const { values, rounds } = ratios;
  if (Object.keys(values).length > 0) yield { name: "ratios", values, rounds };
}

/** `onMemory` is told what each connection has resident before it has sent anything, in KiB, where there are several. */
async function startCase(
  options: EngineOptions & {
    readonly dataSet: DataSet;
    readonly count: number;
    readonly onMemory: (kib: number) => void;
  },
): Promise<RunningCase> {
  const { count, dataSet, onMemory } = options;
  const engine = await BenchEngine.start(options);
  try {
    const socket = await engine.connect();
    await createStream(socket, { persistence: Persistence.File, flushOnWrite: false });
    await socket.close();
    const beforeMib = engine.server.residentMib();
    const load = await SharedLoad.start(engine, {
      connections: count,
      dataSet,
      batchBytes: BATCH_BYTES,
      framesInFlightEach: Math.max(1, Math.floor(FRAMES_IN_FLIGHT / count)),
    });
    if (count > 1) onMemory(roundTo(((engine.server.residentMib() - beforeMib) * 1024) / count, 3));
    return {
      measure: async (seconds) => measureCosts(engine.server, async () => load.run(seconds)),
      finish: async () => {
        const info = await load.finish();
        const rssMib = engine.server.residentPeakMib();
        const end = { rssMib, bytesPerAcceptedByte: bytesPerAcceptedByte(engine.segmentBytes(), info) };
        await engine.stop();
        return end;
      },
      abandon: async () => engine.kill(),
    };
  } catch (error) {
    await engine.kill();
    throw error;
  }
}
