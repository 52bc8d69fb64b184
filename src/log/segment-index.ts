import { INDEX_STRIDE_BYTES } from "../core/limits.ts";

/** Where blocks of one segment begin: one entry each INDEX_STRIDE_BYTES, learned by writing or walking, never trusted. */
export class SegmentIndex {
  readonly #sequences: number[] = [];
  readonly #positions: number[] = [];

  /** Notes a block. Those before the last entry, or near it, are not kept. */
  add(firstSequence: number, position: number): void {
    const last = this.#positions.at(-1);
    if (last !== undefined && position < last + INDEX_STRIDE_BYTES) return;
    this.#sequences.push(firstSequence);
    this.#positions.push(position);
  }

  /** The position of a block that begins at or before `sequence`; undefined if none is known. */
  find(sequence: number): number | undefined {
    let low = 0;
    let high = this.#sequences.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#sequences[middle]! <= sequence) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? undefined : this.#positions[low - 1];
  }
}
