import { setTimeout as sleep } from "node:timers/promises";
import { MESSAGE_OVERHEAD_BYTES } from "../../src/core/limits.ts";
import { emptyExportDefinition, Persistence } from "../../src/core/stream-definition.ts";
import type { Bench, BenchOptions, BenchRecord } from "../bench.ts";
import type { DataSet } from "../data-set.ts";
import { roundTo } from "../statistics.ts";
import {
  BenchEngine,
  bytesPerAcceptedByte,
  checkNewest,
  createStream,
  describeStream,
  engineScript,
  FILE_STREAM_BYTES_MAX,
  measureCosts,
  openStream,
} from "./append-case.ts";
import { caseRecord } from "./case-record.ts";
import type { FrameSocket } from "./frame-socket.ts";
import { KinesisTarget } from "./kinesis-target.ts";
import { driverLagValues, OpenLoop, overValues, type OpenLoopSlice } from "./open-loop.ts";
import { profileArgs } from "./profile-args.ts";
import type { CostedSlice } from "./slice.ts";

const RATE_DEFAULT = 50_000;
const SECONDS_DEFAULT = 20;
const MESSAGE_COUNT = 32_768;
const WARM_UP_S_MAX = 2;
/** The whole run is kept, so that nothing is overwritten before it is exported. */
const STREAM_BYTES_MARGIN = 1.25;
const EXPORT_POLL_MS = 50;
/** An exporter that sends nothing for so long will not send the rest either. */
const EXPORT_STALL_MS = 30_000;
const EXPORTER = "open";

const cases = [
  { name: "export on", hasExporter: true },
  { name: "export off", hasExporter: false },
] as const;

/** Append latency at a rate that does not ask whether the engine keeps up, from the time at which each message was due. */
export const openBench: Bench = {
  name: "open",
  secondsDefault: SECONDS_DEFAULT,
  takes: ["rate", "data-set"],
  settings: { rate: RATE_DEFAULT, data_set_messages: MESSAGE_COUNT },
  run: runOpen,
};

async function* runOpen(options: BenchOptions): AsyncGenerator<BenchRecord> {
  for (const { name, hasExporter } of cases) {
    if (!name.includes(options.caseFilter)) continue;
    yield await measure(name, options, hasExporter);
  }
}

async function measure(name: string, options: BenchOptions, hasExporter: boolean): Promise<BenchRecord> {
  const { seconds, storeRoot, profileDirectory, rate: messagesPerSecond = RATE_DEFAULT } = options;
  const nodeArgs = profileArgs(profileDirectory);
  const dataSet = options.createDataSet(MESSAGE_COUNT);
  const target = hasExporter ? await KinesisTarget.start() : undefined;
  let engine: BenchEngine | undefined;
  try {
    engine = await BenchEngine.start({
      engineScript,
      storeRoot,
      nodeArgs,
      ...(target && { env: target.environment }),
    });
    const socket = await engine.connect();
    const warmUpS = Math.min(WARM_UP_S_MAX, seconds);
    await createStream(
      socket,
      streamFor(dataSet, { messages: messagesPerSecond * (seconds + warmUpS), target }),
    );
    const { handle, nextSequence } = await openStream(socket);
    const loop = new OpenLoop({ socket, handle, nextSequence, dataSet, messagesPerSecond });
    await loop.run(warmUpS);
    const endpointCpuS = target?.cpuSeconds() ?? 0;
    const slice = await measureCosts(engine.server, async () => loop.run(seconds));
    const values = {
      ...overValues(slice),
      ...driverLagValues(slice),
      ...emptyExportValues,
      ...(target && (await exportValues(target, socket, loop.acknowledgedMessages, endpointCpuS))),
    };
    const info = await describeStream(socket);
    checkNewest(info, loop.acknowledgedMessages);
    const end = {
      rssMib: engine.server.residentPeakMib(),
      bytesPerAcceptedByte: bytesPerAcceptedByte(engine.segmentBytes(), info),
    };
    await socket.close();
    await engine.stop();
    await target?.stop();
    return openRecord(name, { slice, end, values });
  } finally {
    await engine?.kill();
    await target?.kill();
  }
}

function streamFor(
  { payloadBytes, messages: { length } }: DataSet,
  { messages, target }: { readonly messages: number; readonly target: KinesisTarget | undefined },
) {
  const bytes = messages * (payloadBytes / length + MESSAGE_OVERHEAD_BYTES);
  return {
    persistence: Persistence.File,
    flushOnWrite: false,
    maxSize: Math.max(FILE_STREAM_BYTES_MAX, Math.round(bytes * STREAM_BYTES_MARGIN)),
    ...(target && {
      exportDefinition: {
        ...emptyExportDefinition,
        kinesis: [{ identifier: EXPORTER, kinesisStreamName: "target" }],
      },
    }),
  };
}

function openRecord(
  name: string,
  {
    slice,
    end,
    values,
  }: {
    readonly slice: OpenLoopSlice & CostedSlice;
    readonly end: Parameters<typeof caseRecord>[2]["end"];
    readonly values: Readonly<Record<string, number | null>>;
  },
): BenchRecord {
  const record = caseRecord(name, [slice], { end });
  const driver = slice.driverLags.summary();
  return {
    ...record,
    values: { ...record.values, ...values },
    latencies: { ...record.latencies, ...(driver && { driver_lag: driver }) },
  };
}

const emptyExportValues = {
  export_backlog_messages: null,
  export_drained_s: null,
  endpoint_cpu_s: null,
} as const;

/** What the exporter still had to send when the last message was acknowledged, and how long that took; all must arrive. */
async function exportValues(
  target: KinesisTarget,
  socket: FrameSocket,
  sentMessages: number,
  cpuBeforeS: number,
): Promise<Record<string, number>> {
  const startMs = performance.now();
  const endpointCpuS = target.cpuSeconds() - cpuBeforeS;
  const atEnd = await exportedCount(socket);
  let seen = atEnd;
  let seenMs = startMs;
  while (seen < sentMessages) {
    await sleep(EXPORT_POLL_MS);
    const exported = await exportedCount(socket);
    if (exported > seen) seenMs = performance.now();
    if (performance.now() - seenMs > EXPORT_STALL_MS) {
      throw new Error(
        `the exporter sent ${exported} of ${sentMessages} messages, and none for ${EXPORT_STALL_MS} ms`,
      );
    }
    seen = exported;
  }
  const { records } = await target.counts();
  // At least once: a request that was sent again would bring more, a lost one less.
  if (records < sentMessages) throw new Error(`${sentMessages} messages were exported, ${records} arrived`);
  return {
    export_backlog_messages: sentMessages - atEnd,
    export_drained_s: roundTo((performance.now() - startMs) / 1000, 3),
    endpoint_cpu_s: roundTo(endpointCpuS, 3),
  };
}

async function exportedCount(socket: FrameSocket): Promise<number> {
  const { exportStatuses } = await describeStream(socket);
  const { exportedMessagesCount = 0, errorMessage = "" } = exportStatuses[0] ?? {};
  if (errorMessage !== "") throw new Error(`the exporter failed: ${errorMessage}`);
  return exportedMessagesCount;
}
