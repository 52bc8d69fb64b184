import { MillraceError } from "../core/errors.ts";
import { CLIENT_WAITING_APPENDS_MAX } from "../core/limits.ts";

/** An append for which there is no room yet. */
export interface WaitingAppend {
  /** Takes the messages in if there is room now. */
  tryPlace(): boolean;
  reject(error: Error): void;
}

/** Appends in the order in which they came, until the window has room for them; at most CLIENT_WAITING_APPENDS_MAX. */
export class WaitingAppends {
  readonly #waiting: WaitingAppend[] = [];

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  add(waiting: WaitingAppend): void {
    if (this.#waiting.length < CLIENT_WAITING_APPENDS_MAX) {
      this.#waiting.push(waiting);
      return;
    }
    const text = `Cannot append: ${this.#waiting.length} appends wait for room already; wait for the promise of append`;
    waiting.reject(new MillraceError("SERVER_BUSY", text));
  }

  /** Places those in front for which there is room. */
  admit(): void {
    let placed = 0;
    while (placed < this.#waiting.length && this.#waiting[placed]!.tryPlace()) placed++;
    if (placed > 0) this.#waiting.splice(0, placed);
  }

  refuse(error: Error): void {
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }
}
