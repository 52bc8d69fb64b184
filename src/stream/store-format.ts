import { MillraceError, systemCode } from "../core/errors.ts";
import { replaceFile } from "../log/durable-file.ts";
import { readFully } from "../log/segment-scanner.ts";
import type { Storage } from "../log/storage.ts";

/**
 * The file `format` of a store: one line of JSON, so that every version there will ever be can read it, and a person too:
 *
 *   {"format":1,"writtenBy":"0.1.0"}
 *
 * The number changes when an older version would misread something in the store.
 */
export const STORE_FORMAT = 1;

const FORMAT_BYTES_MAX = 4096;

/** What a store says of itself; "missing" in a new one, "damaged" when the file is there and says nothing. */
export type StoreFormat = { readonly format: number; readonly writtenBy: string } | "missing" | "damaged";

function formatPath(storeDirectory: string): string {
  return `${storeDirectory}/format`;
}

/** Only reads. @throws the system's error when the file is there and cannot be read at all */
export function readStoreFormat(storage: Storage, storeDirectory: string): StoreFormat {
  let text: string;
  try {
    const file = storage.open(formatPath(storeDirectory), "read");
    try {
      const bytes = Buffer.alloc(FORMAT_BYTES_MAX);
      text = bytes.toString("utf8", 0, readFully(file, bytes, 0));
    } finally {
      file.close();
    }
  } catch (thrown) {
    if (systemCode(thrown) === "ENOENT") return "missing";
    throw thrown;
  }
  try {
    const stated = JSON.parse(text) as { readonly format?: unknown; readonly writtenBy?: unknown } | null;
    const format = stated?.format;
    if (typeof format !== "number" || !Number.isSafeInteger(format) || format < 1) return "damaged";
    return { format, writtenBy: typeof stated?.writtenBy === "string" ? stated.writtenBy : "unknown" };
  } catch {
    return "damaged";
  }
}

/**
 * Refuses a store that a later version has written, before anything in it is touched. One that says nothing is taken for ours:
 * each of its files still has a version of its own, and a lost file must not keep a machine from starting.
 * @throws {MillraceError} STORE_VERSION
 */
export function assertStoreFormat(storage: Storage, storeDirectory: string): void {
  const stated = readStoreFormat(storage, storeDirectory);
  if (typeof stated === "string" || stated.format <= STORE_FORMAT) return;
  const { format, writtenBy } = stated;
  const text =
    `Cannot use store "${storeDirectory}": it has format ${format}, written by Millrace ${writtenBy}, ` +
    `and this version knows formats up to ${STORE_FORMAT}; nothing in it was changed`;
  throw new MillraceError("STORE_VERSION", text);
}

/** Says in the store what wrote it, if it does not say so yet; durable on return. The store's lock is held. */
export function ensureStoreFormat(storage: Storage, storeDirectory: string, version: string): void {
  const stated = readStoreFormat(storage, storeDirectory);
  if (typeof stated !== "string" && stated.format === STORE_FORMAT) return;
  const line = `${JSON.stringify({ format: STORE_FORMAT, writtenBy: version })}\n`;
  replaceFile(storage, formatPath(storeDirectory), Buffer.from(line));
}
