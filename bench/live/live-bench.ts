import type { BenchOptions, BenchRecord } from "../bench.ts";
import type { DataSet } from "../data-set.ts";
import { LatencyHistogram } from "../latency-histogram.ts";
import { checkNewest, describeStream, openStream } from "../scenario/append-case.ts";
import { AppendPipeline } from "../scenario/append-pipeline.ts";
import { caseRecord } from "../scenario/case-record.ts";
import { fillStream, messageAt } from "../scenario/filled-store.ts";
import { FrameArena } from "../scenario/frame-arena.ts";
import type { FrameSocket } from "../scenario/frame-socket.ts";
import { driverLagValues, OpenLoop, overValues } from "../scenario/open-loop.ts";
import { ReplayReader } from "../scenario/replay-reader.ts";
import type { CostedSlice, Slice } from "../scenario/slice.ts";
import { TailLoad } from "../scenario/tail.ts";
import type { LiveTarget } from "./live-target.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const MESSAGE_COUNT = 32_768;
const BATCH_BYTES = 64 * KIB;
const FRAMES_IN_FLIGHT = 32;
export const LIVE_RATE_DEFAULT = 10_000;
const TAIL_RATE = 1000;
/** Of the stream that is read again and again; it must stay below what the stream may hold. */
const REPLAY_BYTES_MAX = 64 * MIB;
const REPLAY_BYTES_PER_S = 32 * MIB;
const WARM_UP_S_MAX = 1;
const ROUNDS_MAX = 7;

export type LiveBenchOptions = Pick<BenchOptions, "caseFilter" | "seconds" | "createDataSet"> & {
  readonly rate: number;
};

export const liveSettings = {
  data_set_messages: MESSAGE_COUNT,
  batch_bytes: BATCH_BYTES,
  frames_in_flight: FRAMES_IN_FLIGHT,
  tail_rate: TAIL_RATE,
} as const;

interface LiveCase {
  readonly name: string;
  readonly run: (
    target: LiveTarget,
    options: LiveBenchOptions,
    dataSet: DataSet,
  ) => Promise<Omit<BenchRecord, "name">>;
}

/** The cases in the order in which they run. */
export function liveCases(rate: number): readonly LiveCase[] {
  return [
    { name: "append 64 KiB batches", run: appendBatches },
    { name: "append one message awaited", run: appendAwaited },
    { name: `append ${rate} messages a second`, run: appendOnSchedule },
    { name: "replay by subscription", run: replay },
    { name: `from append to push, ${TAIL_RATE} a second`, run: tail },
  ];
}

/** Measures an engine that runs already, each case on a stream of its own that is deleted afterwards. */
export async function* runLive(target: LiveTarget, options: LiveBenchOptions): AsyncGenerator<BenchRecord> {
  const dataSet = options.createDataSet(MESSAGE_COUNT);
  for (const { name, run } of liveCases(options.rate)) {
    if (name.includes(options.caseFilter)) yield { name, ...(await run(target, options, dataSet)) };
  }
}

async function appendBatches(target: LiveTarget, { seconds }: LiveBenchOptions, dataSet: DataSet) {
  return closedLoop(target, {
    seconds,
    dataSet,
    batchBytes: BATCH_BYTES,
    framesInFlightMax: FRAMES_IN_FLIGHT,
  });
}

async function appendAwaited(target: LiveTarget, { seconds }: LiveBenchOptions, dataSet: DataSet) {
  return closedLoop(target, { seconds, dataSet, batchBytes: undefined, framesInFlightMax: 1 });
}

async function closedLoop(
  target: LiveTarget,
  options: {
    readonly seconds: number;
    readonly dataSet: DataSet;
    readonly batchBytes: number | undefined;
    readonly framesInFlightMax: number;
  },
) {
  const { seconds, dataSet, batchBytes, framesInFlightMax } = options;
  return target.withStream(async ({ name, connect }) => {
    const socket = await connect();
    const { handle, nextSequence } = await openStream(socket, name);
    const { messages } = dataSet;
    const arena = new FrameArena({ messages, handle, batchBytes, framesPerWrite: 1 });
    const by = "ready bytes";
    const pipeline = new AppendPipeline({
      socket,
      arena,
      framesInFlightMax,
      framesPerWrite: 1,
      by,
      nextSequence,
    });
    const slices = await inRounds(target, seconds, async (forS) => pipeline.run(forS));
    checkNewest(await describeStream(socket, name), pipeline.acknowledgedMessages);
    return liveRecord(target, slices, "ack");
  });
}

