/**
 * The account of one batch from reading to the last answer: what was accepted, what waits to be sent again, what the
 * destination refuses. Pure: values in, values out. The runner applies it in an export worker before it writes the cursor.
 *
 * A refused request is bisected: the first `suspects` waiting messages are known to hold a refused one, and the first
 * half of them goes next. An answer that judges record by record needs none of that: it names what it refuses.
 *
 * A destination that refuses everything (a wrong name, say) must never make us set everything aside. So a message is set
 * aside only where the same answer accepted another, or where it was refused, another was accepted after that, and it was
 * refused once more. Until then it is parked, and what comes behind it is tried: messages beyond the batch too, where all of
 * it is parked, because a batch may hold no more than one. Malformed ones need no such proof: no destination takes them.
 */
import { assert } from "../core/assert.ts";
import {
  addTotals,
  LossReason,
  NO_MESSAGES,
  rangeOf,
  type StreamLoss,
  type StreamPlace,
} from "../core/stream-ledger.ts";
import { AccountKeeper } from "./account-keeper.ts";
import type { CursorRecord } from "./cursor-layout.ts";
import type { RefusedRecord, SendOutcome } from "./destinations/destination.ts";

type Fate = "waiting" | "parked" | "accepted" | LossReason;

export interface PendingEntry {
  readonly sequence: number;
  readonly bytes: number;
  readonly fate: Fate;
  readonly refusals: number;
  /** The batch's `acceptances` when it was refused first; not there while it was not. */
  readonly refusedAt?: number;
}

/** A batch on its way: messages from the cursor to its end, each an entry or in a gap. */
export interface PendingBatch {
  readonly end: StreamPlace;
  /** Ascending. */
  readonly entries: readonly PendingEntry[];
  /** Ascending; one without messages stands where payload offsets part. */
  readonly gaps: readonly StreamLoss[];
  readonly suspects: number;
  /** Answers that accepted a message of it. */
  readonly acceptances: number;
}

export interface Settled {
  readonly cursor: CursorRecord;
  /** What is left of the batch; undefined when all of it has its account, or it has to be read anew. */
  readonly pending: PendingBatch | undefined;
  /** Sequence numbers set aside just now, and why the last of them. */
  readonly setAside: readonly number[];
  readonly setAsideError: string;
}

interface Request {
  readonly group: readonly PendingEntry[];
  readonly nowMs: number;
}

const REFUSALS_MAX = 5;

/** The messages that the next request holds; empty when nothing of the batch may be sent before another was accepted. */
export function nextGroup(pending: PendingBatch): PendingEntry[] {
  // Alone, so that its refusal speaks of nothing else.
  const doubted = pending.entries.find((entry) => entry.fate === "parked" && isProven(entry, pending));
  if (doubted !== undefined) return [doubted];
  const waiting = pending.entries.filter((entry) => entry.fate === "waiting");
  return pending.suspects === 0 ? waiting : waiting.slice(0, Math.ceil(pending.suspects / 2));
}

/** Whether another message was accepted since it was refused first. */
function isProven({ refusedAt }: PendingEntry, { acceptances }: PendingBatch): boolean {
  return refusedAt !== undefined && acceptances > refusedAt;
}

/** Accounts for the answer to a request that held `group`, as nextGroup gave it. */
export function settle(
  cursor: CursorRecord,
  pending: PendingBatch,
  { outcome, ...request }: Request & { outcome: SendOutcome },
): Settled {
  switch (outcome.kind) {
    case "failed":
    case "progress": {
      // Nothing is known of this batch yet: read it anew, for it may have to be smaller or may be larger by now.
      const left = isUntouched(pending) ? undefined : pending;
      return { cursor, pending: left, setAside: [], setAsideError: "" };
    }
    case "answered":
      return settleAnswered(cursor, pending, { ...request, ...outcome });
    case "refused":
      return settleRefused(cursor, pending, { ...request, ...outcome });
  }
}

function isUntouched({ acceptances, suspects, entries }: PendingBatch): boolean {
  return acceptances === 0 && suspects === 0 && entries.every((entry) => entry.refusals === 0);
}

function settleAnswered(
  cursor: CursorRecord,
  before: PendingBatch,
  answer: Request & { readonly failed: readonly number[]; readonly refused?: readonly RefusedRecord[] },
): Settled {
  const { group, failed, refused = [], nowMs } = answer;
  const refusedBySequence = new Map(refused.map((one) => [group[one.index]!.sequence, one]));
  const left = new Set([...failed, ...refused.map(({ index }) => index)]);
  const accepted = new Set(group.filter((_, index) => !left.has(index)).map((entry) => entry.sequence));
  const acceptsOthers = accepted.size > 0;
  const pending = { ...before, acceptances: before.acceptances + (acceptsOthers ? 1 : 0) };
  let waitingNoMore = 0;
  const setAside: number[] = [];
  let setAsideError = "";
  const entries = pending.entries.map((entry): PendingEntry => {
    const refusal = refusedBySequence.get(entry.sequence);
    if (refusal === undefined && !accepted.has(entry.sequence)) return entry;
    if (entry.fate === "waiting") waitingNoMore += 1;
    if (refusal === undefined) return { ...entry, fate: "accepted" };
    const next = withRefusal(entry, before);
    if (!acceptsOthers && refusal.isMalformed !== true && !isProven(next, pending)) {
      return { ...next, fate: "parked" };
    }
    setAside.push(entry.sequence);
    setAsideError = refusal.error;
    return { ...next, fate: LossReason.SetAside };
  });
  // A request that was answered held no message for which all of it is refused: that one is among the suspects left.
  const suspects = Math.max(0, pending.suspects - waitingNoMore);
  return { ...fold(cursor, { ...pending, entries, suspects }, nowMs), setAside, setAsideError };
}

