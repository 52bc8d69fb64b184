import { Persistence } from "../../src/core/stream-definition.ts";
import type { Bench, BenchOptions, BenchRecord } from "../bench.ts";
import { LatencyHistogram } from "../latency-histogram.ts";
import {
  BenchEngine,
  checkNewest,
  createStream,
  describeStream,
  engineScript,
  measureCosts,
  openStream,
} from "./append-case.ts";
import { AppendPipeline } from "./append-pipeline.ts";
import { caseRecord, mergedLatencies } from "./case-record.ts";
import { fillStream } from "./filled-store.ts";
import { FrameArena } from "./frame-arena.ts";
import { profileArgs } from "./profile-args.ts";
import { ReplayThread } from "./replay-thread.ts";
import type { CostedSlice, Slice } from "./slice.ts";
import { messageRate, TurnRatios } from "./turns.ts";

const KIB = 1024;
const MESSAGE_COUNT = 32_768;
const BATCH_BYTES = 64 * KIB;
const FRAMES_IN_FLIGHT = 32;
const REPLAY_STREAM = "replay";
/** Read again and again, from the page cache after the first time. */
const REPLAY_MESSAGES_PER_S = 200_000;
const REPLAY_MESSAGES_MAX = 1_000_000;
const ROUNDS_MAX = 7;

/** Appending and reading at the same time, each in turns with itself alone. */
export const mixedBench: Bench = {
  name: "mixed",
  secondsDefault: 5,
  takes: ["data-set"],
  settings: {
    data_set_messages: MESSAGE_COUNT,
    batch_bytes: BATCH_BYTES,
    frames_in_flight: FRAMES_IN_FLIGHT,
  },
  run: runMixed,
};

/** The slices of each way, one a round. What two did together costs what `both` says. */
interface Rounds {
  readonly ingestAlone: CostedSlice[];
  readonly replayAlone: CostedSlice[];
  readonly ingestBeside: CostedSlice[];
  readonly replayBeside: CostedSlice[];
  readonly both: CostedSlice[];
}

async function* runMixed(options: BenchOptions): AsyncGenerator<BenchRecord> {
  const { caseFilter, seconds, storeRoot, profileDirectory } = options;
  const nodeArgs = profileArgs(profileDirectory);
  const engine = await BenchEngine.start({ engineScript, storeRoot, nodeArgs });
  let replay: ReplayThread | undefined;
  try {
    const dataSet = options.createDataSet(MESSAGE_COUNT);
    const socket = await engine.connect();
    const file = { persistence: Persistence.File, flushOnWrite: false };
    await createStream(socket, { ...file, name: REPLAY_STREAM });
    const messagesMin = Math.min(Math.round(seconds * REPLAY_MESSAGES_PER_S), REPLAY_MESSAGES_MAX);
    const { messageCount, turn } = await fillStream(socket, { messagesMin, dataSet, name: REPLAY_STREAM });
    replay = await ReplayThread.start({ url: engine.url, streamName: REPLAY_STREAM, messageCount, turn });
    await createStream(socket, file);
    const { handle, nextSequence } = await openStream(socket);
    const arena = new FrameArena({
      messages: dataSet.messages,
      handle,
      batchBytes: BATCH_BYTES,
      framesPerWrite: 1,
    });
    const framesInFlightMax = FRAMES_IN_FLIGHT;
    const by = "ready bytes";
    const pipeline = new AppendPipeline({
      socket,
      arena,
      framesInFlightMax,
      framesPerWrite: 1,
      by,
      nextSequence,
    });
    const rounds = await measureRounds({ engine, pipeline, replay }, seconds);
    checkNewest(await describeStream(socket), pipeline.acknowledgedMessages);
    const rssMib = engine.server.residentPeakMib();
    await replay.stop();
    await socket.close();
    await engine.stop();
    for (const record of mixedRecords(rounds, rssMib)) if (record.name.includes(caseFilter)) yield record;
  } finally {
    await replay?.stop();
    await engine.kill();
  }
}

async function measureRounds(
  { engine, pipeline, replay }: { engine: BenchEngine; pipeline: AppendPipeline; replay: ReplayThread },
  seconds: number,
): Promise<Rounds> {
  const read = async (forS: number): Promise<Slice> => ({
    ...(await replay.run(forS)),
    latencies: new LatencyHistogram(),
  });
  const roundCount = Math.min(Math.max(Math.floor(seconds), 1), ROUNDS_MAX);
  const sliceS = seconds / roundCount;
  await Promise.all([pipeline.run(Math.min(seconds, 1)), replay.run(Math.min(seconds, 1))]);
  const rounds: Rounds = { ingestAlone: [], replayAlone: [], ingestBeside: [], replayBeside: [], both: [] };
  for (let round = 0; round < roundCount; round++) {
    rounds.ingestAlone.push(await measureCosts(engine.server, async () => pipeline.run(sliceS)));
    rounds.replayAlone.push(await measureCosts(engine.server, async () => read(sliceS)));
    const together = await measureCosts(engine.server, async () => {
      const [ingested, replayed] = await Promise.all([pipeline.run(sliceS), read(sliceS)]);
      return { ingested, replayed };
    });
    const { ingested, replayed, ...costs } = together;
    rounds.ingestBeside.push({ ...costs, ...ingested });
    rounds.replayBeside.push({ ...costs, ...replayed });
    rounds.both.push({
      ...costs,
      elapsedS: Math.max(ingested.elapsedS, replayed.elapsedS),
      messageCount: ingested.messageCount + replayed.messageCount,
      payloadBytes: ingested.payloadBytes + replayed.payloadBytes,
      latencies: mergedLatencies([ingested, replayed]),
    });
  }
  return rounds;
}

/** CPU time of two that run together cannot be told apart: only `both` has it. */
function mixedRecords(rounds: Rounds, rssMib: number): BenchRecord[] {
  const record = (name: string, slices: readonly CostedSlice[]): BenchRecord =>
    caseRecord(name, slices, { end: { rssMib, bytesPerAcceptedByte: null } });
  const withoutCosts = ({ name, values, rounds: all, latencies }: BenchRecord): BenchRecord => {
    const isCost = (key: string): boolean => key.includes("cpu_s_per_gb") || key.startsWith("written_");
    const entries = Object.entries(values).map(([key, value]) => [key, isCost(key) ? null : value] as const);
    const kept = Object.entries(all ?? {}).filter(([key]) => !isCost(key));
    return {
      name,
      values: Object.fromEntries(entries),
      rounds: Object.fromEntries(kept),
      ...(latencies && { latencies }),
    };
  };
  const ratios = new TurnRatios();
  ratios.add("ingest_vs_alone", [rounds.ingestBeside, rounds.ingestAlone], messageRate);
  ratios.add("replay_vs_alone", [rounds.replayBeside, rounds.replayAlone], messageRate);
  return [
    record("append 64 KiB batches alone", rounds.ingestAlone),
    record("replay alone", rounds.replayAlone),
    withoutCosts(record("append 64 KiB batches beside a replay", rounds.ingestBeside)),
    withoutCosts(record("replay beside appends", rounds.replayBeside)),
    record("both together", rounds.both),
    { name: "ratios", values: ratios.values, rounds: ratios.rounds },
  ];
}
