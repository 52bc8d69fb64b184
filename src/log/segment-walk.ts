import { blockEndPayloadOffset, blockEndSequence, type BlockHeader, BlockKind } from "./block-layout.ts";
import { type DecodedBlock, decodeBody } from "./decoded-block.ts";
import { SEGMENT_HEADER_BYTES } from "./segment-layout.ts";
import { SegmentSource, stepBlock } from "./segment-scanner.ts";
import { SummaryBuilder } from "./segment-summary.ts";
import type { SegmentInfo } from "./segment-writer.ts";
import type { StorageFile } from "./storage.ts";
import type { TimeMark } from "./stream-clock.ts";
import { REWRITE_READ_BYTES } from "../core/limits.ts";

/** Reads every message of a complete segment once, in order. Unlike a reader it goes past nothing. */
export class SegmentWalk {
  readonly #segment: SegmentInfo;
  readonly #source: SegmentSource;
  #endSequence: number;
  #endPayloadOffset: number;
  readonly #totals: SummaryBuilder;
  #position = SEGMENT_HEADER_BYTES;
  #time: TimeMark;

  constructor(file: StorageFile, segment: SegmentInfo) {
    this.#segment = segment;
    this.#source = new SegmentSource(file, segment.header.segmentId);
    this.#endSequence = segment.header.baseSequence;
    this.#endPayloadOffset = segment.header.basePayloadOffset;
    const { ageMs, runMs, clockEra, createdMs: stampMs } = segment.header;
    this.#totals = new SummaryBuilder(segment.header);
    this.#time = { ageMs, runMs, clockEra, stampMs, isAgeProven: false, isStampProven: false };
  }

  /** Of the newest block that was read, a mark too; before the first one, of the segment. */
  get time(): TimeMark {
    return this.#time;
  }

  /** The number of the message that comes next, or that damage hides. */
  get nextSequence(): number {
    return this.#endSequence;
  }

  /** Bytes of the file that were read so far. */
  get position(): number {
    return this.#position;
  }

  /**
   * The next block with messages. It may be a view, valid until the next call.
   * @returns "end" behind the last one, "damaged" at anything that does not verify or does not follow what came before
   */
  next(): DecodedBlock | "end" | "damaged" {
    const { endBytes } = this.#segment;
    for (;;) {
      const step = stepBlock(this.#source, this.#position, endBytes, REWRITE_READ_BYTES);
      if (step === "end") return this.#isComplete ? "end" : "damaged";
      if ("damagedAt" in step) return "damaged";
      const { header, position, nextPosition } = step;
      const follows =
        header.firstSequence === this.#endSequence && header.payloadOffset === this.#endPayloadOffset;
      if (!follows) return "damaged";
      this.#position = nextPosition;
      this.#noteTime(header);
      if (header.kind !== BlockKind.Data) continue;
      const bodyAt = position + header.headerBytes;
      const body = this.#source.view(bodyAt, header.storedBytes, REWRITE_READ_BYTES);
      const block = decodeBody(header, body);
      if (block === undefined) return "damaged";
      this.#endSequence = blockEndSequence(header);
      this.#endPayloadOffset = blockEndPayloadOffset(header);
      return block;
    }
  }

  #noteTime(block: BlockHeader): void {
    const { lastIngestMs: stampMs, isAgeProven, isStampProven } = block;
    const { clockEra } = this.#segment.header;
    this.#time = { ...this.#totals.ageOf(block), stampMs, clockEra, isAgeProven, isStampProven };
    this.#totals.add(block);
  }

  get #isComplete(): boolean {
    const { endSequence, endPayloadOffset } = this.#segment;
    return this.#endSequence === endSequence && this.#endPayloadOffset === endPayloadOffset;
  }
}
