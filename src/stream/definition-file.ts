import { MillraceError } from "../core/errors.ts";
import type { StreamDefinition } from "../core/stream-definition.ts";

/** The definition of a stream lies beside its segments, as JSON inside a checked file. */
export function definitionPath(directory: string): string {
  return `${directory}/definition`;
}

export function encodeDefinition(definition: StreamDefinition): Uint8Array {
  return Buffer.from(JSON.stringify(definition));
}

/** @throws {MillraceError} STORE_READ_ERROR for content that a checked file cannot have come by */
export function decodeDefinition(bytes: Uint8Array): StreamDefinition {
  try {
    return JSON.parse(Buffer.from(bytes).toString("utf8")) as StreamDefinition;
  } catch (cause) {
    throw new MillraceError("STORE_READ_ERROR", "Cannot read a stream definition: it is not JSON", { cause });
  }
}
