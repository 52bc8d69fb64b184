import type { Clock } from "../core/clock.ts";
import { LOG_STRANGER_LINES_PER_SECOND_MAX } from "../core/limits.ts";
import { EventName } from "./events.ts";

/** What anybody who reaches the port can have written, as often as he likes. */
const strangerEvents: ReadonlySet<EventName> = new Set([
  EventName.AuthenticationRefused,
  EventName.ConnectionExpired,
]);
const SECOND_MS = 1000;

/** Bounds the lines of such events, so that a stranger cannot fill the disk with the log. The metrics count all of them. */
export class LineAllowance {
  readonly #clock: Clock;
  readonly #seconds = new Map<EventName, { sinceMs: number; lineCount: number; omittedCount: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @returns how many lines of this event were left out since the last one; undefined when this one is left out too */
  take(event: EventName): number | undefined {
    if (!strangerEvents.has(event)) return 0;
    const nowMs = this.#clock.monotonicMs();
    const second = this.#seconds.get(event);
    if (second === undefined || nowMs - second.sinceMs >= SECOND_MS) {
      this.#seconds.set(event, { sinceMs: nowMs, lineCount: 1, omittedCount: 0 });
      return second?.omittedCount ?? 0;
    }
    if (second.lineCount >= LOG_STRANGER_LINES_PER_SECOND_MAX) {
      second.omittedCount += 1;
      return undefined;
    }
    second.lineCount += 1;
    return 0;
  }
}
