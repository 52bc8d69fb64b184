import { type LossRange, rangeOf, type StreamPlace } from "../core/stream-ledger.ts";
import type { ClockTrace } from "./clock-trace.ts";
import type { ProducerRecovery } from "./producer-recovery.ts";

export interface SequenceRange {
  readonly fromSequence: number;
  /** Exclusive. */
  readonly toSequence: number;
}

/** What recovery found and did; all counts are 0 and all lists empty after a clean stop. */
export interface RecoveryReport {
  segmentCount: number;
  scannedBytes: number;
  tornTailBytes: number;
  /** Damage that is kept and skipped (R3), as far as recovery has met it. */
  readonly corrupt: LossRange[];
  /** Messages between segments that no file holds. */
  readonly missing: LossRange[];
  /** Evidence says that these were stored durably, and they are gone (R4). */
  dataLoss: LossRange | undefined;
  /** Files with a segment's name and no valid head: left alone. */
  readonly unreadable: string[];
  /** Segments without a whole header, which was made anew from their blocks. */
  readonly restored: string[];
  /** Files that keep what was cut off or written over, relative to the store. */
  readonly quarantined: string[];
  /** Rewritten segments that did not verify, while what they were made from was there: renamed to this. */
  readonly setAside: string[];
  /** What was remembered of the producers could not be read; their newest batches are known from the block headers. */
  isProducersFileDamaged: boolean;
  /** The account of what was deleted cannot be read, or does not fit the segments: it began again. */
  hasLostLedger: boolean;
}

export function emptyReport(): RecoveryReport {
  return {
    segmentCount: 0,
    scannedBytes: 0,
    tornTailBytes: 0,
    corrupt: [],
    missing: [],
    dataLoss: undefined,
    unreadable: [],
    restored: [],
    quarantined: [],
    setAside: [],
    isProducersFileDamaged: false,
    hasLostLedger: false,
  };
}

/** What is gathered on the way through the segments, oldest first. */
export interface Findings {
  readonly report: RecoveryReport;
  readonly clock: ClockTrace;
  readonly producers: ProducerRecovery;
}

/** Notes messages between two known places, if there are any. */
export function noteRange(ranges: LossRange[], from: StreamPlace, to: StreamPlace): void {
  if (to.sequence <= from.sequence) return;
  // What does not verify against each other must not make an account of a negative size.
  const payloadOffset = Math.max(from.payloadOffset, to.payloadOffset);
  ranges.push(rangeOf(from, { ...to, payloadOffset }));
}
