import { Persistence } from "../../src/core/stream-definition.ts";
import type { Bench, BenchOptions, BenchRecord } from "../bench.ts";
import type { DataSet } from "../data-set.ts";
import { type LatencyHistogram, latencyValues } from "../latency-histogram.ts";
import { median, roundTo } from "../statistics.ts";
import {
  BenchEngine,
  bytesPerAcceptedByte,
  createStream,
  engineScript,
  type EngineOptions,
  measureCosts,
} from "./append-case.ts";
import { caseRecord } from "./case-record.ts";
import { measureDiskSyncs } from "./disk-sync.ts";
import { metricOf } from "./metrics-page.ts";
import { profileArgs } from "./profile-args.ts";
import { SharedLoad } from "./shared-load.ts";
import type { CostedSlice, RunningCase } from "./slice.ts";
import { measureInTurns } from "./turns.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const MESSAGE_COUNT = 32_768;
const IN_FLIGHT_BYTES_MAX = 2 * MIB;
/** Just a message of the data set and the head of its frame, so that a frame holds one. */
const SINGLE_BATCH_BYTES = 256;
const DISK_S_MAX = 2;

interface FlushCase {
  readonly name: string;
  readonly producers: number;
  readonly batchBytes: number;
  readonly framesInFlightEach: number;
}

const cases: readonly FlushCase[] = [
  {
    name: "append one message awaited",
    producers: 1,
    batchBytes: SINGLE_BATCH_BYTES,
    framesInFlightEach: 1,
  },
  ...[8, 64].map((producers) => ({
    name: `append one message awaited, ${producers} producers`,
    producers,
    batchBytes: SINGLE_BATCH_BYTES,
    framesInFlightEach: 1,
  })),
  ...[1, 4, 16].map((producers) => ({
    name: `append 64 KiB batches, ${producers === 1 ? "1 producer" : `${producers} producers`}`,
    producers,
    batchBytes: 64 * KIB,
    framesInFlightEach: IN_FLIGHT_BYTES_MAX / (64 * KIB) / producers,
  })),
];

/** What `flushOnWrite` costs, and what a sync that several wait for saves. */
export const flushBench: Bench = {
  name: "flush",
  secondsDefault: 5,
  takes: ["data-set"],
  settings: { data_set_messages: MESSAGE_COUNT, in_flight_bytes_max: IN_FLIGHT_BYTES_MAX },
  run: runFlush,
};

async function* runFlush(options: BenchOptions): AsyncGenerator<BenchRecord> {
  const { caseFilter, seconds, storeRoot, profileDirectory } = options;
  const nodeArgs = profileArgs(profileDirectory);
  const engine: EngineOptions = { engineScript, storeRoot, nodeArgs };
  const dataSet = options.createDataSet(MESSAGE_COUNT);
  const wanted = cases.filter(({ name }) => name.includes(caseFilter));
  if (wanted.length === 0) return;
  const diskS = Math.min(seconds, DISK_S_MAX) / 2;
  const diskSyncs = measureDiskSyncs(storeRoot, diskS);
  for (const one of wanted) {
    const syncs = new SyncCounts();
    const start = async () => startCase({ ...engine, ...one, dataSet, syncs });
    for await (const { name, slices, end } of measureInTurns([{ name: one.name, start }], seconds)) {
      const { values, ...record } = caseRecord(name, slices, { end });
      yield { ...record, values: { ...syncs.values(slices), ...values } };
    }
  }
  // Before and after, as the disk changes too.
  diskSyncs.addAll(measureDiskSyncs(storeRoot, diskS));
  yield diskRecord(diskSyncs);
}

function diskRecord(syncs: LatencyHistogram): BenchRecord {
  const summary = syncs.summary();
  return {
    name: "the disk alone: 4 KiB and fdatasync",
    values: {
      syncs_per_s: roundTo(1e6 / (summary?.mean_us ?? NaN), 4),
      ...latencyValues("sync", syncs),
    },
    ...(summary && { latencies: { sync: summary } }),
  };
}

/** How often the engine made the stream durable, by the rounds that were measured. */
class SyncCounts {
  readonly #counts: number[] = [];

  add(count: number): void {
    this.#counts.push(count);
  }

  values(slices: readonly CostedSlice[]): Record<string, number> {
    // The first was the warm-up.
    const counts = this.#counts.slice(-slices.length);
    const middle = (of: (slice: CostedSlice, syncs: number) => number): number =>
      roundTo(median(slices.map((slice, round) => of(slice, counts[round]!))), 4);
    return {
      syncs_per_s: middle(({ elapsedS }, syncs) => syncs / elapsedS),
      messages_per_sync: middle(({ messageCount }, syncs) => messageCount / syncs),
    };
  }
}

async function startCase(
  options: EngineOptions & FlushCase & { readonly dataSet: DataSet; readonly syncs: SyncCounts },
): Promise<RunningCase> {
  const { producers, syncs } = options;
  const engine = await BenchEngine.start(options);
  try {
    const socket = await engine.connect();
    await createStream(socket, { persistence: Persistence.File, flushOnWrite: true });
    await socket.close();
    const load = await SharedLoad.start(engine, { ...options, connections: producers });
    return {
      measure: async (seconds) => {
        const before = await syncCount(engine);
        const slice = await measureCosts(engine.server, async () => load.run(seconds));
        const count = (await syncCount(engine)) - before;
        if (count === 0) throw new Error(`${slice.messageCount} messages were acknowledged without a sync`);
        syncs.add(count);
        return slice;
      },
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

/** Of its only stream, as `/metrics` tells it. */
async function syncCount(engine: BenchEngine): Promise<number> {
  return metricOf(await engine.metrics(), "millrace_stream_syncs_total");
}
