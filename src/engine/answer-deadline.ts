import { MillraceError } from "../core/errors.ts";
import { CONTROL_ANSWER_DEADLINE_MS } from "../core/limits.ts";
import type { Timers } from "../core/timers.ts";

/**
 * What `work` comes to, if that is known in time for an answer: a client does not take one after its own limit of 60 s. The
 * work goes on and its end counts. @throws {MillraceError} UNKNOWN_OUTCOME when it is not known, and what `work` throws
 */
export async function inTime<T>(timers: Timers, what: string, work: Promise<T>): Promise<T> {
  let cancel: () => void = () => undefined;
  const deadline = new Promise<never>((_, reject) => {
    cancel = timers.setTimer(() => {
      const text = `${what} did not end within ${CONTROL_ANSWER_DEADLINE_MS} ms`;
      reject(new MillraceError("UNKNOWN_OUTCOME", text));
    }, CONTROL_ANSWER_DEADLINE_MS);
  });
  try {
    return await Promise.race([work, deadline]);
  } finally {
    cancel();
  }
}
