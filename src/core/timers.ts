/** Waiting as an argument. */
export interface Timers {
  /** Calls `action` once. A process may end over it unless it is to keep it alive. @returns what cancels it */
  setTimer(action: () => void, delayMs: number, options?: { readonly keepsAlive: boolean }): () => void;
}

/** Timers of Node.js wrap to 1 ms above this. */
const TIMER_MS_MAX = 2 ** 31 - 1;

export const systemTimers: Timers = {
  setTimer(action, delayMs, options) {
    const timer = setTimeout(action, Math.min(delayMs, TIMER_MS_MAX));
    if (options?.keepsAlive !== true) timer.unref();
    return () => clearTimeout(timer);
  },
};
