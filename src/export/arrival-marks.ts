import { EXPORT_ARRIVAL_MARKS_MAX } from "../core/limits.ts";

interface Mark {
  /** Messages below this had arrived. */
  readonly endSequence: number;
  readonly timeMs: number;
}

/** When messages arrived, to the accuracy that batch intervals of a minute and more need, in bounded memory. */
export class ArrivalMarks {
  #marks: Mark[];

  /** Messages that were there before us count as old: an interval must not start anew with every restart. */
  constructor(endSequence: number) {
    this.#marks = [{ endSequence, timeMs: -Infinity }];
  }

  add(endSequence: number, timeMs: number): void {
    if (endSequence <= this.#marks.at(-1)!.endSequence) return;
    this.#marks.push({ endSequence, timeMs });
    if (this.#marks.length > EXPORT_ARRIVAL_MARKS_MAX) this.#marks = halve(this.#marks);
  }

  /** When the message arrived, or a little earlier; Infinity if it has not. */
  arrivalMs(sequence: number): number {
    return this.#marks.find((mark) => mark.endSequence > sequence)?.timeMs ?? Infinity;
  }
}

/** Two neighbours become one under the earlier time: a batch may then go a little early, never late. */
function halve(marks: readonly Mark[]): Mark[] {
  const halved: Mark[] = [];
  for (let index = 0; index < marks.length; index += 2) {
    const first = marks[index]!;
    halved.push({ endSequence: (marks[index + 1] ?? first).endSequence, timeMs: first.timeMs });
  }
  return halved;
}
