import type { Clock } from "../core/clock.ts";
import { REWRITE_PAUSE_FACTOR, REWRITE_QUIET_MS } from "../core/limits.ts";
import type { HandledSlot } from "./handled-slot.ts";
import type { OpenStream } from "./open-stream.ts";

/**
 * Gives the rewriting of complete segments its turns, one stream at a time: slice upon slice while nothing arrives, and a small
 * part of the time while something does. Appends, reads and syncs wait for one slice at most.
 */
export class RewriteStage {
  readonly #clock: Clock;
  readonly #onSyncSettled: () => void;
  readonly #handledSlot: HandledSlot;
  #current: OpenStream | undefined;
  /** Of the stream that had its turn last; the next one is behind it, so that each has its turn. */
  #lastSlot = -1;
  #inputMs = -Infinity;
  #notBeforeMs = 0;

  constructor(options: {
    readonly clock: Clock;
    readonly onSyncSettled: () => void;
    readonly handledSlot: HandledSlot;
  }) {
    this.#clock = options.clock;
    this.#handledSlot = options.handledSlot;
    this.#onSyncSettled = options.onSyncSettled;
  }

  /** Whether a sync runs that it waits for. */
  get isSyncing(): boolean {
    return this.#current?.log.rewrites?.isSyncing === true;
  }

  noteInput(): void {
    this.#inputMs = this.#clock.monotonicMs();
  }

  /** Looks for a stream with something to rewrite, unless it has one. */
  choose(streams: readonly OpenStream[]): void {
    if (this.#current !== undefined) return;
    const due = streams.filter(({ log }) => log.rewrites?.isDue === true);
    due.sort((one, other) => one.slot - other.slot);
    this.#current = due.find(({ slot }) => slot > this.#lastSlot) ?? due[0];
    this.#lastSlot = this.#current?.slot ?? -1;
  }

  endStream(stream: OpenStream): void {
    if (this.#current === stream) this.#current = undefined;
  }

  /** One slice if it is time for one. @returns whether the next may follow at once */
  serve(): boolean {
    if (this.#current === undefined) return false;
    const { rewrites } = this.#current.log;
    if (rewrites?.isSyncing === true || this.#waitMs() > 0) return false;
    this.#handledSlot.enter(this.#current.slot);
    const startMs = this.#clock.monotonicMs();
    const slice = rewrites?.slice(this.#onSyncSettled) ?? "idle";
    const endMs = this.#clock.monotonicMs();
    this.#notBeforeMs = endMs + REWRITE_PAUSE_FACTOR * (endMs - startMs);
    // After each segment another stream has its turn.
    if (slice === "idle" || rewrites?.isRunning !== true) this.#current = undefined;
    return slice === "worked" && this.#waitMs() === 0;
  }

  /** Milliseconds until it is time for a slice. */
  nextDeadlineMs(): number {
    return this.#current === undefined || this.isSyncing ? Infinity : this.#waitMs();
  }

  #waitMs(): number {
    const quietMs = this.#inputMs + REWRITE_QUIET_MS;
    return Math.max(0, Math.min(quietMs, this.#notBeforeMs) - this.#clock.monotonicMs());
  }
}
