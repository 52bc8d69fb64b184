import { MillraceError } from "./errors.ts";

/** Millrace's own settings of a stream, beside the protocol's definition and stored with it. */
export interface StreamOptions {
  /** Free a segment once every enabled exporter has durably passed it, so that a rejecting stream drains. */
  readonly freeExported: boolean;
}

export const streamOptionsDefault: StreamOptions = { freeExported: false };

/**
 * `base` with what `changes` names. `changes` is whatever a client or a file said.
 * @throws {MillraceError} INVALID_REQUEST naming the option, its value and what it takes
 */
export function changeStreamOptions(base: StreamOptions, changes: unknown): StreamOptions {
  if (typeof changes !== "object" || changes === null || Array.isArray(changes)) {
    throw invalid(`they are ${describe(changes)}, must be an object`);
  }
  let options = base;
  for (const [name, value] of Object.entries(changes)) {
    if (!Object.hasOwn(streamOptionsDefault, name)) {
      const known = Object.keys(streamOptionsDefault).join(", ");
      throw invalid(`${JSON.stringify(name.slice(0, 80))} is not known, only ${known}`);
    }
    if (typeof value !== "boolean") throw invalid(`${name} is ${describe(value)}, must be true or false`);
    options = { ...options, [name]: value };
  }
  return options;
}

function describe(value: unknown): string {
  return value === undefined ? "undefined" : JSON.stringify(value).slice(0, 80);
}

function invalid(what: string): MillraceError {
  return new MillraceError("INVALID_REQUEST", `Cannot accept stream options: ${what}`);
}
