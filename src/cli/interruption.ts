import { constants } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";

/** What a shell makes of a program that a signal ended: 130 for Ctrl-C. */
const SIGNAL_EXIT_BASE = 128;

/** When a process dies, its broken connection is seen first, and its end, which says more, a moment later. */
const CAUSE_GRACE_MS = 200;

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** The user does not want to wait for the end. */
export class Interruption extends Error {
  readonly exitCode: number;

  constructor(signal: NodeJS.Signals) {
    super(`interrupted by ${signal}`);
    this.exitCode = SIGNAL_EXIT_BASE + constants.signals[signal];
  }
}

/** Aborts on a signal that asks the program to end; further ones change nothing, since all is being cleared away. */
export function watchInterruption(controller: AbortController): { stop(): void } {
  const abort = (signal: NodeJS.Signals) => {
    controller.abort(new Interruption(signal));
  };
  for (const signal of signals) process.on(signal, abort);
  return {
    stop: () => {
      for (const signal of signals) process.off(signal, abort);
    },
  };
}

/** What the promise gives, or the reason of the abort if that comes first. */
export async function unlessAborted<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  let onAbort = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    signal.throwIfAborted();
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** What ended the work that a controller watches over: the reason of its abort, which may come a moment after the error, or else the error. */
export async function causeOf(error: unknown, { signal }: AbortController): Promise<unknown> {
  await sleep(CAUSE_GRACE_MS);
  return signal.aborted ? signal.reason : error;
}
