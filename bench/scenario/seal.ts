import { openSync, closeSync, readdirSync, readSync, statSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { MachineClock } from "../../src/core/clock.ts";
import { systemRandom } from "../../src/core/random.ts";
import { Persistence, StrategyOnFull } from "../../src/core/stream-definition.ts";
import { MESSAGE_LENGTH_BYTES } from "../../src/core/message-framing.ts";
import { BlockBuilder } from "../../src/log/block-builder.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import { decodeSegmentHeader, parseSegmentName, SEGMENT_HEADER_BYTES } from "../../src/log/segment-layout.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { makeBenchDirectory, removeBenchDirectory } from "../clean-up.ts";
import type { Bench, BenchOptions, BenchRecord } from "../bench.ts";
import type { DataSet } from "../data-set.ts";
import { roundTo } from "../statistics.ts";
import {
  BenchEngine,
  checkNewest,
  createStream,
  describeStream,
  engineScript,
  openStream,
} from "./append-case.ts";
import { AppendPipeline } from "./append-pipeline.ts";
import { FrameArena } from "./frame-arena.ts";
import type { FrameSocket } from "./frame-socket.ts";
import { metricOf } from "./metrics-page.ts";
import { profileArgs } from "./profile-args.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const MESSAGE_COUNT = 32_768;
/** Completes several segments in a few seconds at one message a time; the default of a stream is 16 MiB. */
const SEGMENT_BYTES = 4 * MIB;
const SEGMENT_BYTES_OF_SHORT_RUN = 256 * KIB;
const SHORT_RUN_S = 2;
/** Of the messages that come one a second. */
const TRICKLE_MESSAGES_PER_S_OF_RUN = 1500;
const SETTLED_MS = 1000;
const SETTLE_DEADLINE_MS = 60_000;

/** What stands on the disk for each payload byte, and what was written for it, once complete segments are rewritten. */
export const sealBench: Bench = {
  name: "seal",
  secondsDefault: 10,
  takes: ["data-set"],
  settings: { segment_bytes: SEGMENT_BYTES },
  async *run(options: BenchOptions): AsyncGenerator<BenchRecord> {
    const { caseFilter, seconds, storeRoot, createDataSet, profileDirectory } = options;
    const dataSet = createDataSet(MESSAGE_COUNT);
    for (const { name, batchBytes } of awaitedCases) {
      if (name.includes(caseFilter))
        yield await measureAwaited(name, { batchBytes, seconds, storeRoot, dataSet, profileDirectory });
    }
    if (trickleName.includes(caseFilter)) yield await measureTrickle({ seconds, storeRoot, dataSet });
  },
};

const awaitedCases = [
  { name: "one message awaited", batchBytes: undefined },
  { name: "4 KiB batches awaited", batchBytes: 4 * KIB },
  { name: "16 KiB batches awaited", batchBytes: 16 * KIB },
  { name: "64 KiB batches awaited", batchBytes: 64 * KIB },
] as const;
const trickleName = "one message a second, synced every second";

/** Figures of one stream; `sealed` is all of it but the segment that grows. */
interface Figures {
  readonly messageCount: number;
  readonly payloadBytes: number;
  readonly storedBytes: number;
  readonly sealedSegments: number;
  readonly sealedBytes: number;
  readonly sealedPayloadBytes: number;
  readonly writtenBytes: number;
  readonly rewrittenBytes: number;
}

function record(name: string, figures: Figures): BenchRecord {
  const { payloadBytes, sealedPayloadBytes, writtenBytes, rewrittenBytes } = figures;
  const values = {
    messages: figures.messageCount,
    payload_mib: roundTo(payloadBytes / MIB, 3),
    sealed_segments: figures.sealedSegments,
    sealed_bytes_per_payload_byte: roundTo(figures.sealedBytes / sealedPayloadBytes, 3),
    stored_bytes_per_payload_byte: roundTo(figures.storedBytes / payloadBytes, 3),
    written_per_payload_byte: roundTo(writtenBytes / payloadBytes, 3),
    rewritten_per_payload_byte: roundTo(rewrittenBytes / payloadBytes, 3),
    write_amplification: roundTo((writtenBytes + rewrittenBytes) / payloadBytes, 3),
  };
  return { name, values };
}

/** A running engine, and a client that waits for each answer. */
async function measureAwaited(
  name: string,
  options: {
    readonly batchBytes: number | undefined;
    readonly seconds: number;
    readonly storeRoot: string;
    readonly dataSet: DataSet;
    readonly profileDirectory: string | undefined;
  },
): Promise<BenchRecord> {
  const { batchBytes, seconds, storeRoot, dataSet, profileDirectory } = options;
  const engine = await BenchEngine.start({
    engineScript,
    storeRoot,
    nodeArgs: profileArgs(profileDirectory),
  });
  try {
    const socket = await engine.connect();
    const streamSegmentSize = seconds < SHORT_RUN_S ? SEGMENT_BYTES_OF_SHORT_RUN : SEGMENT_BYTES;
    await createStream(socket, { persistence: Persistence.File, flushOnWrite: false, streamSegmentSize });
    const pipeline = await openPipeline(socket, dataSet, batchBytes);
    const directory = engine.streamDirectory();
    do await pipeline.run(seconds);
    while (segmentFiles(directory).length < 3);
    checkNewest(await describeStream(socket), pipeline.acknowledgedMessages);
    const { writtenBytes, rewrittenBytes } = await untilSettled(engine);
    const figures = {
      messageCount: pipeline.acknowledgedMessages,
      payloadBytes: pipeline.acknowledgedBytes,
      ...sealedFigures(directory),
      writtenBytes,
      rewrittenBytes,
    };
    await socket.close();
    await engine.stop();
    return record(name, figures);
  } finally {
    await engine.kill();
  }
}

async function openPipeline(
  socket: FrameSocket,
  dataSet: DataSet,
  batchBytes: number | undefined,
): Promise<AppendPipeline> {
  const { handle, nextSequence } = await openStream(socket);
  const arena = new FrameArena({ messages: dataSet.messages, handle, batchBytes, framesPerWrite: 1 });
  const one = { framesInFlightMax: 1, framesPerWrite: 1, by: "ready bytes" } as const;
  return new AppendPipeline({ socket, arena, nextSequence, ...one });
}

/** Waits until nothing was rewritten for a while. */
async function untilSettled(engine: BenchEngine): Promise<{ writtenBytes: number; rewrittenBytes: number }> {
  const deadlineMs = performance.now() + SETTLE_DEADLINE_MS;
  for (let before = NaN; ;) {
    const metrics = await engine.metrics();
    const rewrittenBytes = metricOf(metrics, "millrace_stream_rewritten_bytes_total");
    if (rewrittenBytes === before) {
      return { writtenBytes: metricOf(metrics, "millrace_stream_written_bytes_total"), rewrittenBytes };
    }
    if (performance.now() > deadlineMs) throw new Error("the engine does not come to an end of rewriting");
    before = rewrittenBytes;
    await sleep(SETTLED_MS);
  }
}

function segmentFiles(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => parseSegmentName(name) !== undefined)
    .sort();
}

