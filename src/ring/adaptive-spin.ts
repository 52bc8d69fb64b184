import type { Clock } from "../core/clock.ts";

/** A look for work this long, at most, before a thread sleeps. */
const SPIN_MS_MAX = 0.1;
/** Waits that were this short on average are worth a look: sleeping and being woken takes as long. */
const WORTH_MS_MAX = 0.25;
/** One long wait counts as this much, so that a few short ones make up for it. */
const OBSERVED_MS_MAX = 1;
const WEIGHT_OF_NEWEST = 0.25;
const LOOKS_PER_CLOCK_READING = 32;

/**
 * Saves a thread the sleep when what it waits for comes at once, as when one client awaits each append: there waking a thread
 * takes longer than the work. Looks only while looking has paid off lately, so that a thread without work sleeps.
 */
export class AdaptiveSpin {
  readonly #clock: Clock;
  #expectedMs = OBSERVED_MS_MAX;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Looks for a moment, if that is worth it. @returns whether `isReady` */
  poll(isReady: () => boolean): boolean {
    if (this.#expectedMs > WORTH_MS_MAX) return false;
    const startMs = this.#clock.monotonicMs();
    let waitedMs = 0;
    do {
      for (let look = 0; look < LOOKS_PER_CLOCK_READING; look++) {
        if (!isReady()) continue;
        this.observe(this.#clock.monotonicMs() - startMs);
        return true;
      }
      waitedMs = this.#clock.monotonicMs() - startMs;
    } while (waitedMs < SPIN_MS_MAX);
    this.observe(OBSERVED_MS_MAX);
    return false;
  }

  /** How long a wait took that ended otherwise. */
  observe(waitedMs: number): void {
    const newest = Math.min(waitedMs, OBSERVED_MS_MAX);
    this.#expectedMs += WEIGHT_OF_NEWEST * (newest - this.#expectedMs);
  }
}
