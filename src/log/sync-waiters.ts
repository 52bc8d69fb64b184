import { MillraceError } from "../core/errors.ts";

interface SyncWaiter {
  readonly sequence: number;
  readonly done: (error: MillraceError | undefined) => void;
}

/** Who asked for a sync and has no answer yet. */
export class SyncWaiters {
  #waiters: SyncWaiter[] = [];

  get isEmpty(): boolean {
    return this.#waiters.length === 0;
  }

  /** `done` is called when everything below `sequence` is durable, or never will be for all that is known. */
  add(sequence: number, done: (error: MillraceError | undefined) => void): void {
    this.#waiters.push({ sequence, done });
  }

  settle(syncedEndSequence: number): void {
    const settled = this.#waiters.filter(({ sequence }) => sequence <= syncedEndSequence);
    if (settled.length === 0) return;
    this.#waiters = this.#waiters.filter(({ sequence }) => sequence > syncedEndSequence);
    for (const { done } of settled) done(undefined);
  }

  failAll(cause: Error | undefined): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    const text = "Cannot make appended messages durable";
    for (const { done } of waiters) done(new MillraceError("UNKNOWN_OUTCOME", text, { cause }));
  }
}