/** The newest segment says how many payload bytes stand before it. */
function sealedFigures(
  directory: string,
): Pick<Figures, "storedBytes" | "sealedSegments" | "sealedBytes" | "sealedPayloadBytes"> {
  const names = segmentFiles(directory);
  const sizes = names.map((name) => statSync(path.join(directory, name)).size);
  const storedBytes = sizes.reduce((sum, size) => sum + size, 0);
  const area = Buffer.alloc(SEGMENT_HEADER_BYTES);
  const descriptor = openSync(path.join(directory, names.at(-1)!), "r");
  readSync(descriptor, area, 0, area.length, 0);
  closeSync(descriptor);
  const sealedPayloadBytes = decodeSegmentHeader(area)!.basePayloadOffset;
  const sealedBytes = storedBytes - sizes.at(-1)!;
  return { storedBytes, sealedSegments: names.length - 1, sealedBytes, sealedPayloadBytes };
}

/** A clock that the bench moves: what takes hours takes seconds. */
class SteppedClock implements MachineClock {
  #ms = 1_700_000_000_000;

  nowMs(): number {
    return this.#ms;
  }
  monotonicMs(): number {
    return this.#ms;
  }
  uptimeMs(): number {
    return this.#ms;
  }
  advance(ms: number): void {
    this.#ms += ms;
  }
}

/** The log alone, on the real file system, with the settings of an engine. */
async function measureTrickle(options: {
  readonly seconds: number;
  readonly storeRoot: string;
  readonly dataSet: DataSet;
}): Promise<BenchRecord> {
  const root = makeBenchDirectory(options.storeRoot, "seal");
  const clock = new SteppedClock();
  const directory = path.join(root, "stream");
  const log = StreamLog.create({
    storage: fileStorage,
    directory,
    streamId: "5e".repeat(16),
    epoch: 1,
    clock,
    random: systemRandom,
    policy: {
      maxSize: 256 * MIB,
      segmentSize: 16 * MIB,
      strategyOnFull: StrategyOnFull.OverwriteOldestData,
      flushOnWrite: false,
      commitAlignBytes: 4096,
      syncBytesMax: 4 * MIB,
    },
    rewriteBlockBytes: 256 * KIB,
  });
  try {
    const messageCount = Math.max(2500, TRICKLE_MESSAGES_PER_S_OF_RUN * options.seconds);
    await trickle(log, clock, options.dataSet, messageCount);
    const { writtenBytes, rewrittenBytes } = log.writes;
    const payloadBytes = log.nextPayloadOffset;
    return record(trickleName, {
      messageCount,
      payloadBytes,
      ...sealedFigures(directory),
      writtenBytes,
      rewrittenBytes,
    });
  } finally {
    log.close();
    removeBenchDirectory(root);
  }
}

async function trickle(
  log: StreamLog,
  clock: SteppedClock,
  dataSet: DataSet,
  messageCount: number,
): Promise<void> {
  const builder = new BlockBuilder();
  for (let at = 0; at < messageCount; at++) {
    const payload = dataSet.messages[at % dataSet.messages.length]!;
    const source = Buffer.alloc(MESSAGE_LENGTH_BYTES + payload.length);
    source.writeUInt32LE(payload.length);
    source.set(payload, MESSAGE_LENGTH_BYTES);
    const { length } = payload;
    builder.reset();
    builder.add({
      source,
      start: 0,
      end: source.length,
      messageCount: 1,
      payloadBytes: length,
      ingestMs: clock.nowMs(),
    });
    log.append(builder);
    clock.advance(1000);
    await new Promise<void>((resolve, reject) => {
      log.sync((error) => (error === undefined ? resolve() : reject(error)));
    });
    log.tick();
    await rewriteAll(log);
  }
}

async function rewriteAll(log: StreamLog): Promise<void> {
  for (;;) {
    let settle: () => void = () => undefined;
    const whenSettled = new Promise<void>((resolve) => (settle = resolve));
    const slice = log.rewrites?.slice(settle) ?? "idle";
    if (slice === "idle") return;
    if (slice === "waiting") await whenSettled;
  }
}
