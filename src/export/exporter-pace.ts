import type { Random } from "../core/random.ts";
import { EXPORT_REQUEST_BYTES_MAX, EXPORT_REQUEST_BYTES_MIN, EXPORT_SLOW_RETRY_MS } from "../core/limits.ts";
import { backoffDelayMs } from "./endpoint-backoff.ts";
import type { BatchOutcome } from "./export-channel.ts";

/** A gap is believed when it was seen so often, over growing delays: a look may fail for want of descriptors, say. */
const GAP_LOOKS_MAX = 5;

/** Refused requests in a row that bisection needs to find one message; only beyond them the delays grow. */
const REFUSALS_WITHOUT_GROWTH = 16;

/** When an exporter may try again after what it has met, how large its next request may be, and whether it believes a gap. */
export class ExporterPace {
  #notBeforeMs = -Infinity;
  #failures = 0;
  #refusals = 0;
  #requestBytesMax = EXPORT_REQUEST_BYTES_MAX;
  #gap = { fromSequence: -1, looks: 0 };

  get notBeforeMs(): number {
    return this.#notBeforeMs;
  }

  get requestBytesMax(): number {
    return this.#requestBytesMax;
  }

  get believesGaps(): boolean {
    return this.#gap.looks >= GAP_LOOKS_MAX;
  }

  /** Takes in how a task ended. */
  note(outcome: BatchOutcome, now: { readonly nowMs: number; readonly random: Random }): void {
    if (outcome.kind === "gap") this.#lookedAtGap(outcome.fromSequence);
    else if (outcome.kind !== "unreadable") this.#gap = { fromSequence: -1, looks: 0 };
    const pauseMs = "pauseMs" in outcome ? outcome.pauseMs : -Infinity;
    this.#notBeforeMs = now.nowMs + Math.max(pauseMs, this.#delayMs(outcome, now.random));
  }

  /** Takes the outcome in. @returns the delay that follows from it; -Infinity for none */
  #delayMs(outcome: BatchOutcome, random: Random): number {
    switch (outcome.kind) {
      case "sent":
        this.#refusals = 0;
        this.#requestBytesMax = Math.min(EXPORT_REQUEST_BYTES_MAX, this.#requestBytesMax * 2);
        if (outcome.failedMessages === 0) {
          this.#failures = 0;
          return -Infinity;
        }
        // A partial acceptance is progress: the delay does not grow over it.
        this.#failures = outcome.acceptedMessages > 0 ? 1 : this.#failures + 1;
        return backoffDelayMs(this.#failures, random);
      case "passed":
      case "progress":
        this.#failures = 0;
        return -Infinity;
      case "refused":
        this.#refusals += 1;
        return backoffDelayMs(Math.max(0, this.#refusals - REFUSALS_WITHOUT_GROWTH), random);
      case "unreadable":
      case "gap":
        this.#failures += 1;
        return backoffDelayMs(this.#failures, random);
      case "failed":
        if (outcome.timedOut) {
          this.#requestBytesMax = Math.max(EXPORT_REQUEST_BYTES_MIN, this.#requestBytesMax / 2);
        }
        // An endpoint's failure is paced by the endpoint.
        if (outcome.scope === "endpoint") return -Infinity;
        this.#failures += 1;
        return outcome.pace === "slow" ? EXPORT_SLOW_RETRY_MS : backoffDelayMs(this.#failures, random);
    }
  }

  /** Whatever was met before counts no more. */
  retryNow(): void {
    this.#notBeforeMs = -Infinity;
    this.#failures = 0;
  }

  #lookedAtGap(fromSequence: number): void {
    const looks = this.#gap.fromSequence === fromSequence ? this.#gap.looks + 1 : 1;
    this.#gap = { fromSequence, looks };
  }
}
