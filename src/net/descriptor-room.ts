import type { Clock } from "../core/clock.ts";
import { DESCRIPTOR_COUNT_MS, DESCRIPTOR_RECOUNT_MS, DESCRIPTORS_RESERVED } from "../core/limits.ts";
import type { MetricSample } from "../observe/counters.ts";
import { EventName } from "../observe/events.ts";
import type { Health } from "../observe/health.ts";
import type { Logger } from "../observe/logger.ts";
import type { DescriptorCount } from "./process-descriptors.ts";

/** A reason of `Health`. */
const DESCRIPTORS_SHORT = "descriptors-short";

export interface DescriptorRoomOptions {
  readonly clock: Clock;
  readonly health: Health;
  readonly logger: Logger;
  /** Undefined where the system does not tell. */
  readonly count: () => DescriptorCount | undefined;
}

/**
 * Whether a connection may have a descriptor: not one of the last DESCRIPTORS_RESERVED, which segments, cursors and directories
 * need. They are counted now and then only; connections that come meanwhile count as more, whatever others let go of.
 */
export class DescriptorRoom {
  readonly #options: DescriptorRoomOptions;
  #counted: DescriptorCount | undefined;
  #countedMs: number;
  #since = 0;
  #isShort = false;

  constructor(options: DescriptorRoomOptions) {
    this.#options = options;
    this.#counted = options.count();
    this.#countedMs = options.clock.monotonicMs();
  }

  /** Whether anything is known: where nothing is, nothing is reserved. */
  get isKnown(): boolean {
    return this.#counted !== undefined;
  }

  *samples(): Iterable<MetricSample> {
    if (this.#counted === undefined) return;
    yield { name: "open_descriptors", value: this.#counted.openCount };
    yield { name: "descriptors_max", value: this.#counted.limit };
  }

  /** For a connection that has been accepted, and so has its descriptor. @returns false when it must give it back */
  admit(): boolean {
    const hasRoom = this.#take();
    if (hasRoom === this.#isShort) this.#tell(hasRoom);
    return hasRoom;
  }

  #tell(hasRoom: boolean): void {
    this.#isShort = !hasRoom;
    const { health, logger } = this.#options;
    if (hasRoom) {
      health.restore(DESCRIPTORS_SHORT);
      return;
    }
    health.degrade(DESCRIPTORS_SHORT);
    const { openCount: count, limit } = this.#counted ?? {};
    const reason = `the last ${DESCRIPTORS_RESERVED} descriptors are kept for the store; raise the limit of open files`;
    const known = count === undefined || limit === undefined ? {} : { count, limit };
    logger.warn(EventName.PortFull, { reason, ...known });
  }

  #take(): boolean {
    this.#since += 1;
    const ageMs = this.#options.clock.monotonicMs() - this.#countedMs;
    const isDue = ageMs >= DESCRIPTOR_COUNT_MS || (!this.#hasRoom && ageMs >= DESCRIPTOR_RECOUNT_MS);
    if (isDue) this.#count();
    const hasRoom = this.#hasRoom;
    if (!hasRoom) this.#since -= 1;
    return hasRoom;
  }

  get #hasRoom(): boolean {
    if (this.#counted === undefined) return true;
    return this.#counted.limit - this.#counted.openCount - this.#since >= DESCRIPTORS_RESERVED;
  }

  #count(): void {
    this.#counted = this.#options.count();
    this.#countedMs = this.#options.clock.monotonicMs();
    this.#since = 0;
  }
}
