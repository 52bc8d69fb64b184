import type { Principal, StreamRight } from "../core/access-rights.ts";
import { MillraceError } from "../core/errors.ts";

/** The rights that an operation may need on a stream; `any`: one of them, whichever, as to know of the stream. */
export type NeededRight = StreamRight | "any";

/** Says nothing of whether the stream exists. */
export function isAllowed({ rights }: Principal, right: NeededRight, stream: string): boolean {
  return right === "any" ? rights.allowsAny(stream) : rights.allows(right, stream);
}

/** What a client is told that may not do this. */
export function refusal({ name }: Principal, right: NeededRight, stream: string): MillraceError {
  const what = right === "any" ? "has no right on" : `may not ${right === "append" ? "append to" : right}`;
  return new MillraceError("UNAUTHORIZED", `Token "${name}" ${what} stream "${stream}"`);
}
