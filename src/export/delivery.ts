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
 *
 * A message that is to be set aside is condemned until the companion stream has it on the medium: the cursor stays below it.
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

/** `condemned`: to be set aside, and not stored in the companion stream yet. */
type Fate = "waiting" | "parked" | "condemned" | "accepted" | LossReason;

export interface PendingEntry {
  readonly sequence: number;
  readonly bytes: number;
  readonly fate: Fate;
  readonly refusals: number;
  /** The batch's `acceptances` when it was refused first; not there while it was not. */
  readonly refusedAt?: number;
  /** Why it is condemned. */
  readonly error?: string;
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
}

interface Request {
  readonly group: readonly PendingEntry[];
  /** Messages that were set aside before, and are sent again by command: a refusal needs no proof. */
  readonly isRedrive?: boolean;
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
      return { cursor, pending: left };
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
  const { group, failed, refused = [], isRedrive = false, nowMs } = answer;
  const refusedBySequence = new Map(refused.map((one) => [group[one.index]!.sequence, one]));
  const left = new Set([...failed, ...refused.map(({ index }) => index)]);
  const accepted = new Set(group.filter((_, index) => !left.has(index)).map((entry) => entry.sequence));
  const acceptsOthers = accepted.size > 0;
  const pending = { ...before, acceptances: before.acceptances + (acceptsOthers ? 1 : 0) };
  let waitingNoMore = 0;
  const entries = pending.entries.map((entry): PendingEntry => {
    const refusal = refusedBySequence.get(entry.sequence);
    if (refusal === undefined && !accepted.has(entry.sequence)) return entry;
    if (entry.fate === "waiting") waitingNoMore += 1;
    if (refusal === undefined) return { ...entry, fate: "accepted" };
    const next = withRefusal(entry, before);
    const needsNoProof = isRedrive || acceptsOthers || refusal.isMalformed === true;
    return judged(next, { isProven: needsNoProof || isProven(next, pending), error: refusal.error });
  });
  // A request that was answered held no message for which all of it is refused: that one is among the suspects left.
  const suspects = Math.max(0, pending.suspects - waitingNoMore);
  return fold(cursor, { ...pending, entries, suspects }, nowMs);
}

function settleRefused(
  cursor: CursorRecord,
  pending: PendingBatch,
  { group, error, isRedrive = false, nowMs }: Request & { readonly error: string },
): Settled {
  const [only] = group;
  const isAlone = group.length === 1;
  const refused = new Map(
    group.map((entry): [number, PendingEntry] => {
      const next = withRefusal(entry, pending);
      const isDone = isAlone && (isRedrive || entry.fate === "parked" || next.refusals >= REFUSALS_MAX);
      const verdict = { isProven: isRedrive || isProven(next, pending), error };
      return [entry.sequence, isDone ? judged(next, verdict) : next];
    }),
  );
  const entries = pending.entries.map((entry) => refused.get(entry.sequence) ?? entry);
  const isFound = isAlone && refused.get(only!.sequence)!.fate !== "waiting";
  // One that was parked is not among the suspects.
  const suspects = only?.fate === "parked" ? pending.suspects : isFound ? 0 : group.length;
  return fold(cursor, { ...pending, entries, suspects }, nowMs);
}

function judged(
  entry: PendingEntry,
  { isProven, error }: { readonly isProven: boolean; readonly error: string },
): PendingEntry {
  return isProven ? { ...entry, fate: "condemned", error } : { ...entry, fate: "parked" };
}

function withRefusal(entry: PendingEntry, { acceptances }: PendingBatch): PendingEntry {
  return { ...entry, refusals: entry.refusals + 1, refusedAt: entry.refusedAt ?? acceptances };
}

/** Whether messages wait that may not be sent before another was accepted. */
export function isStuck(pending: PendingBatch): boolean {
  return pending.entries.some(({ fate }) => fate === "parked") && nextGroup(pending).length === 0;
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

/** Moves the cursor to the first message that still waits: the low-water mark. */
export function fold(cursor: CursorRecord, pending: PendingBatch, nowMs: number): Settled {
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
    if (fate === "waiting" || fate === "parked" || fate === "condemned") {
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

/** Whether nothing has become of the message yet. */
export function isOpen({ fate }: PendingEntry): boolean {
  return fate === "waiting" || fate === "parked" || fate === "condemned";
}

/** Messages of the batch and behind it that were not settled. At least 1: one more task moves the position over what was set aside. */
export function pendingWith(
  { entries, end }: PendingBatch,
  { oldest, syncedEnd }: { readonly oldest: StreamPlace; readonly syncedEnd: StreamPlace },
): number {
  const behind = syncedEnd.sequence - Math.max(end.sequence, oldest.sequence);
  return Math.max(1, entries.filter(isOpen).length + Math.max(0, behind));
}

/** Whether it waits for the companion stream to have it. */
export function isCondemned({ fate }: PendingEntry): boolean {
  return fate === "condemned";
}

/** Whether the companion stream has the message. */
export function isSetAside({ fate }: PendingEntry): boolean {
  return fate === LossReason.SetAside;
}

/** The condemned messages of these sequence numbers are stored in the companion stream: the position may pass them. */
export function confirmSetAside(pending: PendingBatch, stored: ReadonlySet<number>): PendingBatch {
  const entries = pending.entries.map((entry) =>
    entry.fate === "condemned" && stored.has(entry.sequence)
      ? { ...entry, fate: LossReason.SetAside }
      : entry,
  );
  return { ...pending, entries };
}

function lossOf(
  { bytes }: PendingEntry,
  { reason, from, timeMs }: { reason: LossReason; from: StreamPlace; timeMs: number },
): StreamLoss {
  const to = { sequence: from.sequence + 1, payloadOffset: from.payloadOffset + bytes };
  return { reason, ...rangeOf(from, to), timeMs };
}
