/** Time as an argument. `nowMs` may jump; `monotonicMs` never goes back. Both in milliseconds, possibly fractional. */
export interface Clock {
  nowMs(): number;
  monotonicMs(): number;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};
