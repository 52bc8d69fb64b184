import type { PauseReason } from "./request-handler.ts";

/** Reads are off while at least one reason says so; `apply` is called when that changes. */
export class PauseReasons {
  readonly #reasons = new Set<PauseReason>();
  readonly #apply: (isPaused: boolean) => void;

  constructor(apply: (isPaused: boolean) => void) {
    this.#apply = apply;
  }

  get isPaused(): boolean {
    return this.#reasons.size > 0;
  }

  add(reason: PauseReason): void {
    this.#reasons.add(reason);
    if (this.#reasons.size === 1) this.#apply(true);
  }

  remove(reason: PauseReason): void {
    if (this.#reasons.delete(reason) && this.#reasons.size === 0) this.#apply(false);
  }

  /** A session that is closing must read on, to see the peer's end. */
  clear(): void {
    if (!this.isPaused) return;
    this.#reasons.clear();
    this.#apply(false);
  }
}
