import { MESSAGE_OVERHEAD_BYTES } from "../../src/core/limits.ts";
import { type MessageStreamInfo, Persistence } from "../../src/core/stream-definition.ts";
import type { OpenStreamResult } from "../../src/wire/open-stream-layout.ts";
import type { Bench, BenchOptions, BenchRecord } from "../bench.ts";
import type { DataSet } from "../data-set.ts";
import { roundTo } from "../statistics.ts";
import {
  BenchEngine,
  checkNewest,
  createStream,
  describeStream,
  engineScript,
  type EngineOptions,
  FILE_STREAM_BYTES_MAX,
  measureCosts,
  openStream,
} from "./append-case.ts";
import { caseRecord } from "./case-record.ts";
import { FrameArena } from "./frame-arena.ts";
import type { FrameSocket } from "./frame-socket.ts";
import { LITTLE_GARBAGE } from "./little-garbage.ts";
import { profileArgs } from "./profile-args.ts";
import type { CaseEnd, CostedSlice, RunningCase, ScenarioCase } from "./slice.ts";
import { SpreadPipeline } from "./spread-pipeline.ts";
import { measureInTurns, messageRate, TurnRatios } from "./turns.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const MESSAGE_COUNT = 32_768;
const IN_FLIGHT_BYTES_MAX = 2 * MIB;
const STREAM_BYTES_MIN = 32 * MIB;
const SECONDS_DEFAULT = 5;
const FIRST_MESSAGES_S = 0.05;
/** Below a second it is only shown that everything works. */
const SHORT_DIVISOR = 20;
const batchKib = [64, 4] as const;
const streamCounts = [1, 100, 1000] as const;

/** One connection appends to many streams in turn. */
export const streamsBench: Bench = {
  name: "streams",
  secondsDefault: SECONDS_DEFAULT,
  takes: ["data-set"],
  settings: { data_set_messages: MESSAGE_COUNT, in_flight_bytes_max: IN_FLIGHT_BYTES_MAX },
  run: runStreams,
};

async function* runStreams(options: BenchOptions): AsyncGenerator<BenchRecord> {
  const { caseFilter, seconds, storeRoot, profileDirectory } = options;
  const nodeArgs = profileArgs(profileDirectory);
  const engine: EngineOptions = { engineScript, storeRoot, nodeArgs };
  const dataSet = options.createDataSet(MESSAGE_COUNT);
  const counts = streamCounts.map((count) => (seconds < 1 ? Math.ceil(count / SHORT_DIVISOR) : count));
  const ratios = new TurnRatios();
  for (const kib of batchKib) {
    const batchBytes = kib * KIB;
    const cases = counts.map((count): ScenarioCase => ({
      name: `${kib} KiB batches, ${count === 1 ? "1 stream" : `${count} streams in turn`}`,
      start: async () => startSpreadCase({ ...engine, dataSet, batchBytes, count }),
    }));
    const wanted = cases.filter(({ name }) => name.includes(caseFilter));
    const measured = new Map<string, readonly CostedSlice[]>();
    for await (const { name, slices, end } of measureInTurns(wanted, seconds)) {
      measured.set(name, slices);
      yield caseRecord(name, slices, { end });
    }
    const one = measured.get(cases[0]!.name);
    for (const [index, { name }] of cases.entries()) {
      const slices = measured.get(name);
      if (index > 0) ratios.add(`streams_${counts[index]!}_vs_1_${kib}_kib`, [slices, one], messageRate);
    }
  }
  const memory = "memory of each stream, appended to";
  if (memory.includes(caseFilter)) {
    const streams = counts.at(-1)!;
    yield {
      name: memory,
      values: await measureMemory({ ...engine, dataSet }, streams, Math.min(seconds, 1)),
    };
  }
  const { values, rounds } = ratios;
  if (Object.keys(values).length > 0) yield { name: "ratios", values, rounds };
}

interface SpreadCaseOptions extends EngineOptions {
  readonly dataSet: DataSet;
  readonly batchBytes: number;
  readonly count: number;
}

