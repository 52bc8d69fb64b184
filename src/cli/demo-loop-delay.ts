import type { Clock } from "../core/clock.ts";
import type { Sensor } from "./demo-sensors.ts";

const PROBE_INTERVAL_MS = 5;

/** The sensor of this process's own event loop: how late a timer of it is, in milliseconds. */
export class LoopDelay implements Sensor {
  readonly name = "producer.event_loop_delay";
  readonly unit = "ms";
  readonly kind = "gauge";
  readonly #clock: Clock;
  readonly #timer: NodeJS.Timeout;
  #tickMs: number;
  #lastDelayMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#tickMs = clock.monotonicMs();
    this.#timer = setInterval(() => {
      this.#lastDelayMs = this.#overdueMs();
      this.#tickMs = this.#clock.monotonicMs();
    }, PROBE_INTERVAL_MS);
  }

  /** The delay of the timer that is overdue now, or of the last one where that was later. */
  read(): number {
    return Math.max(this.#lastDelayMs, this.#overdueMs());
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #overdueMs(): number {
    return Math.max(0, this.#clock.monotonicMs() - this.#tickMs - PROBE_INTERVAL_MS);
  }
}
