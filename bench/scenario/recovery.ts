import { setImmediate as turn } from "node:timers/promises";
import { systemClock } from "../../src/core/clock.ts";
import { BLOCK_TARGET_BYTES, MESSAGE_OVERHEAD_BYTES } from "../../src/core/limits.ts";
import { systemRandom } from "../../src/core/random.ts";
import { emptyExportDefinition, Persistence, StrategyOnFull } from "../../src/core/stream-definition.ts";
import { BlockBuilder } from "../../src/log/block-builder.ts";
import { writeDurableFile } from "../../src/log/durable-file.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { streamOptionsDefault } from "../../src/core/stream-options.ts";
import { definitionPath, encodeDefinition } from "../../src/stream/definition-file.ts";
import { newStreamDirectory, openStoreDirectory } from "../../src/stream/store-directory.ts";
import { seededRandom } from "../seeded-random.ts";
import { makeBenchDirectory, removeBenchDirectory } from "../clean-up.ts";
import type { Bench, BenchOptions, BenchRecord } from "../bench.ts";
import { median, roundTo } from "../statistics.ts";
import { engineScript, startServer } from "./append-case.ts";
import { LITTLE_GARBAGE } from "./little-garbage.ts";
import { COLD_NOTE, dropCaches } from "./page-cache.ts";

const MIB = 1024 * 1024;
const SEGMENTS = 1000;
const SEGMENT_BYTES = 10_000_000;
const SMALL_SEGMENT_BYTES = 100_000;
const MESSAGE_BYTES = 1000;
const IDLE_STREAMS = 1000;
const STARTS = 5;
/** Below the usual time it is only shown that everything works: fewer segments, streams and starts. */
const SECONDS_DEFAULT = 5;
const SHORT_DIVISOR = 50;
const SEED = 20_251_107;
const emptyValues = {
  ready_ms: null,
  over_empty_ms: null,
  rss_mib: null,
  kib_per_stream: null,
  rss_kib_per_stream: null,
};

interface StoreShape {
  readonly streams: number;
  readonly segments: number;
  readonly segmentBytes: number;
}

/** How long an engine takes from its start to its ready line, and how much memory it then has, by what its store holds. */
export const recoveryBench: Bench = {
  name: "recovery",
  secondsDefault: SECONDS_DEFAULT,
  settings: { segments: SEGMENTS, segment_bytes: SEGMENT_BYTES, idle_streams: IDLE_STREAMS, starts: STARTS },
  run: (options) => runRecovery(options),
};

async function* runRecovery({ caseFilter, seconds, storeRoot }: BenchOptions): AsyncGenerator<BenchRecord> {
  const divisor = seconds < SECONDS_DEFAULT ? SHORT_DIVISOR : 1;
  const starts = divisor === 1 ? STARTS : 1;
  const segments = SEGMENTS / divisor;
  const streams = IDLE_STREAMS / divisor;
  const gigabytes = (segments * SEGMENT_BYTES) / 1e9;
  const cases: { name: string; shape: StoreShape; isCold?: true }[] = [
    { name: "empty store", shape: { streams: 0, segments: 0, segmentBytes: 0 } },
    {
      name: `${segments} segments, ${gigabytes / 100} GB`,
      shape: { streams: 1, segments, segmentBytes: SMALL_SEGMENT_BYTES },
    },
    {
      name: `${segments} segments, ${gigabytes} GB`,
      shape: { streams: 1, segments, segmentBytes: SEGMENT_BYTES },
    },
    {
      name: `${segments} segments, ${gigabytes} GB, cold`,
      shape: { streams: 1, segments, segmentBytes: SEGMENT_BYTES },
      isCold: true,
    },
    { name: `${streams} idle streams`, shape: { streams, segments: 0, segmentBytes: SEGMENT_BYTES } },
  ];
  const empty = await measure(cases[0]!.shape, { storeRoot, starts, isCold: false });
  // With its first stream an engine has a worker; what a stream costs beside that is asked for.
  const few = await measure({ ...cases.at(-1)!.shape, streams: 2 }, { storeRoot, starts, isCold: false });
  for (const { name, shape, isCold = false } of cases) {
    if (!name.includes(caseFilter)) continue;
    if (isCold && !dropCaches()) {
      yield { name, values: { ...emptyValues, note: COLD_NOTE } };
      continue;
    }
    const { readyMs, residentMib, leanMib } = await measure(shape, { storeRoot, starts, isCold });
    const perStream = (mib: number | null, ofFew: number | null): number | null =>
      mib === null || ofFew === null || shape.streams < 2
        ? null
        : roundTo(((mib - ofFew) * 1024) / (shape.streams - 2), 3);
    const values = {
      ready_ms: roundTo(readyMs, 3),
      over_empty_ms: roundTo(readyMs - empty.readyMs, 3),
      rss_mib: roundTo(residentMib, 3),
      kib_per_stream: perStream(leanMib, few.leanMib),
      rss_kib_per_stream: perStream(residentMib, few.residentMib),
    };
    yield { name, values };
  }
}

