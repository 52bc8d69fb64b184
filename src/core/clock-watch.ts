import type { MachineClock } from "./clock.ts";
import { CLOCK_LEAP_MS, CLOCK_SLEEP_MS_MIN } from "./limits.ts";

/**
 * Holds the wall clock against the monotonic one: how much time surely passed, and for how long the wall clock has been
 * where it should be. Knows nothing of what came before this process; whoever stores times compares those (StreamClock).
 *
 * Time that the machine slept counts as passed as far as both the uptime and the wall clock show it: neither alone is
 * believed, since the wall clock can be set and an uptime can be that of another machine after a migration.
 */
export class ClockWatch {
  readonly #clock: MachineClock;
  #monotonicMs: number;
  #wallMs: number;
  #elapsedMs = 0;
  /** The uptime minus the monotonic time; grows when the machine sleeps. */
  #sleptMs: number;
  /** The wall clock minus the elapsed time: at the last sample, and when it began to be steady. */
  #aheadMs: number;
  #steadyAheadMs: number;
  #steadySinceMs = 0;

  constructor(clock: MachineClock) {
    this.#clock = clock;
    this.#monotonicMs = clock.monotonicMs();
    this.#wallMs = clock.nowMs();
    this.#sleptMs = clock.uptimeMs() - this.#monotonicMs;
    this.#aheadMs = this.#wallMs;
    this.#steadyAheadMs = this.#wallMs;
  }

  /** Looks at the clocks; what the getters tell is as of then. Cheap. */
  sample(): void {
    const monotonicMs = this.#clock.monotonicMs();
    this.#elapsedMs += Math.max(0, monotonicMs - this.#monotonicMs);
    this.#monotonicMs = monotonicMs;
    this.#wallMs = this.#clock.nowMs();
    const stepMs = this.#wallMs - this.#elapsedMs - this.#aheadMs;
    if (stepMs >= CLOCK_SLEEP_MS_MIN) this.#elapsedMs += Math.min(stepMs, this.#sleep());
    const beforeMs = this.#aheadMs;
    this.#aheadMs = this.#wallMs - this.#elapsedMs;
    const isNear = (placeMs: number): boolean => Math.abs(this.#aheadMs - placeMs) <= CLOCK_LEAP_MS;
    if (isNear(beforeMs) && isNear(this.#steadyAheadMs)) return;
    this.#steadyAheadMs = this.#aheadMs;
    this.#steadySinceMs = this.#elapsedMs;
  }

  /** How long the machine slept since it was last found to have slept; what may be the uptime's coarseness is nothing. */
  #sleep(): number {
    const sleptMs = this.#clock.uptimeMs() - this.#monotonicMs;
    const newMs = sleptMs - this.#sleptMs;
    if (newMs < CLOCK_SLEEP_MS_MIN) return 0;
    this.#sleptMs = sleptMs;
    return newMs;
  }

  /** The wall clock as it is, right or wrong. */
  get wallMs(): number {
    return this.#wallMs;
  }
  /** Since this watch was made. Never goes back, and never runs ahead of what really passed. */
  get elapsedMs(): number {
    return this.#elapsedMs;
  }
  /** For how long the wall clock has been within CLOCK_LEAP_MS of where elapsed time says it should be. */
  get steadyMs(): number {
    return this.#elapsedMs - this.#steadySinceMs;
  }
}
