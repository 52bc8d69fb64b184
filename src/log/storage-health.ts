import type { Clock } from "../core/clock.ts";
import { asError, type MillraceError, systemCode } from "../core/errors.ts";
import {
  SEGMENT_FAILURES_MAX,
  SEGMENT_FAILURES_WINDOW_MS,
  STORAGE_PROBE_MS_MAX,
  STORAGE_PROBE_MS_MIN,
} from "../core/limits.ts";
import { fenced, readOnly } from "./append-refusals.ts";

export type LogState = "ok" | "read-only" | "fenced";

/** Errors that concern the whole store: no new segment will help. */
const storeWideErrors = new Set(["EROFS", "ENODEV", "ESTALE"]);

/**
 * Whether one stream's storage takes writes, and when to try again if it does not. `fenced`: its files are not where they were
 * (`directory-fence.ts`), and what they take would be lost.
 */
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
  /** What an append is told while the state is not "ok". */
  get refusal(): MillraceError {
    return this.#state === "fenced" ? fenced(this.#lastFault) : readOnly(this.#lastFault);
  }
  get isProbeDue(): boolean {
    return this.#clock.monotonicMs() >= this.#probeAtMs;
  }

  /** Kept as the reason of what is refused; it does not count as a failure of the storage. */
  noteFault(error: unknown): void {
    this.#lastFault = asError(error);
  }

  /** A new segment was refused; if that was no failure, for there is no room, the next try by itself waits too. */
  noteRefusal(error: unknown): void {
    this.noteFault(error);
    this.#probeAtMs = Math.max(this.#probeAtMs, this.#clock.monotonicMs() + STORAGE_PROBE_MS_MIN);
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

  /** What is written is not where a start would look for it: no write, no probe, until it is there again. */
  fence(error: Error): void {
    this.noteFault(error);
    this.#state = "fenced";
  }

  /** It is there again, as it was. */
  unfence(): void {
    this.noteSuccess();
  }

  #enterReadOnly(): void {
    if (this.#state === "fenced") return;
    this.#state = "read-only";
    this.#probeAtMs = this.#clock.monotonicMs() + this.#probeWaitMs;
    this.#probeWaitMs = Math.min(STORAGE_PROBE_MS_MAX, this.#probeWaitMs * 2);
  }

  /** The storage took a new segment: what failed before is answered. */
  noteSuccess(): void {
    this.#state = "ok";
    this.#failuresMs = [];
    this.#probeWaitMs = STORAGE_PROBE_MS_MIN;
  }
}
