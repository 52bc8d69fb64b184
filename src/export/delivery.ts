/**
 * The account of one batch from reading to the last answer: what was accepted, what waits to be sent again, what the
 * destination refuses. Pure: values in, values out. The runner applies it in an export worker before it writes the cursor.
 *
 * A refused request is bisected: the first `suspects` waiting messages are known to hold a refused one, and the first
 * half of them goes next. A message that was refused REFUSALS_MAX times, at least once alone, is set aside once another
 * message of the batch was accepted. Without that proof it is parked and the rest is tried: a destination that refuses
 * everything (a wrong name, say) must never make us set everything aside.
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
import type { SendOutcome } from "./destinations/destination.ts";

type Fate = "waiting" | "parked" | "accepted" | LossReason;

export interface PendingEntry {
  readonly sequence: number;
  readonly bytes: number;
  readonly fate: Fate;
  readonly refusals: number;
}

/** A batch on its way: messages from the cursor to its end, each an entry or in a gap. */
export interface PendingBatch {
  readonly end: StreamPlace;
  /** Ascending. */
  readonly entries: readonly PendingEntry[];
  /** Ascending; one without messages stands where payload offsets part. */
  readonly gaps: readonly StreamLoss[];
  readonly suspects: number;
  readonly anyAccepted: boolean;
}

export interface Settled {
  readonly cursor: CursorRecord;
  /** What is left of the batch; undefined when all of it has its account, or it has to be read anew. */
  readonly pending: PendingBatch | undefined;
  /** Sequence numbers set aside just now. */
  readonly setAside: readonly number[];
}

const REFUSALS_MAX = 5;

/** The messages that the next request holds; empty when nothing waits. */
export function nextGroup(pending: PendingBatch): PendingEntry[] {
  const waiting = pending.entries.filter((entry) => entry.fate === "waiting");
  return pending.suspects === 0 ? waiting : waiting.slice(0, Math.ceil(pending.suspects / 2));
}

/** Accounts for the answer to a request that held `group`, as nextGroup gave it. */
export function settle(
  cursor: CursorRecord,
  pending: PendingBatch,
  { group, outcome, nowMs }: { group: readonly PendingEntry[]; outcome: SendOutcome; nowMs: number },
): Settled {
  switch (outcome.kind) {
    case "failed":
    case "progress":
      // Nothing is known of this batch yet: read it anew, for it may have to be smaller or may be larger by now.
      return { cursor, pending: isUntouched(pending) ? undefined : pending, setAside: [] };
    case "answered":
      return settleAnswered(cursor, pending, { group, failed: outcome.failed, nowMs });
    case "refused":
      return settleRefused(cursor, pending, { group, nowMs });
  }
}

function isUntouched({ anyAccepted, suspects, entries }: PendingBatch): boolean {
  return !anyAccepted && suspects === 0 && entries.every((entry) => entry.refusals === 0);
}

function settleAnswered(
  cursor: CursorRecord,
  pending: PendingBatch,
  { group, failed, nowMs }: { group: readonly PendingEntry[]; failed: readonly number[]; nowMs: number },
): Settled {
  const failedIndexes = new Set(failed);
  const accepted = new Set(
    group.filter((_, index) => !failedIndexes.has(index)).map((entry) => entry.sequence),
  );
  const anyAccepted = pending.anyAccepted || accepted.size > 0;
  const setAside: number[] = [];
  const entries = pending.entries.map((entry): PendingEntry => {
    if (accepted.has(entry.sequence)) return { ...entry, fate: "accepted" };
    if (entry.fate !== "parked" || !anyAccepted) return entry;
    setAside.push(entry.sequence);
    return { ...entry, fate: LossReason.SetAside };
  });
  // A request that was answered held no refused message: that one is among the suspects left.
  const suspects = Math.max(0, pending.suspects - accepted.size);
  return { ...fold(cursor, { ...pending, entries, anyAccepted, suspects }, nowMs), setAside };
}

function settleRefused(
  cursor: CursorRecord,
  pending: PendingBatch,
  { group, nowMs }: { group: readonly PendingEntry[]; nowMs: number },
): Settled {
  const refused = new Set(group.map((entry) => entry.sequence));
  const alone = group.length === 1;
  const setAside: number[] = [];
  const entries = pending.entries.map((entry): PendingEntry => {
    if (!refused.has(entry.sequence)) return entry;
    const refusals = entry.refusals + 1;
    if (!alone || refusals < REFUSALS_MAX) return { ...entry, refusals };
    if (!pending.anyAccepted) return { ...entry, refusals, fate: "parked" };
    setAside.push(entry.sequence);
    return { ...entry, refusals, fate: LossReason.SetAside };
  });
  const found = alone && entries.some((entry) => refused.has(entry.sequence) && entry.fate !== "waiting");
  const suspects = found ? 0 : group.length;
  const folded = fold(cursor, { ...pending, entries, suspects }, nowMs);
  return { ...withoutStuck(folded), setAside };
}

interface Folded {
  readonly cursor: CursorRecord;
  readonly pending: PendingBatch | undefined;
}

/** Where all that is left was refused, and nothing was accepted, it is read anew, with what has come since, and tried again. */
export function withoutStuck({ cursor, pending }: Folded): Folded {
  const isStuck = pending?.entries.every((entry) => entry.fate !== "waiting") === true;
  return { cursor, pending: isStuck ? undefined : pending };
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
