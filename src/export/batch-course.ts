/** One task may send several windows, one after the other: what it takes for the next one, and what they come to together. */
import { CURSOR_SYNC_INTERVAL_MS } from "../core/limits.ts";
import type { BatchOutcome, BatchResult, BatchTask, RequestBytes } from "./export-channel.ts";
import type { PreparedWindow } from "./export-window.ts";

/** What a window leaves for the next one of its task. */
export class BatchCourse {
  readonly #beganMs: number;
  #syncDueMs: number;
  /** Read while the window before was under way, in the hope that all of that is accepted. */
  ahead: { readonly position: number; readonly window: PreparedWindow } | undefined;

  constructor(task: BatchTask, nowMs: number) {
    this.#beganMs = nowMs;
    this.#syncDueMs = nowMs + (task.syncAfterMs ?? CURSOR_SYNC_INTERVAL_MS);
  }

  get beganMs(): number {
    return this.#beganMs;
  }

  /** The task as the window after `result` sees it. */
  next(task: BatchTask, result: BatchResult, nowMs: number): BatchTask {
    if (result.file?.durable !== undefined) this.#syncDueMs = nowMs + CURSOR_SYNC_INTERVAL_MS;
    const syncAfterMs = Math.max(0, this.#syncDueMs - nowMs);
    return { ...task, cursor: result.cursor, syncAfterMs, continuation: undefined };
  }
}

/** Whether nothing came up that the main thread has to know first, and a full batch is there. */
export function mayGoOn(task: BatchTask, result: BatchResult): boolean {
  const { outcome, pending, cursorError, cursor, notices } = result;
  return (
    outcome.kind === "sent" &&
    outcome.failedMessages === 0 &&
    (outcome.pauseMs ?? 0) === 0 &&
    pending === undefined &&
    cursorError === "" &&
    notices === undefined &&
    task.syncedEnd.sequence - cursor.position >= task.messageCountMax
  );
}

/** `after` followed `before` within one task. A look that found nothing to send is left to the next task. */
export function together(before: BatchResult, after: BatchResult): BatchResult {
  const { kind } = after.outcome;
  if (kind === "gap" || kind === "unreadable") return before;
  const file = after.file && { ...after.file, durable: after.file.durable ?? before.file?.durable };
  const requests = bytesTogether(before.requests, after.requests);
  // One that did not come to an end does not know of what those before it have begun.
  const tendInMs = after.outcome.kind === "sent" ? after.tendInMs : (after.tendInMs ?? before.tendInMs);
  return {
    ...after,
    ...(tendInMs !== undefined && { tendInMs }),
    file,
    ...(requests && { requests }),
    outcome: outcomeTogether(before.outcome, after.outcome),
  };
}

function outcomeTogether(before: BatchOutcome, after: BatchOutcome): BatchOutcome {
  if (before.kind !== "sent" || after.kind !== "sent") return after;
  return {
    ...after,
    acceptedMessages: before.acceptedMessages + after.acceptedMessages,
    acceptedBytes: before.acceptedBytes + after.acceptedBytes,
    fallbackCount: (before.fallbackCount ?? 0) + (after.fallbackCount ?? 0),
  };
}

function bytesTogether(
  before: RequestBytes | undefined,
  after: RequestBytes | undefined,
): RequestBytes | undefined {
  if (before === undefined || after === undefined) return before ?? after;
  return {
    bodyBytes: before.bodyBytes + after.bodyBytes,
    payloadBytes: before.payloadBytes + after.payloadBytes,
    countedBytes: before.countedBytes + after.countedBytes,
  };
}
