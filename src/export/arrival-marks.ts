import { EXPORT_ARRIVAL_MARKS_MAX } from "../core/limits.ts";

/** Marks that are as near to each other as this part of their age are one, or as twice or four times it where there are too many. */
const RESOLUTION = 1 / 16;
/** And those that are nearer than this, whatever their age. */
const RESOLUTION_MS_MIN = 1;
/** What thinning leaves at most: it is worth a pass over all marks only every so often. */
const MARKS_LEFT_MAX = (3 / 4) * EXPORT_ARRIVAL_MARKS_MAX;

/**
 * When messages arrived, in bounded memory: to a part of their age, since nobody asks about an hour ago to the millisecond. At
 * worst an eighth of the age while a hundred thousand commits are told apart, a quarter over a thousand million.
 *
 * A mark stands for messages that arrived one after the other. Each array has a number a mark, oldest first: numbers alone are
 * kept without an object for each.
 */
export class ArrivalMarks {
  /** Messages below this had arrived. */
  readonly #endSequences: number[];
  /** When the first of a mark's messages arrived, and the last. */
  readonly #firstTimesMs: number[];
  readonly #lastTimesMs: number[];

  /** Messages that were there before us count as old: an interval must not start anew with every restart. */
  constructor(endSequence: number) {
    this.#endSequences = [endSequence];
    this.#firstTimesMs = [-Infinity];
    this.#lastTimesMs = [-Infinity];
  }

  add(endSequence: number, timeMs: number): void {
    if (endSequence <= this.#endSequences.at(-1)!) return;
    this.#endSequences.push(endSequence);
    this.#firstTimesMs.push(timeMs);
    this.#lastTimesMs.push(timeMs);
    if (this.#endSequences.length <= EXPORT_ARRIVAL_MARKS_MAX) return;
    for (let resolution = RESOLUTION; this.#endSequences.length > MARKS_LEFT_MAX; resolution *= 2) {
      this.#thin(timeMs, resolution);
    }
  }

  /** When the message arrived, or a little earlier, and -Infinity if it was there before; Infinity if it has not arrived. */
  arrivalMs(sequence: number): number {
    return this.#firstTimesMs[this.#endSequences.findIndex((end) => end > sequence)] ?? Infinity;
  }

  /** Neighbours become one under the earlier time: a batch may then go a little early, never late. */
  #thin(nowMs: number, resolution: number): void {
    let kept = 0;
    for (let at = 1; at < this.#endSequences.length; at++) {
      const lastMs = this.#lastTimesMs[at]!;
      const toleranceMs = resolution * Math.max(RESOLUTION_MS_MIN / RESOLUTION, nowMs - lastMs);
      if (lastMs - this.#firstTimesMs[kept]! > toleranceMs) {
        kept += 1;
        this.#firstTimesMs[kept] = this.#firstTimesMs[at]!;
      }
      this.#endSequences[kept] = this.#endSequences[at]!;
      this.#lastTimesMs[kept] = lastMs;
    }
    for (const marks of [this.#endSequences, this.#firstTimesMs, this.#lastTimesMs]) marks.length = kept + 1;
  }
}
