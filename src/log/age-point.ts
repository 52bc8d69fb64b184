/** When something was, by the two counts of its stream (stream-clock.ts). */
export interface AgePoint {
  readonly ageMs: number;
  readonly runMs: number;
}

/** In place of a count: as late as what comes after it. */
export const AGE_UNKNOWN_MS = Number.MAX_SAFE_INTEGER;

export const UNKNOWN_AGE: AgePoint = { ageMs: AGE_UNKNOWN_MS, runMs: AGE_UNKNOWN_MS };

/** Of something that was before both. */
export function earlierOf(one: AgePoint, other: AgePoint): AgePoint {
  return { ageMs: Math.min(one.ageMs, other.ageMs), runMs: Math.min(one.runMs, other.runMs) };
}

/** What surely passed: neither count runs ahead of the truth, so the larger one is nearer to it. */
export function passedMs(from: AgePoint, to: AgePoint): number {
  return Math.max(to.ageMs - from.ageMs, to.runMs - from.runMs);
}
