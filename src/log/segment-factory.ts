import path from "node:path";

import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import { encodePadding } from "./block-layout.ts";
import type { SegmentInfo } from "./log-recovery.ts";
import { formatSegmentName, GENERATION_MAX, ID_BYTES, type SegmentHeader } from "./segment-layout.ts";
import { SegmentWriter, type StoredBlock, type WriteOutcome } from "./segment-writer.ts";
import type { Storage } from "./storage.ts";

export interface SegmentFactoryOptions {
  readonly storage: Storage;
  readonly directory: string;
  readonly streamId: Buffer;
  readonly epoch: number;
  readonly clock: Clock;
  readonly random: Random;
  /** By base sequence, the highest generation that was ever seen. */
  readonly generations: Map<number, number>;
}

/** Makes a stream's segment files, each under a name that was never used. */
export class SegmentFactory {
  readonly #options: SegmentFactoryOptions;
  /** Files without durable messages that a replacement makes worthless. */
  #worthless: string[] = [];

  constructor(options: SegmentFactoryOptions) {
    this.#options = options;
  }

  /**
   * A new segment with `blocks` in it, durable and usable. The head goes last: until it is there the file does not count and
   * its predecessor is not cut short.
   */
  create(contents: {
    readonly baseSequence: number;
    readonly blocks: readonly StoredBlock[];
    readonly previous: SegmentInfo | undefined;
    readonly alignBytes: number;
  }): SegmentWriter {
    const { storage, directory } = this.#options;
    const { blocks, alignBytes } = contents;
    const header = this.#nextHeader(contents.baseSequence, contents.previous);
    const filePath = path.join(directory, formatSegmentName(header));
    const file = storage.open(filePath, "create");
    try {
      const writer = new SegmentWriter(file, header);
      for (const block of blocks) throwIfFailed(writer.writeBlock(block));
      if (blocks.length > 0) {
        const padding = encodePadding(writer.position, alignBytes);
        if (padding !== undefined) throwIfFailed(writer.writeFiller(padding));
        file.syncNow();
      }
      throwIfFailed(writer.writeHeader());
      file.syncNow();
      storage.syncDirectory(directory);
      writer.syncedPosition = writer.position;
      writer.syncedSequence = writer.endSequence;
      return writer;
    } catch (error) {
      file.close();
      this.#worthless.push(filePath);
      throw error;
    }
  }

  #nextHeader(baseSequence: number, previous: SegmentInfo | undefined): SegmentHeader {
    const { generations, streamId, epoch, random, clock } = this.#options;
    const used = generations.get(baseSequence);
    const generation = used === undefined ? 0 : used + 1;
    if (generation > GENERATION_MAX) throw new Error(`no generation left for the segment at ${baseSequence}`);
    for (const base of generations.keys()) if (base < baseSequence) generations.delete(base);
    generations.set(baseSequence, generation);
    return {
      streamId,
      segmentId: Buffer.from(random.bytes(ID_BYTES)),
      baseSequence,
      generation,
      epoch,
      createdMs: Math.max(0, Math.floor(clock.nowMs())),
      clockEra: 0,
      predecessor:
        previous === undefined
          ? undefined
          : {
              segmentId: previous.header.segmentId,
              baseSequence: previous.header.baseSequence,
              endSequence: previous.endSequence,
              endBytes: previous.endBytes,
            },
    };
  }

  noteWorthless(filePath: string): void {
    this.#worthless.push(filePath);
  }

  /** Only once a replacement is durable. */
  dropWorthless(): void {
    for (const file of this.#worthless) {
      try {
        this.#options.storage.unlink(file);
      } catch {
        // Recovery knows it by its lower generation, or by its missing head.
      }
    }
    this.#worthless = [];
  }
}

function throwIfFailed(outcome: WriteOutcome): void {
  if (outcome.error !== undefined) throw outcome.error;
}
