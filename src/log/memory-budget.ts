import { assert } from "../core/assert.ts";
import { MEMORY_CHUNK_BYTES_MIN } from "../core/limits.ts";

/** The part of a budget that one thread's storages take from. */
export interface BudgetShare {
  readonly freeBytes: number;
  /** @throws {MemoryBudgetExceeded} */
  take(sizeBytes: number): void;
  give(sizeBytes: number): void;
}

/** All Memory streams together may take no more; to the storage it is what a full disk is to others. */
export class MemoryBudgetExceeded extends Error {
  readonly code = "ENOSPC";

  constructor(usedBytes: number, bytesMax: number) {
    super(
      `streams in memory take ${usedBytes} of ${bytesMax} bytes together (MILLRACE_MEMORY_STREAM_BYTES_MAX)`,
    );
  }
}

/**
 * What the Memory streams of all threads take together, in one word of shared memory a thread. A thread writes its own word only,
 * except that the main thread sets it while the thread does not run. What is held may be more than the budget: memory that a
 * dead thread leaves is held until its streams are deleted.
 *
 * Two threads that reach for the last bytes at once may both be refused; never do both get them.
 */
export class MemoryBudget {
  readonly memory: SharedArrayBuffer;
  readonly bytesMax: number;
  readonly #words: Int32Array;

  constructor(bytesMax: number, memory: SharedArrayBuffer) {
    this.bytesMax = bytesMax;
    this.memory = memory;
    this.#words = new Int32Array(memory);
  }

  static forThreads(bytesMax: number, count: number): MemoryBudget {
    return new MemoryBudget(bytesMax, new SharedArrayBuffer(count * Int32Array.BYTES_PER_ELEMENT));
  }

  get usedBytes(): number {
    let units = 0;
    for (let index = 0; index < this.#words.length; index++) units += Atomics.load(this.#words, index);
    return units * MEMORY_CHUNK_BYTES_MIN;
  }

  share(index: number): BudgetShare {
    const freeBytes = (): number => this.bytesMax - this.usedBytes;
    return {
      get freeBytes() {
        return freeBytes();
      },
      take: (sizeBytes) => this.#take(index, sizeBytes),
      give: (sizeBytes) => this.give(index, sizeBytes),
    };
  }

  #take(index: number, sizeBytes: number): void {
    Atomics.add(this.#words, index, unitsOf(sizeBytes));
    const { usedBytes } = this;
    if (usedBytes <= this.bytesMax) return;
    this.give(index, sizeBytes);
    throw new MemoryBudgetExceeded(usedBytes - sizeBytes, this.bytesMax);
  }

  give(index: number, sizeBytes: number): void {
    Atomics.sub(this.#words, index, unitsOf(sizeBytes));
  }

  /** What a thread that has ended leaves. */
  set(index: number, sizeBytes: number): void {
    Atomics.store(this.#words, index, unitsOf(sizeBytes));
  }
}

function unitsOf(sizeBytes: number): number {
  assert(sizeBytes % MEMORY_CHUNK_BYTES_MIN === 0, "memory is taken in whole chunks");
  return sizeBytes / MEMORY_CHUNK_BYTES_MIN;
}
