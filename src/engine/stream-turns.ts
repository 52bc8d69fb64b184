import type { Clock } from "../core/clock.ts";
import { MillraceError } from "../core/errors.ts";
import { STREAM_CHANGES_WAITING_MAX, STREAM_CHANGE_WAIT_MS_MAX } from "../core/limits.ts";

/** What changes or deletes one stream, one after the other: none of it sees a stream that another one is about to change. */
export class StreamTurns {
  #last: Promise<void> | undefined;
  #waitingCount = 0;

  /**
   * Runs `work` when what was asked before is done, at once if nothing is.
   * @throws {MillraceError} SERVER_BUSY when too many wait or its turn comes too late for an answer; and what `work` throws
   */
  async run<T>(clock: Clock, work: () => Promise<T>): Promise<T> {
    const before = this.#last;
    if (before !== undefined && this.#waitingCount === STREAM_CHANGES_WAITING_MAX) {
      throw new MillraceError("SERVER_BUSY", `${this.#waitingCount} changes of this stream wait already`);
    }
    const askedMs = clock.monotonicMs();
    const turn = before === undefined ? work() : this.#after(before, clock, askedMs, work);
    const last = turn.then(ignore, ignore).then(() => {
      if (this.#last === last) this.#last = undefined;
    });
    this.#last = last;
    return turn;
  }

  async #after<T>(before: Promise<void>, clock: Clock, askedMs: number, work: () => Promise<T>): Promise<T> {
    this.#waitingCount += 1;
    await before;
    this.#waitingCount -= 1;
    const waitedMs = clock.monotonicMs() - askedMs;
    if (waitedMs <= STREAM_CHANGE_WAIT_MS_MAX) return work();
    throw new MillraceError("SERVER_BUSY", "Another change of this stream took too long: retry");
  }
}

function ignore(): void {
  // Whoever asked for it hears of it.
}
