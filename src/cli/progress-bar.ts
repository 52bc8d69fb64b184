import type { Writable } from "node:stream";
import type { Clock } from "../core/clock.ts";
import { formatBytes } from "./table.ts";

const REDRAW_INTERVAL_MS = 100;
const COLUMNS_DEFAULT = 80;
const BAR_COLUMNS_MAX = 30;
const CLEAR_LINE = "\r\u001b[2K";

interface Terminal {
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** A line that shows how far something is, on a terminal only: where output goes elsewhere it writes nothing. */
export class ProgressBar {
  readonly #output: Writable & Terminal;
  readonly #clock: Clock;
  readonly #startMs: number;
  #drawAfterMs = Number.NEGATIVE_INFINITY;
  #isDrawn = false;

  constructor(output: Writable, clock: Clock) {
    this.#output = output;
    this.#clock = clock;
    this.#startMs = clock.monotonicMs();
  }

  /** `done` of `total` bytes. Cheap to call often. */
  bytes(done: number, total: number, label: string): void {
    if (!this.#isDue()) return;
    const seconds = (this.#clock.monotonicMs() - this.#startMs) / 1000;
    const rate = seconds > 0 ? `  ${formatBytes(done / seconds)}/s` : "";
    this.#draw(done / total, `${formatBytes(done)} of ${formatBytes(total)}${rate}  ${label}`);
  }

  /** A share of the whole, from 0 to 1. */
  share(share: number, label: string): void {
    if (this.#isDue()) this.#draw(share, label);
  }

  /** Takes the line away, so that something else can be written. */
  clear(): void {
    if (this.#isDrawn) this.#output.write(CLEAR_LINE);
    this.#isDrawn = false;
  }

  #isDue(): boolean {
    if (this.#output.isTTY !== true) return false;
    const nowMs = this.#clock.monotonicMs();
    if (nowMs < this.#drawAfterMs) return false;
    this.#drawAfterMs = nowMs + REDRAW_INTERVAL_MS;
    return true;
  }

  #draw(share: number, text: string): void {
    const bounded = Number.isFinite(share) ? Math.min(1, Math.max(0, share)) : 0;
    // The last column stays free: a full line would wrap, and could not be written again. A terminal may say it has none.
    const columns = (this.#output.columns || COLUMNS_DEFAULT) - 1;
    const width = Math.max(0, Math.min(BAR_COLUMNS_MAX, columns - text.length - "[] 100%  ".length));
    const filled = Math.round(bounded * width);
    const bar = width === 0 ? "" : `[${"#".repeat(filled)}${" ".repeat(width - filled)}] `;
    const percent = `${Math.floor(bounded * 100)}%`.padStart(4);
    this.#output.write(CLEAR_LINE + `${bar}${percent}  ${text}`.slice(0, columns));
    this.#isDrawn = true;
  }
}
