import { type BlockHeader, BlockKind } from "./block-layout.ts";
import type { ClockReference, SegmentHeader } from "./segment-layout.ts";

/** What a stream's files say about its times. */
export interface RecoveredClock {
  /** Of the newest thing that was written; no message of its era has a later ingest time. */
  readonly stampMs: number;
  readonly ageMs: number;
  readonly clockEra: number;
  /** As it was written down last: with a segment or a mark. */
  readonly runMs: number;
  /** The newest ingest time of a proven clock, and the age that was written with it. */
  readonly reference: ClockReference | undefined;
}

/** Gathers what the headers say, oldest first. */
export class ClockTrace {
  #newest: RecoveredClock | undefined;

  segment(segment: SegmentHeader): void {
    const { createdMs: stampMs, ageMs, runMs, clockEra, reference } = segment;
    this.#note({ stampMs, ageMs, runMs, clockEra, reference });
  }

  block(segment: SegmentHeader, block: BlockHeader): void {
    const stampMs = block.lastIngestMs;
    const ageMs = segment.ageMs + block.ageDeltaMs;
    const runMs = block.kind === BlockKind.Data ? 0 : block.runMs;
    const reference = block.isStampProven ? { stampMs, ageMs } : undefined;
    this.#note({ stampMs, ageMs, runMs, clockEra: segment.clockEra, reference });
  }

  /** A segment that replaces a failed one may begin with what was there before: no count goes back for it. */
  #note(found: RecoveredClock): void {
    const before = this.#newest;
    if (before === undefined) {
      this.#newest = found;
      return;
    }
    const floorMs = before.clockEra === found.clockEra ? before.stampMs : 0;
    this.#newest = {
      stampMs: Math.max(found.stampMs, floorMs),
      ageMs: Math.max(found.ageMs, before.ageMs),
      runMs: Math.max(found.runMs, before.runMs),
      clockEra: found.clockEra,
      reference: found.reference ?? before.reference,
    };
  }

  /** @returns undefined for a stream without segments */
  get recovered(): RecoveredClock | undefined {
    return this.#newest;
  }
}
