import { assert } from "../core/assert.ts";
import { SEGMENT_WASTE_BYTES_MAX } from "../core/limits.ts";
import type { StrategyOnFull } from "../core/stream-definition.ts";

/** What a stream's definition and the settings ask of its log. */
export interface LogPolicy {
  /** In payload bytes plus MESSAGE_OVERHEAD_BYTES a message, as is segmentSize. */
  readonly maxSize: number;
  readonly segmentSize: number;
  readonly strategyOnFull: StrategyOnFull;
  readonly flushOnWrite: boolean;
  readonly timeToLiveMs?: number | undefined;
  /** 0 or a power of two from 512 on: what one sync makes durable ends on a multiple of it. */
  readonly commitAlignBytes: number;
  /** Stored bytes that may wait for a sync before one is started. */
  readonly syncBytesMax: number;
  readonly syncIntervalMs?: number | undefined;
  /** What a segment may take beyond its payload before it is complete; by default SEGMENT_WASTE_BYTES_MAX. */
  readonly wasteBytesMax?: number | undefined;
}

/** @returns `policy` */
export function checkPolicy(policy: LogPolicy): LogPolicy {
  const { commitAlignBytes } = policy;
  const isPower = commitAlignBytes === 0 || (commitAlignBytes & (commitAlignBytes - 1)) === 0;
  assert(isPower && (commitAlignBytes === 0 || commitAlignBytes >= 512), `alignment ${commitAlignBytes}`);
  assert(policy.maxSize > 0 && policy.segmentSize > 0 && policy.syncBytesMax > 0, "sizes above 0");
  return policy;
}

/** At most half of the stream, so that overwriting the oldest segment leaves something. */
export function segmentSizeOf(policy: LogPolicy): number {
  return Math.min(policy.segmentSize, Math.ceil(policy.maxSize / 2));
}

/** What a segment may take beyond its payload before it is complete, so that it can be rewritten. */
export function wasteBytesOf(policy: LogPolicy): number {
  return policy.wasteBytesMax ?? SEGMENT_WASTE_BYTES_MAX;
}
