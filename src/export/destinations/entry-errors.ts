import type { RefusedRecord, SendOutcome } from "./destination.ts";

/** What a service says of one entry of a request that it answered. */
export interface EntryError {
  readonly code: string;
  readonly message: string;
}

/** The entry itself is what is wrong, so that it will be refused again. */
const permanentCodes = new Set([
  "InvalidRequest",
  "InvalidRequestException",
  "ResourceNotFound",
  "ResourceNotFoundException",
  "TimestampOutOfRangeException",
  "ValidationException",
]);

/** We may not, until a person or a role mends it. */
const permissionCodes = new Set(["AccessDenied", "AccessDeniedException"]);

export interface EntryJudgement {
  /** To be sent again: indexes, ascending. */
  readonly failed: readonly number[];
  readonly refused: readonly RefusedRecord[];
  /** Of those in `failed`: nothing is gained by trying them often. */
  readonly deniedCount: number;
  /** Of the last in `failed`. */
  readonly error: string;
}

/**
 * Judges the entries of a request by the errors of some, by index. An entry with a permanent error is refused, unless it has
 * another too that may pass; every other error, also of a name that nobody knows, means that the entry is sent again.
 */
export function judgeEntries(errors: ReadonlyMap<number, readonly EntryError[]>): EntryJudgement {
  const failed: number[] = [];
  const refused: RefusedRecord[] = [];
  let deniedCount = 0;
  let error = "";
  for (const [index, list] of [...errors].sort(([one], [other]) => one - other)) {
    const temporary = list.find(({ code }) => !permanentCodes.has(code));
    const text = textOfEntry(temporary ?? list[0]);
    if (temporary === undefined) {
      refused.push({ index, error: text });
    } else {
      failed.push(index);
      error = text;
      if (permissionCodes.has(temporary.code)) deniedCount += 1;
    }
  }
  return { failed, refused, deniedCount, error };
}

/** What became of a request of which `sentCount` entries were sent. */
export function outcomeOfEntries(
  sentCount: number,
  { failed, refused, deniedCount, error }: EntryJudgement,
): SendOutcome {
  if (deniedCount > 0 && deniedCount === sentCount) {
    return { kind: "failed", scope: "exporter", pace: "slow", timedOut: false, error };
  }
  if (failed.length === 0) return { kind: "answered", failed, refused, error: refused.at(-1)?.error ?? "" };
  const text = `${failed.length} of the messages failed, the last with ${error}`;
  return { kind: "answered", failed, refused, error: text };
}

function textOfEntry(error: EntryError | undefined): string {
  const { code = "", message = "" } = error ?? {};
  return `${code === "" ? "no code" : code}: ${message === "" ? "no message" : message}`;
}
