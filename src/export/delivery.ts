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
import { LOSS_RANGES_MAX, LossReason, type CursorRecord, type LossRange } from "./cursor-layout.ts";
import type { SendOutcome } from "./destinations/destination.ts";

type Fate = "waiting" | "parked" | "accepted" | LossReason;

export interface PendingEntry {
  readonly sequence: number;
  readonly bytes: number;
  readonly fate: Fate;
  readonly refusals: number;
}

/** A batch on its way: messages from the cursor to `endSequence`, sequences that are missing among them were lost. */
export interface PendingBatch {
  readonly endSequence: number;
  /** Ascending. */
  readonly entries: readonly PendingEntry[];
  readonly gaps: readonly LossRange[];
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

export const REFUSALS_MAX = 5;

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
  const nothingWaits = folded.pending?.entries.every((entry) => entry.fate !== "waiting") === true;
  // All that is left was refused and nothing was accepted: read anew, with what has come since, and try again.
  return { cursor: folded.cursor, pending: nothingWaits ? undefined : folded.pending, setAside };
}

/** Moves the cursor to the first message that still waits: the low-water mark. */
export function fold(
  cursor: CursorRecord,
  pending: PendingBatch,
  nowMs: number,
): { cursor: CursorRecord; pending: PendingBatch | undefined } {
  const isOpen = (entry: PendingEntry): boolean => entry.fate === "waiting" || entry.fate === "parked";
  const open = pending.entries.findIndex(isOpen);
  const position = open === -1 ? pending.endSequence : pending.entries[open]!.sequence;
  const account = { ...cursor, position, ranges: [...cursor.ranges] };
  const losses = pending.gaps.filter((gap) => gap.to <= position);
  for (const { sequence, bytes, fate } of open === -1 ? pending.entries : pending.entries.slice(0, open)) {
    assert(fate !== "waiting" && fate !== "parked", `message ${sequence} below the cursor has no account`);
    if (fate === "accepted") {
      account.exportedMessages += 1;
      account.exportedBytes += bytes;
      account.lastAcceptedTimeMs = nowMs;
    } else {
      losses.push({ from: sequence, to: sequence + 1, reason: fate, timeMs: nowMs });
      if (fate === LossReason.SetAside) account.setAsideBytes += bytes;
    }
  }
  losses.sort((one, other) => one.from - other.from);
  for (const loss of losses) {
    const messages = loss.to - loss.from;
    if (loss.reason === LossReason.SetAside) account.setAsideMessages += messages;
    else if (loss.reason === LossReason.Overwritten) account.overwrittenMessages += messages;
    else account.corruptMessages += messages;
    addRange(account.ranges, loss);
  }
  if (open === -1) return { cursor: account, pending: undefined };
  return {
    cursor: account,
    pending: {
      ...pending,
      entries: pending.entries.slice(open),
      gaps: pending.gaps.filter((gap) => gap.to > position),
    },
  };
}

/** Adds a range in order; touching ranges of one reason become one, and the oldest goes when there are too many. */
function addRange(ranges: LossRange[], range: LossRange): void {
  const last = ranges.at(-1);
  if (last?.reason === range.reason && last.to === range.from)
    ranges.splice(-1, 1, { ...last, to: range.to });
  else ranges.push(range);
  if (ranges.length > LOSS_RANGES_MAX) ranges.shift();
}