function settleRefused(
  cursor: CursorRecord,
  pending: PendingBatch,
  { group, error, nowMs }: Request & { readonly error: string },
): Settled {
  const [only] = group;
  const isAlone = group.length === 1;
  const refused = new Map(
    group.map((entry) => {
      const next = withRefusal(entry, pending);
      const isDone = isAlone && (entry.fate === "parked" || next.refusals >= REFUSALS_MAX);
      const fate = !isDone ? entry.fate : isProven(next, pending) ? LossReason.SetAside : "parked";
      return [entry.sequence, { ...next, fate }];
    }),
  );
  const entries = pending.entries.map((entry) => refused.get(entry.sequence) ?? entry);
  const found = isAlone ? refused.get(only!.sequence)! : undefined;
  const setAside = found?.fate === LossReason.SetAside ? [found.sequence] : [];
  // One that was parked is not among the suspects.
  const suspects =
    only?.fate === "parked"
      ? pending.suspects
      : found !== undefined && found.fate !== "waiting"
        ? 0
        : group.length;
  const folded = fold(cursor, { ...pending, entries, suspects }, nowMs);
  return { ...folded, setAside, setAsideError: setAside.length > 0 ? error : "" };
}

function withRefusal(entry: PendingEntry, { acceptances }: PendingBatch): PendingEntry {
  return { ...entry, refusals: entry.refusals + 1, refusedAt: entry.refusedAt ?? acceptances };
}

/** Whether messages wait that may not be sent before another was accepted. */
export function isStuck(pending: PendingBatch): boolean {
  return pending.entries.some(isOpen) && nextGroup(pending).length === 0;
}

/** A batch that is stuck, and the one that was read behind it. */
export function joined(pending: PendingBatch, next: PendingBatch): PendingBatch {
  return {
    ...pending,
    suspects: 0,
    end: next.end,
    entries: [...pending.entries, ...next.entries],
    gaps: [...pending.gaps, ...next.gaps],
  };
}

interface Folded {
  readonly cursor: CursorRecord;
  readonly pending: PendingBatch | undefined;
}

/** Moves the cursor to the first message that still waits: the low-water mark. */
export function fold(cursor: CursorRecord, pending: PendingBatch, nowMs: number): Folded {
  const { entries, gaps } = pending;
  const account = new AccountKeeper(cursor);
  let accepted = NO_MESSAGES;
  let gapIndex = 0;
  const passAccepted = (): void => {
    if (accepted.messages > 0) account.accept(accepted, nowMs);
    accepted = NO_MESSAGES;
  };
  const passGapsBelow = (sequence: number): void => {
    for (let gap = gaps[gapIndex]; gap !== undefined && gap.toSequence <= sequence; gap = gaps[gapIndex]) {
      passAccepted();
      account.pass(gap);
      gapIndex += 1;
    }
  };
  for (const [index, entry] of entries.entries()) {
    passGapsBelow(entry.sequence);
    const { fate } = entry;
    if (fate === "waiting" || fate === "parked") {
      passAccepted();
      const left = { ...pending, entries: entries.slice(index), gaps: gaps.slice(gapIndex) };
      return { cursor: account.cursor, pending: left };
    }
    if (fate === "accepted") {
      accepted = addTotals(accepted, { messages: 1, payloadBytes: entry.bytes });
    } else {
      passAccepted();
      account.pass(lossOf(entry, { reason: fate, from: account.place, timeMs: nowMs }));
    }
  }
  passGapsBelow(pending.end.sequence);
  passAccepted();
  const { sequence } = account.place;
  assert(sequence === pending.end.sequence, `a batch that ends at ${pending.end.sequence}, not ${sequence}`);
  return { cursor: account.cursor, pending: undefined };
}

/** Whether the next request, or a later one, may hold the message. */
export function isOpen({ fate }: PendingEntry): boolean {
  return fate === "waiting" || fate === "parked";
}

function lossOf(
  { bytes }: PendingEntry,
  { reason, from, timeMs }: { reason: LossReason; from: StreamPlace; timeMs: number },
): StreamLoss {
  const to = { sequence: from.sequence + 1, payloadOffset: from.payloadOffset + bytes };
  return { reason, ...rangeOf(from, to), timeMs };
}
