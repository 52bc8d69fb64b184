import type { Timers } from "../../src/core/timers.ts";

/** Timers that the test ends by hand. */
export class ManualTimers implements Timers {
  readonly pending = new Set<() => void>();
  /** Of the last one. */
  delayMs = 0;

  setTimer(action: () => void, delayMs: number): () => void {
    this.delayMs = delayMs;
    this.pending.add(action);
    return () => void this.pending.delete(action);
  }

  /** Ends all that run now. */
  fire(): void {
    for (const action of this.pending) action();
  }
}
