import { MillraceError } from "./errors.ts";
import { ACCESS_PATTERNS_MAX, ACCESS_VERDICTS_MAX } from "./limits.ts";

/** What may be done with a stream. Whoever has any of these on a stream sees it in lists and may describe it. */
export const streamRights = ["append", "read", "manage"] as const;
export type StreamRight = (typeof streamRights)[number];

/** Which streams each right is for, by pattern; and whether the figures of all streams may be read (`/metrics`). */
export interface AccessPatterns extends Readonly<Record<StreamRight, readonly string[]>> {
  readonly metrics: boolean;
}

/** Who is at the other end of a connection, as its token told, and what that may do. */
export interface Principal {
  readonly name: string;
  readonly rights: AccessRights;
}

/** Characters of stream names, and `*` for any run of them, also an empty one. */
const PATTERN = /^[A-Za-z0-9_,.\- *]{1,255}$/;
const bits = { append: 1, read: 2, manage: 4 } as const satisfies Record<StreamRight, number>;
const ALL_BITS = bits.append | bits.read | bits.manage;

/** Answers whether something is allowed; the answer for a stream is worked out once. */
export class AccessRights {
  readonly patterns: AccessPatterns;
  /** Rights by stream name. */
  readonly #verdicts = new Map<string, number>();
  readonly #isEverything: boolean;

  /** @throws {MillraceError} INVALID_REQUEST for a pattern that could match no stream, or too many of them */
  constructor(patterns: AccessPatterns) {
    for (const right of streamRights) checkPatterns(right, patterns[right]);
    this.patterns = patterns;
    this.#isEverything = streamRights.every((right) => patterns[right].includes("*"));
  }

  get mayReadMetrics(): boolean {
    return this.patterns.metrics;
  }

  allows(right: StreamRight, stream: string): boolean {
    return (this.#verdict(stream) & bits[right]) !== 0;
  }

  /** Whether there is any right on the stream: enough to know of it. */
  allowsAny(stream: string): boolean {
    return this.#verdict(stream) !== 0;
  }

  #verdict(stream: string): number {
    if (this.#isEverything) return ALL_BITS;
    const known = this.#verdicts.get(stream);
    if (known !== undefined) return known;
    let verdict = 0;
    for (const right of streamRights) {
      if (this.patterns[right].some((pattern) => matchesPattern(pattern, stream))) verdict |= bits[right];
    }
    // A client chooses which names it asks about: what is remembered must not grow with them.
    if (this.#verdicts.size === ACCESS_VERDICTS_MAX) this.#verdicts.clear();
    this.#verdicts.set(stream, verdict);
    return verdict;
  }
}

/** Everything: what the owner of the store may do. */
export const fullRights = new AccessRights({ append: ["*"], read: ["*"], manage: ["*"], metrics: true });

/** Whether two tokens may do the same, by what they say. */
export function sameRights(a: AccessRights, b: AccessRights): boolean {
  return JSON.stringify(canonical(a.patterns)) === JSON.stringify(canonical(b.patterns));
}

function canonical({ append, read, manage, metrics }: AccessPatterns): unknown {
  return [append, read, manage, metrics];
}

/** Whether `*` in `pattern` can stand for something so that it is `text`. Time grows with the product of both lengths at most. */
export function matchesPattern(pattern: string, text: string): boolean {
  let at = 0;
  let patternAt = 0;
  let starAt = -1;
  let resumeAt = 0;
  while (at < text.length) {
    if (pattern[patternAt] === "*") {
      starAt = patternAt;
      resumeAt = at;
      patternAt += 1;
    } else if (pattern[patternAt] === text[at]) {
      patternAt += 1;
      at += 1;
    } else if (starAt >= 0) {
      // The last star takes one character more; earlier ones never need to, since it may take what they would.
      patternAt = starAt + 1;
      resumeAt += 1;
      at = resumeAt;
    } else return false;
  }
  while (pattern[patternAt] === "*") patternAt += 1;
  return patternAt === pattern.length;
}

function checkPatterns(right: StreamRight, patterns: readonly string[]): void {
  if (patterns.length > ACCESS_PATTERNS_MAX) {
    const text = `Cannot allow to ${right} by ${patterns.length} patterns: at most ${ACCESS_PATTERNS_MAX}`;
    throw new MillraceError("INVALID_REQUEST", text);
  }
  const wrong = patterns.find((pattern) => !PATTERN.test(pattern));
  if (wrong === undefined) return;
  const text = `Cannot allow to ${right} ${JSON.stringify(wrong.slice(0, 80))}: a pattern has 1 to 255 characters of a stream's name, and * for any run of them`;
  throw new MillraceError("INVALID_REQUEST", text);
}
