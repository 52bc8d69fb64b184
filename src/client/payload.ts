import { MillraceError } from "../core/errors.ts";
import { MESSAGE_BYTES_MAX_DEFAULT } from "../core/limits.ts";

const textEncoder = new TextEncoder();

/** Text as UTF-8. */
export function toBytes(payload: Uint8Array | string): Uint8Array {
  return typeof payload === "string" ? textEncoder.encode(payload) : payload;
}

/** @throws {MillraceError} INVALID_REQUEST, MESSAGE_TOO_LARGE */
export function checkPayload({ length }: Uint8Array, stream: string): void {
  if (length > 0 && length <= MESSAGE_BYTES_MAX_DEFAULT) return;
  throw new MillraceError(
    length === 0 ? "INVALID_REQUEST" : "MESSAGE_TOO_LARGE",
    `Cannot append to "${stream}": a message of ${length} bytes, must be 1 to ${MESSAGE_BYTES_MAX_DEFAULT}`,
  );
}

export function closedProducer(stream: string): MillraceError {
  return new MillraceError("INVALID_REQUEST", `Cannot append to "${stream}": the producer was closed`);
}
