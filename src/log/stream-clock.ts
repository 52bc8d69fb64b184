import { CLOCK_ABSENCE_MS_MAX, CLOCK_LEAP_MS, CLOCK_STEADY_MS } from "../core/limits.ts";
import type { AgePoint } from "./age-point.ts";
import { BLOCK_AGE_MS_MAX } from "./block-layout.ts";
import type { RecoveredClock } from "./clock-trace.ts";
import type { ClockReference } from "./segment-layout.ts";

/** Well below BLOCK_AGE_MS_MAX: whether it is reached is looked at now and then only. */
const SEGMENT_AGE_MS_MAX = BLOCK_AGE_MS_MAX / 2;

/** What a stream needs of the machine's clocks: ClockWatch. */
export interface WatchedClocks {
  sample(): void;
  readonly wallMs: number;
  readonly elapsedMs: number;
  readonly steadyMs: number;
}

/** What is written down with every block. */
export interface TimeMark extends AgePoint {
  /** Unix ms: the ingest time of what arrives now. */
  readonly stampMs: number;
  readonly clockEra: number;
  /** No time is missing from `ageMs` that could be known. */
  readonly isAgeProven: boolean;
  /** The wall clock that `stampMs` comes from had been steady for CLOCK_STEADY_MS. */
  readonly isStampProven: boolean;
}

/**
 * The times of one stream (RELIABILITY 2.5).
 *
 * **Ingest time** is for people and programs that read: the wall clock, as long as it is within CLOCK_LEAP_MS of where it
 * should be. When it leaps, ingest times go on from where they were; once it has been steady at its new place for
 * CLOCK_STEADY_MS, a new clock era begins there. Ingest times never go back within an era, and mean nothing across two.
 * After a start the newest stored time says where the clock should be: there, or up to CLOCK_ABSENCE_MS_MAX later, since nobody
 * knows how long the engine did not run.
 *
 * Time to live never looks at ingest times. It goes by two counts of milliseconds that surely passed; both grow with the
 * monotonic clock while the engine runs, whatever the wall clock does:
 *
 * - **Run time** is just that: the time that the engine ran.
 * - **Age** also takes in the time between two runs, which only the wall clock can tell: when that has been steady for
 *   CLOCK_STEADY_MS in this run, by its distance to the newest ingest time that was written by a clock just as steady (the
 *   reference). A clock that is wrong at a start (1970; the time of the last stop; local time taken for UTC) and put right
 *   before it was steady for so long counts for nothing, and neither do the ingest times that it gave.
 *
 * What arrives before that judgement lacks the time between the runs in its age: it is marked as not proven, and counts as
 * young as the next proven mark, or by its run time. A distance that cannot be (back by more than CLOCK_LEAP_MS,
 * or more than CLOCK_ABSENCE_MS_MAX) begins a new clock era too. Its segments have a new reference; that time is lost.
 *
 * So what remains in doubt makes messages younger: a stream without a reference, a clock that never holds still, time that
 * was not written down before the power went. Only a clock that was steadily wrong, and differently in two runs, can make a message too old, by
 * as much as it was set forward meanwhile.
 */
export class StreamClock {
  readonly #watch: WatchedClocks;
  #reference: ClockReference | undefined;
  #clockEra: number;
  /** Where ingest times and the two counts are, minus the elapsed time. */
  #stampAheadMs: number;
  #ageAheadMs: number;
  readonly #runAheadMs: number;
  #isAgeProven: boolean;

  /** `recovered` is what the stream's files say; undefined for a new stream. */
  constructor(watch: WatchedClocks, recovered: RecoveredClock | undefined) {
    this.#watch = watch;
    watch.sample();
    const { wallMs, elapsedMs } = watch;
    const awayMs = recovered === undefined ? 0 : wallMs - recovered.stampMs;
    const isFollowed = awayMs >= -CLOCK_LEAP_MS && awayMs <= CLOCK_ABSENCE_MS_MAX;
    this.#stampAheadMs = (isFollowed || recovered === undefined ? wallMs : recovered.stampMs) - elapsedMs;
    this.#ageAheadMs = (recovered?.ageMs ?? 0) - elapsedMs;
    this.#runAheadMs = (recovered?.runMs ?? 0) - elapsedMs;
    this.#clockEra = recovered?.clockEra ?? 0;
    this.#reference = recovered?.reference;
    this.#isAgeProven = recovered === undefined;
  }

