import { uptime } from "node:os";

/** Time as an argument. `nowMs` may jump; `monotonicMs` never goes back. Both in milliseconds, possibly fractional. */
export interface Clock {
  nowMs(): number;
  monotonicMs(): number;
}

/** A clock that can also tell how long the machine slept, which `monotonicMs` leaves out. */
export interface MachineClock extends Clock {
  /** Since some start, sleep included. A system call, and coarse (10 ms): not for every message. */
  uptimeMs(): number;
}

/** The wall clock as it is stored: whole milliseconds since 1970, never before. */
export function wallMs(clock: Clock): number {
  return Math.max(0, Math.floor(clock.nowMs()));
}

export const systemClock: MachineClock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  uptimeMs: () => 1000 * uptime(),
};
