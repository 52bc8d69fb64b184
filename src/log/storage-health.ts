import type { Clock } from "../core/clock.ts";
import { systemCode } from "../core/errors.ts";
import {
  SEGMENT_FAILURES_MAX,
  SEGMENT_FAILURES_WINDOW_MS,
  STORAGE_PROBE_MS_MAX,
  STORAGE_PROBE_MS_MIN,
} from "../core/limits.ts";

export type LogState = "ok" | "read-only" | "fenced";

/** Errors that concern the whole store: no new segment will help. */
const storeWideErrors = new Set(["EROFS", "ENODEV", "ESTALE"]);

/** Whether one stream's storage takes writes, and when to try again if it does not. */
export class StorageHealth {
  readonly #clock: Clock;
  #state: LogState = "ok";
  #lastFault: Error | undefined;
  #failuresMs: number[] = [];
  #probeAtMs = 0;
  #probeWaitMs = STORAGE_PROBE_MS_MIN;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get state(): LogState {
    return this.#state;
  }
  get lastFault(): Error | undefined {
    return this.#lastFault;
  }
  get isProbeDue(): boolean {
    return this.#clock.monotonicMs() >= this.#probeAtMs;
  }

  /** Kept as the reason of what is refused; it does not count as a failure of the storage. */
  noteFault(error: unknown): void {
    this.#lastFault = error instanceof Error ? error : new Error(String(error));
  }

  noteFailure(error: unknown): void {
    this.noteFault(error);
    const nowMs = this.#clock.monotonicMs();
    this.#failuresMs = this.#failuresMs.filter((atMs) => nowMs - atMs < SEGMENT_FAILURES_WINDOW_MS);
    this.#failuresMs.push(nowMs);
    this.#probeAtMs = nowMs + this.#probeWaitMs;
    const isStoreWide = storeWideErrors.has(systemCode(error) ?? "");
    if (isStoreWide || this.#failuresMs.length >= SEGMENT_FAILURES_MAX) this.#enterReadOnly();
  }

  #enterReadOnly(): void {
    this.#state = "read-only";
    this.#probeAtMs = this.#clock.monotonicMs() + this.#probeWaitMs;
    this.#probeWaitMs = Math.min(STORAGE_PROBE_MS_MAX, this.#probeWaitMs * 2);
  }

  /** The storage took a new segment. */
  noteSuccess(): void {
    this.#state = "ok";
    this.#probeWaitMs = STORAGE_PROBE_MS_MIN;
  }
}
