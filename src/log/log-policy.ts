import { assert } from "../core/assert.ts";
import type { StrategyOnFull } from "../core/stream-definition.ts";
import type { SequenceRange } from "./log-recovery.ts";

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
}

/** A segment that retention deleted. */
export interface LogDrop extends SequenceRange {
  readonly messageCount: number;
  readonly payloadBytes: number;
  readonly reason: "OVERWRITTEN" | "EXPIRED";
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
