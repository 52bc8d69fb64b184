/** What runs beside the caller on behalf of streams, so that a removal and the end of the process can wait for it. */
export class RunningWork {
  readonly #byStream = new Map<string, Set<Promise<void>>>();

  /** Counts `work` as the stream's until it settles. `work` must not reject. */
  add(streamId: string, work: Promise<void>): void {
    const running = this.#byStream.get(streamId) ?? new Set();
    this.#byStream.set(streamId, running);
    const done = work.finally(() => {
      running.delete(done);
      if (running.size === 0 && this.#byStream.get(streamId) === running) this.#byStream.delete(streamId);
    });
    running.add(done);
  }

  /** Resolves when what runs now for the stream has ended. */
  async ofStream(streamId: string): Promise<void> {
    await Promise.all([...(this.#byStream.get(streamId) ?? [])]);
  }

  async all(): Promise<void> {
    await Promise.all([...this.#byStream.values()].flatMap((running) => [...running]));
  }
}

/** Resolves when `work` has, at the latest at the deadline. */
export async function settledWithin(work: Promise<void>, deadlineMs: number): Promise<void> {
  let cancel: () => void = () => undefined;
  const deadline = new Promise<void>((resolve) => {
    // Not the injected timers: those may let the process end, and this wait has to end.
    const timer = setTimeout(resolve, deadlineMs);
    cancel = () => clearTimeout(timer);
  });
  await Promise.race([work, deadline]);
  cancel();
}
