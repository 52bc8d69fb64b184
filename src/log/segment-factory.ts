import path from "node:path";

import { systemCode } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { RecoveredClock } from "./clock-trace.ts";
import { encodePadding } from "./block-layout.ts";
import { removeIfThere } from "./durable-file.ts";
import { formatSegmentName, GENERATION_MAX, ID_BYTES, type SegmentHeader } from "./segment-layout.ts";
import {
  type SegmentInfo,
  SegmentWriter,
  type StoredBlock,
  throwIfFailed,
  type WriteCount,
} from "./segment-writer.ts";
import type { Storage, StorageFile } from "./storage.ts";
import type { StreamClock } from "./stream-clock.ts";

export interface SegmentFactoryOptions {
  readonly storage: Storage;
  readonly directory: string;
  readonly streamId: Buffer;
  readonly epoch: number;
  readonly time: StreamClock;
  readonly random: Random;
  /** By base sequence, the highest generation that was ever seen. */
  readonly generations: Map<number, number>;
  /** Files that hold nothing that counts, and could not be removed so far. */
  readonly leftovers: readonly string[];
  readonly writes: WriteCount;
}

interface NewSegment {
  readonly baseSequence: number;
  readonly basePayloadOffset: number;
  readonly blocks: readonly StoredBlock[];
  readonly previous: SegmentInfo | undefined;
  readonly alignBytes: number;
}

/** Makes a stream's segment files, each under a name that was never used. */
export class SegmentFactory {
  readonly #options: SegmentFactoryOptions;
  /** Files without durable messages that a replacement makes worthless. */
  #worthless: string[];

  constructor(options: SegmentFactoryOptions) {
    this.#options = options;
    this.#worthless = [...options.leftovers];
  }

  /**
   * A new segment with `blocks` in it, durable and usable. The head goes last: until it is there the file does not count and
   * its predecessor is not cut short.
   */
  create(contents: NewSegment): SegmentWriter {
    const { storage, directory } = this.#options;
    const { blocks, alignBytes } = contents;
    const header = this.#nextHeader(contents);
    const filePath = path.join(directory, formatSegmentName(header));
    const file = this.#open(filePath, header);
    let mayHaveHead = false;
    try {
      const writer = new SegmentWriter(file, header, { writes: this.#options.writes });
      for (const block of blocks) throwIfFailed(writer.writeBlock(block));
      if (blocks.length > 0) {
        const padding = encodePadding(writer.position, alignBytes);
        if (padding !== undefined) throwIfFailed(writer.writeFiller(padding));
        file.syncNow();
      }
      mayHaveHead = true;
      throwIfFailed(writer.writeHeader());
      file.syncNow();
      storage.syncDirectory(directory);
      writer.noteSynced(writer);
      writer.isMarkProven = this.#options.time.isAgeProven;
      writer.isOutOfTime = !this.#options.time.fits(header);
      return writer;
    } catch (error) {
      file.close();
      // On a full medium what was written of it would stand in the way of the next try.
      if (!this.#isGone(filePath)) this.#worthless.push(filePath);
      else if (!mayHaveHead) this.#giveBack(header);
      throw error;
    }
  }

  #open(filePath: string, header: SegmentHeader): StorageFile {
    try {
      return this.#options.storage.open(filePath, "create");
    } catch (error) {
      if (systemCode(error) !== "EEXIST") this.#giveBack(header);
      throw error;
    }
  }

  /** No segment was ever seen under this name: without room, tries would use up all there are. */
  #giveBack({ baseSequence, generation }: SegmentHeader): void {
    if (generation === 0) this.#options.generations.delete(baseSequence);
    else this.#options.generations.set(baseSequence, generation - 1);
  }

  #nextHeader(contents: NewSegment): SegmentHeader {
    const { baseSequence, basePayloadOffset, previous } = contents;
    const { generations, streamId, epoch, random } = this.#options;
    const used = generations.get(baseSequence);
    const generation = used === undefined ? 0 : used + 1;
    if (generation > GENERATION_MAX) throw new Error(`no generation left for the segment at ${baseSequence}`);
    for (const base of generations.keys()) if (base < baseSequence) generations.delete(base);
    generations.set(baseSequence, generation);
    return {
      streamId,
      segmentId: Buffer.from(random.bytes(ID_BYTES)),
      baseSequence,
      basePayloadOffset,
      generation,
      epoch,
      ...this.#timeOf(contents.blocks[0]),
      rewritten: undefined,
      predecessor:
        previous === undefined
          ? undefined
          : {
              segmentId: previous.header.segmentId,
              baseSequence: previous.header.baseSequence,
              endSequence: previous.endSequence,
              endBytes: previous.endBytes,
              endPayloadOffset: previous.endPayloadOffset,
            },
    };
  }

  /**
   * What is written again keeps its times, and the era that they are in. Its run time may be an estimate that is too late, and
   * no count of the stream may run ahead: but it came before now.
   */
  #timeOf(
    first: StoredBlock | undefined,
  ): Omit<RecoveredClock, "stampMs"> & Pick<SegmentHeader, "createdMs"> {
    const { stampMs: createdMs, ageMs, runMs, clockEra, reference } = this.#options.time;
    if (first === undefined) return { createdMs, ageMs, runMs, clockEra, reference };
    return {
      createdMs: first.header.firstIngestMs,
      ageMs: first.age.ageMs,
      runMs: Math.min(first.age.runMs, runMs),
      clockEra: first.clockEra,
      reference,
    };
  }

  noteWorthless(filePath: string): void {
    this.#worthless.push(filePath);
  }

  /** Removes files that the log has counted as gone. @throws the system's error when one stays; it is tried again later */
  remove(files: readonly string[]): void {
    const failures: unknown[] = [];
    for (const file of files) {
      try {
        removeIfThere(this.#options.storage, file);
      } catch (error) {
        this.#worthless.push(file);
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  /** Only once a replacement is durable. */
  dropWorthless(): void {
    this.#worthless = this.#worthless.filter((file) => !this.#isGone(file));
  }

  /** What stays is tried again with the next segment; until then recovery knows it by its lower generation or missing head. */
  #isGone(file: string): boolean {
    try {
      removeIfThere(this.#options.storage, file);
      return true;
    } catch {
      return false;
    }
  }
}
