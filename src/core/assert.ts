/** Stops on a bug of ours; stays on in production. For bad input throw a MillraceError instead. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${message}`);
}

/** For the default branch of a closed set: a value that reaches it is a bug. */
export function unreachable(value: never): never {
  throw new Error(`assertion failed: unexpected value ${String(value)}`);
}
