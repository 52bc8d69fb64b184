import { MillraceError, systemCode } from "../core/errors.ts";

const fullErrors = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

/** Whether the system said that there is no room. */
export function isFull(error: unknown): boolean {
  return fullErrors.has(systemCode(error) ?? "");
}

export function busy(why: string): MillraceError {
  return new MillraceError("SERVER_BUSY", `Cannot append to the stream yet: ${why}`);
}

export function full(cause: unknown): MillraceError {
  return new MillraceError("STREAM_FULL", "Cannot append: the stream is full, the storage has no room", {
    cause,
  });
}

export function readOnly(cause: unknown): MillraceError {
  return new MillraceError("STORAGE_READ_ONLY", "The storage does not take writes", { cause });
}
