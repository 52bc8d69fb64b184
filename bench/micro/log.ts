import path from "node:path";
import { systemClock } from "../../src/core/clock.ts";
import { MESSAGE_OVERHEAD_BYTES } from "../../src/core/limits.ts";
import { systemRandom } from "../../src/core/random.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { type Batch, BlockBuilder } from "../../src/log/block-builder.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import { decodeFrame, encodeFrame } from "../../src/log/lz4-frame.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { makeBenchDirectory, removeBenchDirectory } from "../clean-up.ts";
import { frameMessages } from "./framing.ts";
import { microBench, type MicroCase } from "./micro-bench.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const OPERATION_COUNT = 10;

export const logBench = microBench("log", ({ storeRoot }) => [
  encodeFrameCase(64),
  encodeFrameCase(256),
  decodeFrameCase(256),
  appendCase(storeRoot, 64),
  appendCase(storeRoot, 256),
]);

function encodeFrameCase(kib: number): MicroCase {
  const raw = Buffer.from(frameMessages(kib * KIB).bytes);
  return {
    name: `encode an LZ4 frame of ${kib} KiB`,
    operationCount: OPERATION_COUNT,
    bytesPerOperation: raw.length,
    run: () => {
      let sum = 0;
      for (let count = 0; count < OPERATION_COUNT; count++) {
        sum += encodeFrame(raw, { tryToCompress: true }).sizeBytes;
      }
      return sum;
    },
  };
}

function decodeFrameCase(kib: number): MicroCase {
  const raw = Buffer.from(frameMessages(kib * KIB).bytes);
  const frame = Buffer.concat(encodeFrame(raw, { tryToCompress: true }).pieces);
  return {
    name: `decode an LZ4 frame of ${kib} KiB`,
    operationCount: OPERATION_COUNT,
    bytesPerOperation: raw.length,
    run: () => {
      let sum = 0;
      for (let count = 0; count < OPERATION_COUNT; count++) {
        const decoded = decodeFrame(frame, raw.length);
        sum += decoded.length + decoded[decoded.length - 1]!;
      }
      return sum;
    },
  };
}

/** A block with LZ4, both checksums and the write; syncs run beside, as often as the default settings ask for them. */
function appendCase(storeRoot: string, kib: number): MicroCase {
  const root = makeBenchDirectory(storeRoot, "log");
  const { bytes, messageCount } = frameMessages(kib * KIB);
  const payloadBytes = bytes.length - 4 * messageCount;
  const log = StreamLog.create({
    storage: fileStorage,
    directory: path.join(root, "stream"),
    streamId: "00".repeat(16),
    epoch: 1,
    clock: systemClock,
    random: systemRandom,
    policy: {
      maxSize: 256 * MIB,
      segmentSize: 16 * MIB,
      strategyOnFull: StrategyOnFull.OverwriteOldestData,
      flushOnWrite: false,
      commitAlignBytes: 4096,
      syncBytesMax: 4 * MIB,
    },
  });
  const batch: Batch = {
    source: bytes,
    start: 0,
    end: bytes.length,
    messageCount,
    payloadBytes,
    ingestMs: 1,
  };
  const builder = new BlockBuilder();
  return {
    name: `append a block of ${kib} KiB`,
    operationCount: OPERATION_COUNT,
    bytesPerOperation: bytes.length,
    run: async () => {
      const start = log.nextSequence;
      for (let count = 0; count < OPERATION_COUNT; count++) {
        builder.reset();
        builder.add(batch);
        log.admit(payloadBytes + messageCount * MESSAGE_OVERHEAD_BYTES);
        log.append(builder);
        // The end of a sync is told on the event loop.
        while (log.isSaturated) await new Promise((resolve) => setImmediate(resolve));
      }
      return log.nextSequence - start;
    },
    close: async () => {
      while (log.isSyncing) await new Promise((resolve) => setImmediate(resolve));
      log.close();
      removeBenchDirectory(root);
    },
  };
}
