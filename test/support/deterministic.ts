import type { MachineClock } from "../../src/core/clock.ts";
import type { Random } from "../../src/core/random.ts";
import { seededRandom } from "./seeded-random.ts";

/** A clock that moves when it is told to. */
export class ManualClock implements MachineClock {
  #wallMs: number;
  #monotonicMs = 0;
  #sleptMs = 0;

  constructor(wallMs = 1_700_000_000_000) {
    this.#wallMs = wallMs;
  }
  nowMs(): number {
    return this.#wallMs;
  }
  monotonicMs(): number {
    return this.#monotonicMs;
  }
  uptimeMs(): number {
    return this.#monotonicMs + this.#sleptMs;
  }
  advance(ms: number): void {
    this.#wallMs += ms;
    this.#monotonicMs += ms;
  }
  /** The machine sleeps: all but the monotonic clock go on. */
  sleep(ms: number): void {
    this.#wallMs += ms;
    this.#sleptMs += ms;
  }
  /** The wall clock alone. */
  setWall(ms: number): void {
    this.#wallMs = ms;
  }
}

/** `seededRandom` with whole numbers as well. */
export class SeededRandom implements Random {
  readonly #random: Random;

  constructor(seed: number) {
    this.#random = seededRandom(seed);
  }
  fraction(): number {
    return this.#random.fraction();
  }
  bytes(length: number): Uint8Array {
    return this.#random.bytes(length);
  }
  /** An integer in [low, high]. */
  between(low: number, high: number): number {
    return low + Math.floor(this.fraction() * (high - low + 1));
  }
}
