/**
 * How one thread sleeps until another has something for it. A thread has one doorbell for all its rings and control ports.
 *
 * The sleeper first says that it will sleep (`arm`), then looks at its rings once more, then waits; a ringer first writes its
 * record, then looks whether anybody sleeps. Atomics are sequentially consistent, so one of the two always sees the other:
 * no wake-up is lost, and a busy reader costs the writer one load.
 */
const SIGNAL_INDEX = 0;
const ARMED_INDEX = 32;
const WAKE_UPS_INDEX = 64;
const DOORBELL_BYTES = 384;

export class Doorbell {
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;

  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(DOORBELL_BYTES)) {
    this.memory = memory;
    this.#words = new Int32Array(memory);
  }

  /** Wakes the sleeper if there is one. Call after the record is visible. */
  ring(): void {
    if (Atomics.load(this.#words, ARMED_INDEX) === 0) return;
    // Only the first ring of a sleep wakes: the sleeper needs its time to get up, and each further system call would be for nothing.
    if (Atomics.exchange(this.#words, ARMED_INDEX, 0) === 1) this.ringAlways();
  }

  /** Wakes a sleeper, or keeps the next `wait` from sleeping. For control messages, which no ring shows. */
  ringAlways(): void {
    Atomics.add(this.#words, SIGNAL_INDEX, 1);
    Atomics.add(this.#words, WAKE_UPS_INDEX, 1);
    Atomics.notify(this.#words, SIGNAL_INDEX);
  }

  /** Announces sleep; look at every source once more before `wait` or `waitAsync` with the ticket. */
  arm(): number {
    const ticket = Atomics.load(this.#words, SIGNAL_INDEX);
    Atomics.store(this.#words, ARMED_INDEX, 1);
    return ticket;
  }

  disarm(): void {
    Atomics.store(this.#words, ARMED_INDEX, 0);
  }

  /** Blocks this thread until rung, at most `timeoutMs`. */
  wait(ticket: number, timeoutMs: number): void {
    Atomics.wait(this.#words, SIGNAL_INDEX, ticket, timeoutMs);
    this.disarm();
  }

  /** Resolves when rung, without blocking and without keeping the process alive; undefined when rung already. Armed until rung. */
  waitAsync(ticket: number, timeoutMs: number): Promise<unknown> | undefined {
    const result = Atomics.waitAsync(this.#words, SIGNAL_INDEX, ticket, timeoutMs);
    return result.async ? result.value : undefined;
  }

  get wakeUpCount(): number {
    return Atomics.load(this.#words, WAKE_UPS_INDEX) >>> 0;
  }
}
