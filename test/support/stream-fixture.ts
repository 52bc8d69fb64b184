import { systemClock } from "../../src/core/clock.ts";
import { MESSAGE_LENGTH_BYTES } from "../../src/core/message-framing.ts";
import { systemRandom } from "../../src/core/random.ts";
import {
  emptyExportDefinition,
  Persistence,
  StrategyOnFull,
  type KinesisConfig,
  type StreamDefinition,
} from "../../src/core/stream-definition.ts";
import type { StreamLoss } from "../../src/core/stream-ledger.ts";
import type { ExportProgress } from "../../src/export/live-account.ts";
import { BlockBuilder } from "../../src/log/block-builder.ts";
import type { Storage } from "../../src/log/storage.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { progressOf } from "../../src/stream/open-stream.ts";

const STREAM_ID = "00112233445566778899aabbccddeeff";

/** A stream's log as its worker would write it, for tests of what reads it. */
export class StreamFixture {
  readonly log: StreamLog;

  constructor(
    storage: Storage,
    directory: string,
    { maxSize = 2 ** 40, segmentSize = 2 ** 24 }: { maxSize?: number; segmentSize?: number } = {},
  ) {
    this.log = StreamLog.create({
      storage,
      directory,
      streamId: STREAM_ID,
      epoch: 1,
      clock: systemClock,
      random: systemRandom,
      policy: {
        maxSize,
        segmentSize,
        strategyOnFull: StrategyOnFull.OverwriteOldestData,
        flushOnWrite: false,
        commitAlignBytes: 0,
        syncBytesMax: 2 ** 30,
      },
    });
  }

  /** Appends the payloads as one block and makes them durable. @returns what exporters are told */
  async append(payloads: readonly (string | Uint8Array)[]): Promise<ExportProgress> {
    const pieces = payloads.map((payload) => Buffer.from(payload));
    const source = Buffer.concat(
      pieces.flatMap((piece) => {
        const length = Buffer.alloc(MESSAGE_LENGTH_BYTES);
        length.writeUInt32LE(piece.length);
        return [length, piece];
      }),
    );
    const builder = new BlockBuilder(Math.max(source.length, 1024));
    const payloadBytes = pieces.reduce((sum, { length }) => sum + length, 0);
    this.log.admit(payloadBytes + 24 * pieces.length);
    const messageCount = pieces.length;
    builder.add({ source, start: 0, end: source.length, messageCount, payloadBytes, ingestMs: 1 });
    this.log.append(builder);
    await new Promise<void>((resolve, reject) => {
      this.log.sync((error) => (error === undefined ? resolve() : reject(error)));
    });
    return this.progress;
  }

  get progress(): ExportProgress {
    return progressOf(this.log);
  }

  /** What is gone from its front. */
  get drops(): readonly StreamLoss[] {
    return this.log.ledger.snapshot.drops;
  }
}

/** A definition with the given Kinesis exporters. */
export function definitionWith(
  kinesis: readonly KinesisConfig[],
  changes: Partial<StreamDefinition> = {},
): StreamDefinition {
  return {
    name: "readings",
    maxSize: 2 ** 30,
    streamSegmentSize: 2 ** 24,
    strategyOnFull: StrategyOnFull.OverwriteOldestData,
    persistence: Persistence.File,
    flushOnWrite: false,
    exportDefinition: { ...emptyExportDefinition, kinesis },
    ...changes,
  };
}
