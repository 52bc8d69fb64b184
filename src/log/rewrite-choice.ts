import {
  REWRITE_BLOCKS_MIN,
  REWRITE_MERGE_LIFETIME_SHARE,
  REWRITE_MERGE_SEGMENTS,
  REWRITE_MERGE_SPREAD_MAX,
  REWRITE_SEGMENT_BYTES_MIN,
  REWRITE_SMALL_FACTOR,
} from "../core/limits.ts";
import { BLOCK_AGE_MS_MAX } from "./block-layout.ts";
import { type LogPolicy, segmentSizeOf } from "./log-policy.ts";
import { accountedBytes } from "./segment-summary.ts";
import type { SegmentInfo } from "./segment-writer.ts";

export interface ChoiceLimits {
  readonly blockBytes: number;
  readonly policy: LogPolicy;
  readonly isRefused: (segment: SegmentInfo) => boolean;
}

/**
 * What to rewrite next of a stream's complete segments: the oldest with small blocks, else the oldest neighbours that make one
 * segment of them all. Segments that rolled early are few in bytes and many in number; a start reads each of them.
 */
export function chooseSources(
  segments: readonly SegmentInfo[],
  limits: ChoiceLimits,
): readonly SegmentInfo[] | undefined {
  const isSmall = (segment: SegmentInfo): boolean =>
    !limits.isRefused(segment) && hasSmallBlocks(segment, limits.blockBytes);
  const small = segments.find(isSmall);
  return small === undefined ? chooseNeighbours(segments, limits) : [small];
}

/** Whether a complete segment has blocks so small that a copy in full-size ones would be much smaller. */
function hasSmallBlocks({ header, endBytes, summary }: SegmentInfo, blockBytes: number): boolean {
  const { blockCount, rawBytes } = summary;
  if (header.rewritten !== undefined) return false;
  if (blockCount < REWRITE_BLOCKS_MIN || endBytes < REWRITE_SEGMENT_BYTES_MIN) return false;
  return rawBytes / blockCount < blockBytes / REWRITE_SMALL_FACTOR;
}

function chooseNeighbours(
  segments: readonly SegmentInfo[],
  limits: ChoiceLimits,
): readonly SegmentInfo[] | undefined {
  let from = 0;
  for (const [at, segment] of segments.entries()) {
    if (limits.isRefused(segment)) {
      from = at + 1;
      continue;
    }
    if (at > from && !follows(segments[at - 1]!, segment)) from = at;
    if (at - from + 1 < REWRITE_MERGE_SEGMENTS) continue;
    const neighbours = segments.slice(at + 1 - REWRITE_MERGE_SEGMENTS, at + 1);
    if (makeOne(neighbours, limits.policy)) return neighbours;
  }
  return undefined;
}

/** Nothing is missing between them, and no start or clock tells them apart. */
function follows(before: SegmentInfo, { header }: SegmentInfo): boolean {
  return (
    before.endSequence === header.baseSequence &&
    before.endPayloadOffset === header.basePayloadOffset &&
    before.header.epoch === header.epoch &&
    before.header.clockEra === header.clockEra
  );
}

/**
 * Of about one size, so that a message is copied only as often as the size grows eightfold; together no more than a segment may
 * be, and so close in time that none expires much later for it.
 */
function makeOne(neighbours: readonly SegmentInfo[], policy: LogPolicy): boolean {
  const sizes = neighbours.map(({ summary }) => accountedBytes(summary));
  const sum = sizes.reduce((total, size) => total + size, 0);
  if (sum > segmentSizeOf(policy)) return false;
  // One that cannot be read at all seems to hold nothing.
  if (Math.min(...sizes) === 0) return false;
  if (Math.max(...sizes) > REWRITE_MERGE_SPREAD_MAX * Math.min(...sizes)) return false;
  const first = neighbours[0]!;
  const last = neighbours.at(-1)!;
  // A block tells its age as the distance to the segment's.
  if (last.header.ageMs - first.header.ageMs > BLOCK_AGE_MS_MAX / 2) return false;
  const spanMs = last.summary.lastAge.ageMs - first.header.ageMs;
  return policy.timeToLiveMs === undefined || spanMs <= policy.timeToLiveMs * REWRITE_MERGE_LIFETIME_SHARE;
}
