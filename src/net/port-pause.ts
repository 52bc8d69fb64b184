import { asMillraceError } from "../core/errors.ts";
import type { Timers } from "../core/timers.ts";
import { EventName } from "../observe/events.ts";
import type { Logger } from "../observe/logger.ts";
import type { Port } from "./listen-port.ts";

const RETRY_INTERVAL_MS = 1000;

export interface PortPauseOptions {
  readonly port: Pick<Port, "suspend" | "resume">;
  readonly timers: Timers;
  readonly logger: Logger;
}

/** Leaves a port for a while and takes it again, as soon as nobody else has it; not while it is to be left once more. */
export class PortPause {
  readonly #options: PortPauseOptions;
  #isOn = false;
  #pauseCount = 0;
  #isTrying = false;
  #cancelRetry: () => void = () => undefined;

  constructor(options: PortPauseOptions) {
    this.#options = options;
  }

  begin(): void {
    this.#isOn = true;
    this.#pauseCount += 1;
    this.#cancelRetry();
    this.#options.port.suspend();
  }

  end(): void {
    this.#isOn = false;
    this.#cancelRetry();
    void this.#resume();
  }

  /** No more tries. */
  close(): void {
    this.#isOn = true;
    this.#cancelRetry();
  }

  async #resume(): Promise<void> {
    if (this.#isTrying) return;
    this.#isTrying = true;
    const { port, timers, logger } = this.#options;
    try {
      let pauseCount: number;
      do {
        pauseCount = this.#pauseCount;
        await port.resume();
        // Left once more while it was being taken, and to be taken again.
      } while (!this.#isOn && pauseCount !== this.#pauseCount);
    } catch (thrown) {
      logger.error(EventName.PortClosed, { reason: asMillraceError(thrown).message });
      if (!this.#isOn) this.#cancelRetry = timers.setTimer(() => void this.#resume(), RETRY_INTERVAL_MS);
    } finally {
      this.#isTrying = false;
    }
  }
}
