import type { Random } from "../core/random.ts";
import { EXPORT_BACKOFF_MS_MAX, EXPORT_BACKOFF_MS_MIN, EXPORT_SLOW_RETRY_MS } from "../core/limits.ts";
import type { BatchOutcome } from "./export-channel.ts";

/** Handed out when a batch starts, given back when it ends. */
export interface EndpointTicket {
  /** The endpoint may be another one's by the time the batch ends. */
  readonly backoff: EndpointBackoff;
  readonly era: number;
  readonly isProbe: boolean;
}

/**
 * The delay after the `failures`th failure in a row: a random share (full jitter) of a ceiling that doubles, so that many
 * devices that lost one endpoint do not come back to it together.
 */
export function backoffDelayMs(failures: number, random: Random): number {
  const ceilingMs = Math.min(EXPORT_BACKOFF_MS_MAX, EXPORT_BACKOFF_MS_MIN * 2 ** Math.min(failures, 32));
  return Math.max(EXPORT_BACKOFF_MS_MIN, ceilingMs * random.fraction());
}

/** The shared state of all exporters that send to one endpoint. */
export class EndpointBackoff {
  readonly #random: Random;
  #failures = 0;
  #retryAtMs = 0;
  #probeInFlight = false;
  /** Grows with each change, so that batches started before it say nothing about the state after it. */
  #era = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  get failing(): boolean {
    return this.#failures > 0;
  }

  get retryAtMs(): number {
    return this.#retryAtMs;
  }

  get probeInFlight(): boolean {
    return this.#probeInFlight;
  }

  start(): EndpointTicket {
    const isProbe = this.failing;
    if (isProbe) this.#probeInFlight = true;
    return { backoff: this, era: this.#era, isProbe };
  }

  /** A batch has ended. */
  end(ticket: EndpointTicket, outcome: BatchOutcome, nowMs: number): void {
    switch (outcome.kind) {
      case "sent":
      case "refused":
      case "progress":
        this.succeed();
        return;
      case "failed":
        if (outcome.scope === "exporter") this.succeed();
        else this.fail(ticket, { ...outcome, nowMs });
        return;
      case "passed":
      case "unreadable":
      case "gap":
        this.abandon(ticket);
        return;
    }
  }

  /** The endpoint answered, whatever it said. */
  succeed(): void {
    if (!this.failing) return;
    this.#failures = 0;
    this.#change();
  }

  fail(
    ticket: EndpointTicket,
    {
      pace,
      retryAfterMs = 0,
      nowMs,
    }: { pace: "backoff" | "slow"; retryAfterMs?: number | undefined; nowMs: number },
  ): void {
    // Five batches that fail together are one failure, not five doublings.
    if (ticket.era !== this.#era) return;
    this.#failures += 1;
    const delayMs = pace === "slow" ? EXPORT_SLOW_RETRY_MS : backoffDelayMs(this.#failures, this.#random);
    this.#retryAtMs = nowMs + Math.max(delayMs, Math.min(retryAfterMs, EXPORT_BACKOFF_MS_MAX));
    this.#change();
  }

  /** The batch ended without having asked the endpoint. */
  abandon(ticket: EndpointTicket): void {
    if (ticket.isProbe && ticket.era === this.#era) this.#probeInFlight = false;
  }

  /** The next batch may start at once, beside a probe that is out: it may hang. */
  retryNow(): void {
    if (!this.failing) return;
    this.#failures = 1;
    this.#retryAtMs = -Infinity;
    this.#change();
  }

  #change(): void {
    this.#era += 1;
    this.#probeInFlight = false;
  }
}