async function appendOnSchedule(target: LiveTarget, { seconds, rate }: LiveBenchOptions, dataSet: DataSet) {
  return target.withStream(async ({ name, connect }) => {
    const socket = await connect();
    const { handle, nextSequence } = await openStream(socket, name);
    const loop = new OpenLoop({ socket, handle, nextSequence, dataSet, messagesPerSecond: rate });
    await loop.run(Math.min(seconds, WARM_UP_S_MAX));
    // In one piece: what waits at the end of a round would be missing in the next.
    const slice = await target.measure(async () => loop.run(seconds));
    checkNewest(await describeStream(socket, name), loop.acknowledgedMessages);
    const record = liveRecord(target, [slice], "ack");
    return { ...record, values: { ...record.values, ...overValues(slice), ...driverLagValues(slice) } };
  });
}

async function replay(target: LiveTarget, { seconds }: LiveBenchOptions, dataSet: DataSet) {
  return target.withStream(async ({ name, connect }) => {
    const socket = await connect();
    const messageBytes = dataSet.payloadBytes / dataSet.messages.length;
    const bytes = Math.min(seconds * REPLAY_BYTES_PER_S, REPLAY_BYTES_MAX);
    const messagesMin = Math.ceil(bytes / messageBytes);
    const { messageCount, turn } = await fillStream(socket, { messagesMin, dataSet, name });
    const reading = await connect();
    const { handle } = await openStream(reading, name);
    const read = new ReplayReader({
      socket: reading,
      handle,
      messageAt: (sequence) => messageAt(turn, sequence),
    });
    const slices = await inRounds(target, seconds, async (forS) => readFor(read, messageCount, forS));
    return liveRecord(target, slices, null);
  });
}

/** From the beginning again whenever the end is reached. */
async function readFor(reader: ReplayReader, end: number, seconds: number): Promise<Slice> {
  const startMs = performance.now();
  const untilMs = startMs + seconds * 1000;
  const counts = { messageCount: 0, payloadBytes: 0 };
  do {
    const { messageCount, payloadBytes } = await reader.read({ from: 0, end, untilMs });
    counts.messageCount += messageCount;
    counts.payloadBytes += payloadBytes;
  } while (performance.now() < untilMs);
  return { ...counts, elapsedS: (performance.now() - startMs) / 1000, latencies: new LatencyHistogram() };
}

async function tail(target: LiveTarget, { seconds }: LiveBenchOptions, dataSet: DataSet) {
  return target.withStream(async ({ name, connect }) => {
    const socket: FrameSocket = await connect();
    const readers = [await connect()];
    const load = new TailLoad({ socket, readers, dataSet, rate: TAIL_RATE, streamName: name });
    await load.run(Math.min(seconds, WARM_UP_S_MAX));
    const slice = await target.measure(async () => load.run(seconds));
    checkNewest(await describeStream(socket, name), load.sentMessages);
    const record = liveRecord(target, [{ ...slice, latencies: slice.pushes }], "push");
    return { ...record, values: { ...record.values, ...driverLagValues(slice) } };
  });
}

async function inRounds(
  target: LiveTarget,
  seconds: number,
  measure: (seconds: number) => Promise<Slice>,
): Promise<CostedSlice[]> {
  await measure(Math.min(seconds, WARM_UP_S_MAX));
  const rounds = Math.min(Math.max(Math.floor(seconds), 1), ROUNDS_MAX);
  const slices: CostedSlice[] = [];
  for (let round = 0; round < rounds; round++) {
    slices.push(await target.measure(async () => measure(seconds / rounds)));
  }
  return slices;
}

/** Without what is not known of an engine whose process is not. */
function liveRecord(
  target: LiveTarget,
  slices: readonly CostedSlice[],
  waitedFor: string | null,
): Omit<BenchRecord, "name"> {
  const rssMib = target.residentMib();
  const record = caseRecord("", slices, {
    end: { rssMib: rssMib ?? 0, bytesPerAcceptedByte: null },
    waitedFor,
  });
  const { values, rounds, latencies, threads } = record;
  const isEngineOnly = (key: string): boolean => /^(rss_mib|(engine_)?cpu_s_per_gb)$/.test(key);
  const isKnown = (key: string): boolean => rssMib !== undefined || !isEngineOnly(key);
  return {
    values: Object.fromEntries(
      Object.entries(values)
        .filter(([key]) => key !== "bytes_per_accepted_byte")
        .map(([key, value]) => [key, isKnown(key) ? value : null]),
    ),
    rounds: Object.fromEntries(Object.entries(rounds ?? {}).filter(([key]) => isKnown(key))),
    ...(latencies && { latencies }),
    ...(threads && { threads }),
  };
}
