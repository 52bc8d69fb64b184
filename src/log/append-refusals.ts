import { MillraceError, systemCode } from "../core/errors.ts";
import { MemoryBudgetExceeded } from "./memory-budget.ts";

const fullErrors = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

/** Whether the system said that there is no room. */
export function isFull(error: unknown): boolean {
  return fullErrors.has(systemCode(error) ?? "");
}

export function busy(why: string): MillraceError {
  return new MillraceError("SERVER_BUSY", `Cannot append to the stream yet: ${why}`);
}

export function full(cause: unknown): MillraceError {
  const why = cause instanceof MemoryBudgetExceeded ? cause.message : "the storage has no room";
  return new MillraceError("STREAM_FULL", `Cannot append: the stream is full, ${why}`, { cause });
}

export function unknownOutcome(text: string, cause: unknown): MillraceError {
  return new MillraceError("UNKNOWN_OUTCOME", text, { cause });
}

/** Of a stream whose files are not where they were; `cause` says which. */
export function fenced(cause: Error | undefined): MillraceError {
  return new MillraceError(
    "STREAM_FENCED",
    `The stream is fenced: ${cause?.message ?? "its files are gone"}`,
    {
      cause,
    },
  );
}

export function readOnly(cause: unknown): MillraceError {
  return new MillraceError("STORAGE_READ_ONLY", "The storage does not take writes", { cause });
}
