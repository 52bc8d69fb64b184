import { EXPORT_RATE_MS } from "../core/limits.ts";

const AGE_MS_MIN = 1000;

/** How much comes in a second, of late: each moment counts for less the longer ago it is. */
export class RateMeter {
  readonly #sinceMs: number;
  #perMs = 0;
  #atMs: number;

  constructor(nowMs: number) {
    this.#sinceMs = nowMs;
    this.#atMs = nowMs;
  }

  add(amount: number, nowMs: number): void {
    this.#decay(nowMs);
    this.#perMs += amount / EXPORT_RATE_MS;
  }

  perSecond(nowMs: number): number {
    this.#decay(nowMs);
    // A meter that is young has seen only so much of what it weighs.
    const ageMs = Math.max(AGE_MS_MIN, nowMs - this.#sinceMs);
    return (1000 * this.#perMs) / (1 - Math.exp(-ageMs / EXPORT_RATE_MS));
  }

  #decay(nowMs: number): void {
    this.#perMs *= Math.exp(-Math.max(0, nowMs - this.#atMs) / EXPORT_RATE_MS);
    this.#atMs = nowMs;
  }
}
