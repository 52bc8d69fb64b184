import { MESSAGE_OVERHEAD_BYTES } from "../core/limits.ts";
import { AGE_UNKNOWN_MS, type AgePoint, earlierOf, UNKNOWN_AGE } from "./age-point.ts";
import {
  type BlockHeader,
  BlockKind,
  namesProducers,
  payloadBytesOf,
  type SegmentSummary,
} from "./block-layout.ts";

/** What a segment counts towards `maxSize` and `totalBytes`. */
export function accountedBytes(summary: Pick<SegmentSummary, "messageCount" | "payloadBytes">): number {
  return summary.payloadBytes + MESSAGE_OVERHEAD_BYTES * summary.messageCount;
}

export const EMPTY_SUMMARY: SegmentSummary = {
  messageCount: 0,
  payloadBytes: 0,
  rawBytes: 0,
  firstIngestMs: 0,
  lastIngestMs: 0,
  blockCount: 0,
  namesProducers: false,
  lastAge: UNKNOWN_AGE,
};

/** Adds up the blocks of a segment, read in order. */
export class SummaryBuilder {
  readonly #segmentAgeMs: number;
  /** Where both counts are known last: the segment's start, or a mark. */
  #markAge: AgePoint;
  summary = EMPTY_SUMMARY;

  constructor(segment: AgePoint) {
    this.#segmentAgeMs = segment.ageMs;
    this.#markAge = segment;
  }

  /** When the block was written; the run time of one with messages may be a little too late. */
  ageOf(block: BlockHeader): AgePoint {
    const ageMs = this.#segmentAgeMs + block.ageDeltaMs;
    const runMs =
      block.kind === BlockKind.Data ? this.#markAge.runMs + (ageMs - this.#markAge.ageMs) : block.runMs;
    return { ageMs, runMs };
  }

  add(block: BlockHeader): void {
    const { summary } = this;
    const age = this.ageOf(block);
    const provenAge = { ...age, ageMs: block.isAgeProven ? age.ageMs : AGE_UNKNOWN_MS };
    if (block.kind !== BlockKind.Data) {
      this.#markAge = age;
      if (summary.messageCount > 0)
        this.summary = { ...summary, lastAge: earlierOf(summary.lastAge, provenAge) };
      return;
    }
    this.summary = {
      messageCount: summary.messageCount + block.messageCount,
      payloadBytes: summary.payloadBytes + payloadBytesOf(block),
      rawBytes: summary.rawBytes + block.rawBytes,
      firstIngestMs: summary.messageCount === 0 ? block.firstIngestMs : summary.firstIngestMs,
      lastIngestMs: Math.max(summary.lastIngestMs, block.lastIngestMs),
      blockCount: summary.blockCount + 1,
      namesProducers: summary.namesProducers || namesProducers(block),
      lastAge: provenAge,
    };
  }
}
