import type { Writable } from "node:stream";
import type { Clock } from "../core/clock.ts";

const PLAIN_INTERVAL_MS = 2000;
const COLUMNS_DEFAULT = 80;
const CLEAR_LINE = "\r\u001b[2K";

interface Terminal {
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** Where the demo is: one line that is written again on a terminal, and now and then a line where output goes elsewhere. */
export class Progress {
  readonly #output: Writable & Terminal;
  readonly #clock: Clock;
  #isLineOpen = false;
  #last = "";
  /** The last state that stands on a line of its own. */
  #written = "";
  #plainAfterMs = Number.NEGATIVE_INFINITY;

  constructor(output: Writable, clock: Clock) {
    this.#output = output;
    this.#clock = clock;
  }

  /** The state of what is going on. */
  update(text: string): void {
    this.#last = text;
    if (this.#output.isTTY === true) {
      // The last column stays free: a full line would wrap, and could not be written again. A terminal may say it has none.
      const columns = (this.#output.columns || COLUMNS_DEFAULT) - 1;
      this.#output.write(CLEAR_LINE + text.slice(0, columns));
      this.#isLineOpen = true;
      return;
    }
    const nowMs = this.#clock.monotonicMs();
    if (nowMs < this.#plainAfterMs) return;
    this.#plainAfterMs = nowMs + PLAIN_INTERVAL_MS;
    this.#output.write(`${text}\n`);
    this.#written = text;
  }

  /** A line that stays. */
  note(text: string): void {
    this.#output.write(this.#isLineOpen ? `${CLEAR_LINE}${text}\n` : `${text}\n`);
    this.#isLineOpen = false;
  }

  /** Leaves the last state as it stands. */
  settle(): void {
    if (this.#isLineOpen) this.#output.write("\n");
    else if (this.#last !== this.#written) this.#output.write(`${this.#last}\n`);
    this.#isLineOpen = false;
    this.#written = this.#last;
    this.#plainAfterMs = Number.NEGATIVE_INFINITY;
  }

  /** Takes the state away, so that something else can be written. */
  clear(): void {
    if (this.#isLineOpen) this.#output.write(CLEAR_LINE);
    this.#isLineOpen = false;
  }
}
