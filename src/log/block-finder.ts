import { assert } from "../core/assert.ts";
import type { DecodedBlock } from "./decoded-block.ts";
import type { SegmentInfo } from "./log-recovery.ts";
import type { FoundBlock } from "./read-slices.ts";
import type { SegmentChain } from "./segment-chain.ts";
import { SegmentReader } from "./segment-reader.ts";
import type { SegmentWriter } from "./segment-writer.ts";
import type { UnsyncedWindow } from "./unsynced-window.ts";

/** Finds the writer's own blocks: in memory while they are not durable, then in the active segment or a complete one. */
export class BlockFinder {
  readonly #chain: SegmentChain;
  readonly #window: UnsyncedWindow;
  #active: SegmentWriter | undefined;
  #activeReader: SegmentReader | undefined;
  #cached: DecodedBlock | undefined;

  constructor(chain: SegmentChain, window: UnsyncedWindow) {
    this.#chain = chain;
    this.#window = window;
  }

  /** `active` is the segment that grows from now on. */
  follow(active: SegmentWriter | undefined): void {
    this.#active = active;
    this.#activeReader =
      active === undefined
        ? undefined
        : new SegmentReader(active.file, active.header.segmentId, active.index);
  }

  /** What was read before may be trusted no more. */
  forget(): void {
    this.#cached = undefined;
  }

  /** What stands at `sequence`, which is below `nextSequence`. */
  blockAt(sequence: number, nextSequence: number): FoundBlock {
    const cached = this.#cached;
    if (cached !== undefined && sequence >= cached.firstSequence && sequence < cached.endSequence) {
      return { kind: "block", block: cached };
    }
    const windowFirst = this.#window.firstSequence;
    if (windowFirst !== undefined && sequence >= windowFirst) {
      this.#cached = this.#window.read(sequence);
      return { kind: "block", block: this.#cached };
    }
    const active = this.#active;
    const isInActive = active !== undefined && sequence >= active.header.baseSequence;
    const place = isInActive ? undefined : this.#chain.find(sequence);
    const limit = isInActive
      ? active.endSequence
      : (place?.nextBase ??
        (place === undefined ? this.#chain.oldest?.header.baseSequence : undefined) ??
        active?.header.baseSequence ??
        windowFirst ??
        nextSequence);
    if (!isInActive && (place === undefined || sequence >= place.segment.endSequence)) {
      return { kind: "gap", toSequence: limit, reason: "MISSING" };
    }
    const found = this.#readSegment(sequence, place?.segment);
    if ("toSequence" in found) {
      return { kind: "gap", toSequence: Math.min(limit, found.toSequence ?? limit), reason: "CORRUPT" };
    }
    this.#cached = found;
    return { kind: "block", block: found };
  }

  #readSegment(
    sequence: number,
    segment: SegmentInfo | undefined,
  ): DecodedBlock | { readonly toSequence: number | undefined } {
    if (segment === undefined) {
      assert(this.#active !== undefined && this.#activeReader !== undefined, "a segment to read from");
      return this.#activeReader.read(sequence, this.#active.position);
    }
    try {
      return this.#chain.reader(segment).read(sequence, segment.endBytes);
    } catch {
      return { toSequence: undefined };
    }
  }
}
