import { assert } from "../core/assert.ts";
import { systemCode } from "../core/errors.ts";
import { type LossRange, rangeOf, type StreamPlace } from "../core/stream-ledger.ts";
import type { DecodedBlock, GapReason } from "./decoded-block.ts";
import { cannotOpen, isExhausted } from "./read-refusals.ts";
import type { FoundBlock } from "./read-slices.ts";
import type { SegmentChain } from "./segment-chain.ts";
import { SegmentReader } from "./segment-reader.ts";
import type { SegmentInfo, SegmentWriter } from "./segment-writer.ts";
import { basePlace, endPlace } from "./stream-places.ts";
import type { UnsyncedWindow } from "./unsynced-window.ts";

/** Where a sequence number belongs. */
interface Whereabouts {
  readonly base: StreamPlace;
  readonly end: StreamPlace;
  readonly endBytes: number;
  /** What comes behind begins here; there is a hole if that is not `end`. */
  readonly next: StreamPlace;
  /** Undefined: the active one. */
  readonly segment: SegmentInfo | undefined;
}

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

  /**
   * What stands at `sequence`, which is below `next`, the place of the next message.
   * @throws {MillraceError} SERVER_BUSY when this process can open no more files
   */
  blockAt(sequence: number, next: StreamPlace): FoundBlock {
    const cached = this.#cached;
    if (cached !== undefined && sequence >= cached.firstSequence && sequence < cached.endSequence) {
      return { kind: "block", block: cached };
    }
    const windowFirst = this.#window.firstSequence;
    if (windowFirst !== undefined && sequence >= windowFirst) {
      this.#cached = this.#window.read(sequence);
      return { kind: "block", block: this.#cached };
    }
    const at = this.#locate(sequence, next);
    if (sequence >= at.end.sequence) return { kind: "gap", toSequence: at.next.sequence, reason: "MISSING" };
    const found = this.#readSegment(sequence, at);
    if ("reason" in found) {
      const toSequence = Math.min(at.next.sequence, found.toSequence ?? at.next.sequence);
      return { kind: "gap", toSequence, reason: found.reason };
    }
    this.#cached = found;
    return { kind: "block", block: found };
  }

  /** The known places around `sequence`, which `blockAt` has found to be in a gap. */
  gapAround(sequence: number, next: StreamPlace): LossRange {
    const at = this.#locate(sequence, next);
    if (sequence >= at.end.sequence) return rangeOf(at.end, at.next);
    const reader = this.#readerOf(at);
    if (reader === undefined) return rangeOf(at.base, at.end);
    const place = reader.placeOf(sequence, at.endBytes, at.base);
    if (!("sequence" in place)) return rangeOf(place.before ?? at.base, place.after ?? at.end);
    // The first message of a block whose body is damaged.
    const behind = reader.placeOf(sequence + 1, at.endBytes, at.base);
    return rangeOf(place, "sequence" in behind ? behind : (behind.after ?? at.end));
  }

  #locate(sequence: number, next: StreamPlace): Whereabouts {
    const active = this.#active;
    const activeBase = active === undefined ? undefined : basePlace(active.header);
    const windowFirst = this.#window.place;
    if (active !== undefined && activeBase !== undefined && sequence >= activeBase.sequence) {
      return {
        base: activeBase,
        end: endPlace(active),
        endBytes: active.position,
        next: windowFirst ?? next,
        segment: undefined,
      };
    }
    const behind = activeBase ?? windowFirst ?? next;
    const found = this.#chain.find(sequence);
    if (found === undefined) {
      // Before the oldest: nothing that the log still has.
      const first = this.#chain.oldest === undefined ? behind : basePlace(this.#chain.oldest.header);
      const start = { sequence, payloadOffset: first.payloadOffset };
      return { base: start, end: start, endBytes: 0, next: first, segment: undefined };
    }
    const { segment, successor } = found;
    return {
      base: basePlace(segment.header),
      end: endPlace(segment),
      endBytes: segment.endBytes,
      next: successor === undefined ? behind : basePlace(successor.header),
      segment,
    };
  }

  #readerOf(at: Whereabouts): SegmentReader | undefined {
    if (at.segment === undefined) return this.#activeReader;
    try {
      return this.#chain.reader(at.segment);
    } catch (error) {
      if (isExhausted(error)) throw cannotOpen(error);
      return undefined;
    }
  }

  #readSegment(sequence: number, at: Whereabouts): DecodedBlock | UnreadableGap {
    if (at.segment === undefined) {
      assert(this.#activeReader !== undefined, "a segment to read from");
      try {
        return withReason(this.#activeReader.read(sequence, at.endBytes));
      } catch (error) {
        throw isExhausted(error) ? cannotOpen(error) : error;
      }
    }
    try {
      return withReason(this.#chain.reader(at.segment).read(sequence, at.segment.endBytes));
    } catch (error) {
      if (isExhausted(error)) throw cannotOpen(error);
      return { toSequence: undefined, reason: systemCode(error) === "ENOENT" ? "MISSING" : "CORRUPT" };
    }
  }
}

interface UnreadableGap {
  readonly toSequence: number | undefined;
  readonly reason: GapReason;
}

function withReason(
  found: DecodedBlock | { readonly toSequence: number | undefined },
): DecodedBlock | UnreadableGap {
  return "messageCount" in found ? found : { ...found, reason: "CORRUPT" };
}
