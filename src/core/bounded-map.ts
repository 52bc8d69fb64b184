import { assert } from "./assert.ts";

/** A map of what can be found out again: of more than `sizeMax` entries it forgets those used longest ago. */
export class BoundedMap<Key, Value> {
  readonly #sizeMax: number;
  /** The one used longest ago comes first. */
  readonly #entries = new Map<Key, Value>();

  constructor(sizeMax: number) {
    assert(sizeMax >= 1, "a bounded map holds an entry");
    this.#sizeMax = sizeMax;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Counts as a use. */
  get(key: Key): Value | undefined {
    const value = this.#entries.get(key);
    if (value === undefined) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, value);
    return value;
  }

  set(key: Key, value: Value): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
    if (this.#entries.size <= this.#sizeMax) return;
    const [oldest] = this.#entries.keys();
    this.#entries.delete(oldest!);
  }

  delete(key: Key): void {
    this.#entries.delete(key);
  }
}
