import { BlockKind } from "./block-layout.ts";
import type { LogSegments } from "./log-segments.ts";
import type { StreamClock } from "./stream-clock.ts";

export interface MarkOptions {
  readonly isIdle: boolean;
  /** Since the last one, for streams whose messages expire; undefined for others. */
  readonly ageMarkMs: number | undefined;
}

/** A mark where one is due: in a segment that is idle, or for the sake of ages. */
export function writeDueMark(
  segments: LogSegments,
  time: StreamClock,
  { isIdle, ageMarkMs }: MarkOptions,
): void {
  const isDue =
    (isIdle && isWatermarkDue(segments)) ||
    (ageMarkMs !== undefined && isAgeMarkDue(segments, time, ageMarkMs));
  if (isDue) writeWatermark(segments, time);
}

/** An idle segment gets one, so that later damage to it is not taken for a torn tail (R4). */
function isWatermarkDue({ active }: LogSegments): boolean {
  return active !== undefined && active.messageCount > 0 && !active.watermarked;
}

/**
 * Without a mark now and then, the time that passes while nothing arrives would be known to this process only, and what is
 * known of the time before it too. `intervalMs` is the time since the last one.
 */
function isAgeMarkDue(segments: LogSegments, time: StreamClock, intervalMs: number): boolean {
  const { active } = segments;
  if (active === undefined || segments.totalBytes === 0) return false;
  const isProof = time.isAgeProven && !active.isMarkProven && !active.isOutOfTime;
  return isProof || time.ageMs - active.markedAgeMs >= intervalMs;
}

/** Tells recovery that everything before it was durable, and what time it is; nothing when that is not so. */
function writeWatermark(segments: LogSegments, time: StreamClock): void {
  const { active } = segments;
  if (active === undefined || active.isEnded || segments.syncs.isRunning || !segments.window.isEmpty) return;
  const outcome = active.writeMark(BlockKind.Watermark, time.mark);
  if (outcome.error !== undefined) segments.takeBack(active, outcome.error);
  active.watermarked = true;
}
