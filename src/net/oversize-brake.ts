import { OVERSIZE_SKIPPED_BYTES_MAX } from "../core/limits.ts";
import type { PauseReasons } from "./pause-reasons.ts";

/**
 * Slows down a peer whose frames are over the limit. They are answered and skipped (PROTOCOL 1.3), which costs the peer nothing but
 * bandwidth, and us the reading of every byte.
 */
export class OversizeBrake {
  readonly #decoder: { readonly skippedBytes: number };
  readonly #pauses: PauseReasons;
  #releasedBytes = 0;

  constructor(options: { decoder: { readonly skippedBytes: number }; pauses: PauseReasons }) {
    this.#decoder = options.decoder;
    this.#pauses = options.pauses;
  }

  /** To be called after each read. */
  noteRead(): void {
    if (this.#decoder.skippedBytes - this.#releasedBytes > OVERSIZE_SKIPPED_BYTES_MAX) {
      this.#pauses.add("oversize");
    }
  }

  /** To be called at each look at the deadlines. */
  release(): void {
    this.#releasedBytes = this.#decoder.skippedBytes;
    this.#pauses.remove("oversize");
  }
}
