import { MillraceError, systemCode } from "../core/errors.ts";
import type { Storage, StorageFile } from "./storage.ts";

const exhaustionErrors = new Set(["EMFILE", "ENFILE", "ENOMEM"]);

/** Whether the call says nothing about the file: it is there, this process cannot open it now. */
export function isExhausted(error: unknown): boolean {
  return exhaustionErrors.has(systemCode(error) ?? "");
}

/** To be written to; in a store that has become read-only to be read, and the first write finds out. @throws the system's error */
export function openExisting(storage: Storage, filePath: string): StorageFile {
  try {
    return storage.open(filePath, "append");
  } catch (error) {
    // Held for one that cannot be written to, the newest segment would not be cut and padded.
    if (systemCode(error) === "ENOENT" || isExhausted(error)) throw error;
    return storage.open(filePath, "read");
  }
}

export function cannotOpen(cause: unknown): MillraceError {
  const text = `Cannot read the stream now: ${systemCode(cause) ?? "the system"} when a segment is opened or read`;
  return new MillraceError("SERVER_BUSY", text, { cause });
}
