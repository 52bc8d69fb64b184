/** A word shared between the threads of a batch: 0, and 1 once nobody waits for the batch any more. */
const WORD = 0;
const RECALLED = 1;

/** The main thread's half: calls a batch back whose exporter was removed, so that it ends instead of uploading on. */
export class TaskRecall {
  readonly memory = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
  readonly #words = new Int32Array(this.memory);

  recall(): void {
    Atomics.store(this.#words, WORD, RECALLED);
    Atomics.notify(this.#words, WORD);
  }
}

/** The worker's half: calls `use` with a signal that is aborted by the recall; undefined where the batch cannot be called back. */
export async function withRecall<T>(
  memory: SharedArrayBuffer | undefined,
  use: (recalled: AbortSignal | undefined) => Promise<T>,
): Promise<T> {
  if (memory === undefined) return use(undefined);
  const words = new Int32Array(memory);
  const controller = new AbortController();
  const abortIfRecalled = (): void => {
    if (Atomics.load(words, WORD) === RECALLED) controller.abort();
  };
  const waiting = Atomics.waitAsync(words, WORD, 0);
  if (waiting.async) void waiting.value.then(abortIfRecalled);
  else abortIfRecalled();
  try {
    return await use(controller.signal);
  } finally {
    // Ends the wait, which would be kept for ever.
    Atomics.notify(words, WORD);
  }
}