async function startSpreadCase(options: SpreadCaseOptions): Promise<RunningCase> {
  const engine = await BenchEngine.start(options);
  try {
    const { socket, pipeline } = await startSpreadLoad(engine, options);
    return {
      measure: async (seconds) => measureCosts(engine.server, async () => pipeline.run(seconds)),
      finish: async () => finish(engine, socket, pipeline),
      abandon: async () => engine.kill(),
    };
  } catch (error) {
    await engine.kill();
    throw error;
  }
}

async function startSpreadLoad(engine: BenchEngine, { dataSet, batchBytes, count }: SpreadCaseOptions) {
  const socket = await engine.connect();
  const streams: OpenStreamResult[] = [];
  const maxSize = Math.max(STREAM_BYTES_MIN, Math.floor(FILE_STREAM_BYTES_MAX / count));
  for (let index = 0; index < count; index++) {
    const name = streamName(index);
    await createStream(socket, { persistence: Persistence.File, flushOnWrite: false, name, maxSize });
    streams.push(await openStream(socket, name));
  }
  const arena = new FrameArena({ messages: dataSet.messages, handle: 0, batchBytes, framesPerWrite: 1 });
  const framesInFlightMax = IN_FLIGHT_BYTES_MAX / batchBytes;
  const pipeline = new SpreadPipeline({ socket, arena, framesInFlightMax, streams });
  // The first message of a stream makes its first segment, with the syncs that a new file takes.
  while (pipeline.acknowledgedMessages.includes(0)) await pipeline.run(FIRST_MESSAGES_S);
  return { socket, pipeline };
}

function streamName(index: number): string {
  return `bench-${index}`;
}

async function finish(engine: BenchEngine, socket: FrameSocket, pipeline: SpreadPipeline): Promise<CaseEnd> {
  let heldBytes = 0;
  for (const [index, acknowledged] of pipeline.acknowledgedMessages.entries()) {
    const info = await describeStream(socket, streamName(index));
    checkNewest(info, acknowledged);
    heldBytes += heldPayloadBytes(info);
  }
  const end = {
    rssMib: engine.server.residentPeakMib(),
    bytesPerAcceptedByte: heldBytes === 0 ? null : engine.segmentBytes() / heldBytes,
  };
  await socket.close();
  await engine.stop();
  return end;
}

function heldPayloadBytes({ storageStatus }: MessageStreamInfo): number {
  const { oldestSequenceNumber, newestSequenceNumber, totalBytes } = storageStatus;
  return totalBytes - (newestSequenceNumber - oldestSequenceNumber + 1) * MESSAGE_OVERHEAD_BYTES;
}

/** What an engine with many streams has resident beyond one with a single stream, after the same load. */
async function measureMemory(
  options: EngineOptions & { readonly dataSet: DataSet },
  streams: number,
  seconds: number,
): Promise<Record<string, number>> {
  const perStream = async (nodeArgs: readonly string[]): Promise<number> => {
    const one = await residentAfterLoad({ ...options, nodeArgs }, 1, seconds);
    const many = await residentAfterLoad({ ...options, nodeArgs }, streams, seconds);
    return roundTo(((many - one) * 1024) / (streams - 1), 3);
  };
  return {
    kib_per_stream: await perStream(LITTLE_GARBAGE),
    rss_kib_per_stream: await perStream([]),
  };
}

async function residentAfterLoad(
  options: EngineOptions & { readonly dataSet: DataSet },
  count: number,
  seconds: number,
): Promise<number> {
  const batchBytes = batchKib[1] * KIB;
  const engine = await BenchEngine.start(options);
  try {
    const run = await startSpreadLoad(engine, { ...options, batchBytes, count });
    await run.pipeline.run(seconds);
    const residentMib = engine.server.residentMib();
    await run.socket.close();
    await engine.stop();
    return residentMib;
  } finally {
    await engine.kill();
  }
}