  get clockEra(): number {
    return this.#clockEra;
  }
  get ageMs(): number {
    return Math.floor(this.#watch.elapsedMs + this.#ageAheadMs);
  }
  get runMs(): number {
    return Math.floor(this.#watch.elapsedMs + this.#runAheadMs);
  }
  get isAgeProven(): boolean {
    return this.#isAgeProven;
  }
  get stampMs(): number {
    const { wallMs, elapsedMs } = this.#watch;
    return Math.max(0, Math.floor(this.#hasLeapt ? elapsedMs + this.#stampAheadMs : wallMs));
  }
  get #hasLeapt(): boolean {
    const { wallMs, elapsedMs } = this.#watch;
    return Math.abs(wallMs - elapsedMs - this.#stampAheadMs) > CLOCK_LEAP_MS;
  }
  get #isSteady(): boolean {
    return this.#watch.steadyMs >= CLOCK_STEADY_MS;
  }
  get mark(): TimeMark {
    const { stampMs, ageMs, runMs, clockEra, isAgeProven } = this;
    const isStampProven = isAgeProven && this.#isSteady && !this.#hasLeapt;
    return { stampMs, ageMs, runMs, clockEra, isAgeProven, isStampProven };
  }

  /** The newest moment at which the wall clock had proven itself, in this run or an earlier one. */
  get reference(): ClockReference | undefined {
    return this.#reference;
  }

  /** Whether what arrives now may be written to this segment. */
  fits(segment: { readonly clockEra: number; readonly ageMs: number }): boolean {
    return segment.clockEra === this.#clockEra && this.ageMs - segment.ageMs <= SEGMENT_AGE_MS_MAX;
  }

  /**
   * Follows the clocks as of the watch's last sample. Call it when nothing that was stamped waits to be written.
   * @returns hasNewEra: what arrives from now on belongs into another segment; isProvenNow: all that is here is older than now
   */
  update(): { readonly hasNewEra: boolean; readonly isProvenNow: boolean } {
    const { wallMs, elapsedMs } = this.#watch;
    const isNewPlace = this.#hasLeapt && this.#isSteady;
    if (isNewPlace || !this.#hasLeapt) this.#stampAheadMs = wallMs - elapsedMs;
    const isJudged = !this.#isAgeProven && this.#isSteady;
    const absenceMs = isJudged ? this.#absenceMs() : 0;
    // Time is missing for good, and nobody may look for it later: a new era has a new reference, and what is older has none.
    const isMissing = absenceMs === undefined;
    if (isJudged) this.#isAgeProven = true;
    if (isMissing) this.#reference = undefined;
    else this.#ageAheadMs += absenceMs;
    const hasNewEra = isNewPlace || isMissing;
    if (hasNewEra) this.#clockEra += 1;
    const { stampMs, ageMs, isStampProven } = this.mark;
    if (isStampProven) this.#reference = { stampMs, ageMs };
    return { hasNewEra, isProvenNow: isJudged && !isMissing };
  }

  /** Time that passed since the reference and is not in the age; undefined when the clock cannot tell. */
  #absenceMs(): number | undefined {
    if (this.#reference === undefined) return 0;
    const sinceMs = this.#watch.wallMs - this.#reference.stampMs;
    const absenceMs = sinceMs - (this.ageMs - this.#reference.ageMs);
    if (absenceMs < -CLOCK_LEAP_MS || absenceMs > CLOCK_ABSENCE_MS_MAX) return undefined;
    return Math.max(0, absenceMs);
  }
}
