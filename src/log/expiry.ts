import { EXPIRED_SEGMENTS_PER_TICK_MAX } from "../core/limits.ts";
import { LossReason } from "../core/stream-ledger.ts";
import { type AgePoint, earlierOf, passedMs, UNKNOWN_AGE } from "./age-point.ts";
import type { LogSegments } from "./log-segments.ts";

/**
 * Deletes segments, oldest first, whose newest message is older than `timeToLiveMs`; a few at a call. A segment expires as a
 * whole, and the sequence numbers live on in the name of a successor.
 */
export function expireSegments(
  segments: LogSegments,
  times: { readonly now: AgePoint; readonly timeToLiveMs: number },
): void {
  const isExpired = (age: AgePoint): boolean => {
    // All of it came before what is in the active segment.
    const latest = earlierOf(age, segments.active?.lastAge ?? UNKNOWN_AGE);
    return passedMs(latest, times.now) > times.timeToLiveMs;
  };
  try {
    let left = EXPIRED_SEGMENTS_PER_TICK_MAX;
    while (left > 0 && isExpired(segments.oldestAge)) {
      if (segments.complete.length === 0) {
        if (segments.syncs.isRunning || segments.active === undefined) return;
        segments.roll();
        segments.ensureActive();
      }
      const count = Math.min(left, segments.complete.countWhile(isExpired));
      if (count === 0) return;
      segments.dropOldest(LossReason.Expired, count);
      left -= count;
    }
  } catch {
    // Noted where it happened; the next tick tries again.
  }
}
