const CAPACITY_INITIAL = 4096;

/** Times of one kind, kept whole, for exact percentiles. */
export class Samples {
  #values = new Float64Array(CAPACITY_INITIAL);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(value: number): void {
    if (this.#count === this.#values.length) {
      const grown = new Float64Array(this.#values.length * 2);
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.#count] = value;
    this.#count += 1;
  }

  addAll(other: Samples): void {
    for (let index = 0; index < other.#count; index++) this.add(other.#values[index]!);
  }

  /** The value that `fraction` of all values do not exceed, or undefined without values. */
  percentile(fraction: number): number | undefined {
    if (this.#count === 0) return undefined;
    const sorted = this.#values.slice(0, this.#count).sort();
    return sorted[Math.max(0, Math.ceil(fraction * this.#count) - 1)];
  }
}

/** The middle value; of an even number of values the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new Error("cannot take the median of no values");
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** `value` with `digits` digits that count, for records that people read. */
export function roundTo(value: number, digits: number): number {
  return Number(value.toPrecision(digits));
}
