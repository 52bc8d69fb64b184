/** One word in shared memory that outlives its thread: which stream a worker has in hand, for whoever finds it dead. */
export class HandledSlot {
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;

  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)) {
    this.memory = memory;
    this.#words = new Int32Array(memory);
  }

  enter(slot: number): void {
    this.#words[0] = slot + 1;
  }

  leave(): void {
    this.#words[0] = 0;
  }

  /** Undefined between streams. */
  get slot(): number | undefined {
    const word = Atomics.load(this.#words, 0);
    return word === 0 ? undefined : word - 1;
  }
}