async function measure(
  shape: StoreShape,
  { storeRoot, starts, isCold }: { storeRoot: string; starts: number; isCold: boolean },
): Promise<{ readyMs: number; residentMib: number; leanMib: number | null }> {
  const storeDirectory = makeBenchDirectory(storeRoot, "recovery");
  try {
    await makeStore(storeDirectory, shape);
    const readyMs: number[] = [];
    const residentMib: number[] = [];
    const leanMib: number[] = [];
    for (let start = 0; start < starts; start++) {
      if (isCold) dropCaches();
      const startedMs = performance.now();
      residentMib.push(
        await startOnce(storeDirectory, [], () => readyMs.push(performance.now() - startedMs)),
      );
      // Only where it is asked what a stream takes.
      if (shape.streams >= 2) leanMib.push(await startOnce(storeDirectory, LITTLE_GARBAGE));
    }
    return {
      readyMs: median(readyMs),
      residentMib: median(residentMib),
      leanMib: leanMib.length === 0 ? null : median(leanMib),
    };
  } finally {
    removeBenchDirectory(storeDirectory);
  }
}

/** One start and its clean stop. @returns what is resident when it is ready */
async function startOnce(
  storeDirectory: string,
  nodeArgs: readonly string[],
  onReady: () => void = () => undefined,
): Promise<number> {
  const server = await startServer(storeDirectory, { engineScript, nodeArgs });
  onReady();
  const residentMib = server.residentMib();
  await server.stop();
  return residentMib;
}

/** A store as an engine leaves it, without going through one. */
async function makeStore(
  storeDirectory: string,
  { streams, segments, segmentBytes }: StoreShape,
): Promise<void> {
  const { epoch } = openStoreDirectory({ storage: fileStorage, storeDirectory });
  const payload = Buffer.from(seededRandom(SEED).bytes(MESSAGE_BYTES));
  for (let index = 0; index < streams; index++) {
    const { streamId, directory } = newStreamDirectory(systemRandom, storeDirectory);
    const maxSize = 4 * SEGMENTS * SEGMENT_BYTES;
    const sizes = { maxSize, streamSegmentSize: Math.max(MIB, segmentBytes) };
    const definition = {
      name: `stream ${index}`,
      ...sizes,
      strategyOnFull: StrategyOnFull.OverwriteOldestData,
      persistence: Persistence.File,
      flushOnWrite: false,
      exportDefinition: emptyExportDefinition,
    };
    const log = StreamLog.create({
      storage: fileStorage,
      directory,
      streamId,
      epoch,
      clock: systemClock,
      random: systemRandom,
      policy: {
        maxSize,
        segmentSize: segmentBytes,
        strategyOnFull: StrategyOnFull.RejectNewData,
        flushOnWrite: false,
        commitAlignBytes: 4096,
        syncBytesMax: 4 * MIB,
      },
    });
    const stored = encodeDefinition({ definition, options: streamOptionsDefault }, directory);
    writeDurableFile(fileStorage, definitionPath(directory), stored);
    await fill(log, segments * segmentBytes, payload);
    log.close();
  }
}

async function fill(log: StreamLog, bytes: number, payload: Buffer): Promise<void> {
  const framed = Buffer.alloc(4 + payload.length);
  framed.writeUInt32LE(payload.length);
  payload.copy(framed, 4);
  const count = Math.floor(BLOCK_TARGET_BYTES / framed.length);
  const source = Buffer.concat(Array.from({ length: count }, () => framed));
  // Random throughout, so that what is stored is as large as what was appended.
  const random = seededRandom(SEED);
  for (let at = 0; at < count; at++) source.set(random.bytes(payload.length), at * framed.length + 4);
  const builder = new BlockBuilder();
  const batch = {
    source,
    start: 0,
    end: source.length,
    messageCount: count,
    payloadBytes: count * payload.length,
  };
  const costBytes = batch.payloadBytes + MESSAGE_OVERHEAD_BYTES * count;
  for (let done = 0; done < bytes; done += costBytes) {
    while (log.isSaturated) await turn();
    builder.reset();
    builder.add({ ...batch, ingestMs: Date.now() });
    log.admit(costBytes);
    log.append(builder);
    await turn();
  }
}
