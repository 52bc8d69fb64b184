import {
  type Compression,
  MillraceClient,
  Persistence,
  type Producer,
  StrategyOnFull,
} from "../../src/client/index.ts";
import type { DataSet } from "../data-set.ts";
import { LatencyHistogram } from "../latency-histogram.ts";
import {
  BenchEngine,
  bytesPerAcceptedByte,
  checkNewest,
  FILE_STREAM_BYTES_MAX,
  measureCosts,
  STREAM_NAME,
  type EngineOptions,
} from "./append-case.ts";
import type { RunningCase, Slice } from "./slice.ts";

/** Appends through the client as programs use it, which copies each message into a batch. */
export async function startProducerCase(
  options: EngineOptions & {
    readonly dataSet: DataSet;
    readonly batchBytes: number;
    readonly compression?: Compression;
  },
): Promise<RunningCase> {
  const engine = await BenchEngine.start(options);
  try {
    const client = await MillraceClient.connect({ url: `ws://${engine.server.host}:${engine.server.port}` });
    await client.createMessageStream({
      name: STREAM_NAME,
      maxSize: FILE_STREAM_BYTES_MAX,
      strategyOnFull: StrategyOnFull.OverwriteOldestData,
      persistence: Persistence.File,
    });
    const { batchBytes, compression = "none" } = options;
    const producer = await client.producer(STREAM_NAME, { batchBytes, compression });
    return {
      measure: async (seconds) =>
        measureCosts(engine.server, async () => produce(producer, options.dataSet, seconds)),
      finish: async () => {
        await producer.close();
        const info = await client.describeMessageStream(STREAM_NAME);
        const { appended, acknowledged, resent, rejected } = producer.counters;
        if (acknowledged !== appended || resent !== 0 || rejected !== 0) {
          throw new Error(
            `${appended} appended, ${acknowledged} acknowledged, ${rejected} rejected, ${resent} resent`,
          );
        }
        checkNewest(info, acknowledged);
        const end = {
          rssMib: engine.server.residentPeakMib(),
          bytesPerAcceptedByte: bytesPerAcceptedByte(engine.segmentBytes(), info),
        };
        client.close();
        await engine.stop();
        return end;
      },
      abandon: async () => {
        await engine.kill();
        client.close();
      },
    };
  } catch (error) {
    await engine.kill();
    throw error;
  }
}

/** How many messages are appended between two looks at the clock. */
const MESSAGES_PER_LOOK = 256;

async function produce(producer: Producer, { messages }: DataSet, seconds: number): Promise<Slice> {
  let messageCount = 0;
  let payloadBytes = 0;
  const sentBefore = producer.counters.sentBytes;
  const startMs = performance.now();
  const endMs = startMs + seconds * 1000;
  while (messageCount % MESSAGES_PER_LOOK !== 0 || performance.now() < endMs) {
    const message = messages[messageCount % messages.length]!;
    const waiting = producer.append(message);
    if (waiting) await waiting;
    messageCount += 1;
    payloadBytes += message.length;
  }
  await producer.flush();
  return {
    elapsedS: (performance.now() - startMs) / 1000,
    messageCount,
    payloadBytes,
    // The producer answers nobody who does not wait.
    latencies: new LatencyHistogram(),
    sentBytes: producer.counters.sentBytes - sentBefore,
  };
}
