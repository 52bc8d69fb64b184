import { LossReason, rangeOf, type StreamLoss, type StreamPlace } from "../core/stream-ledger.ts";
import { AccountKeeper } from "./account-keeper.ts";
import type { MessageReader, ReadGap } from "./batch-reader.ts";
import type { CursorRecord } from "./cursor-layout.ts";
import type { StartChange } from "./export-channel.ts";
import { fold, isOpen, type PendingBatch } from "./delivery.ts";
import { lossesBetween, reasonOf } from "./dropped-ranges.ts";

export interface SettledStart {
  readonly kind: "settled";
  readonly cursor: CursorRecord;
  readonly pending: PendingBatch | undefined;
}

export interface StartOptions extends StartChange {
  readonly oldest: StreamPlace;
  readonly end: StreamPlace;
  readonly drops: readonly StreamLoss[];
  readonly reader: Pick<MessageReader, "placeOf">;
  /** Damage was seen often enough to be believed. */
  readonly acceptsGaps: boolean;
  readonly nowMs: number;
}

/**
 * Follows the start that a configuration names. Forward, what is not exported yet is skipped; a start beyond the end skips
 * what is appended until it is reached. Backward, what is still stored goes again, and what is not keeps the account it has.
 */
export function settleStart(
  before: CursorRecord,
  pendingBefore: PendingBatch | undefined,
  options: StartOptions,
): SettledStart | ReadGap {
  const { startSequence, isMoved, nowMs } = options;
  let cursor = before;
  let pending = pendingBefore;
  const isBehind = startSequence < cursor.position;
  if (isMoved && isBehind) pending = undefined;
  else if (pending !== undefined) {
    ({ cursor, pending } = fold(cursor, skipBelow(pending, options), nowMs));
  }
  const account = new AccountKeeper(cursor);
  if (pending === undefined) passAsTold(account, options);
  // What a batch in hand has settled beyond the start was accepted already: it need not go again.
  const goesBack = isMoved && (isBehind || pendingBefore === undefined);
  const gap = goesBack ? rewind(account, options) : undefined;
  if (gap !== undefined) return gap;
  account.setStart(startSequence);
  const gapBehind = pending === undefined ? skipToStart(account, options) : undefined;
  return gapBehind ?? { kind: "settled", cursor: account.cursor, pending };
}

function skipBelow(
  pending: PendingBatch,
  { startSequence, oldest, drops }: Pick<StartOptions, "startSequence" | "oldest" | "drops">,
): PendingBatch {
  const entries = pending.entries.map((entry) => {
    const { sequence } = entry;
    if (sequence >= startSequence || !isOpen(entry)) return entry;
    return { ...entry, fate: sequence < oldest.sequence ? reasonOf(sequence, drops) : LossReason.Skipped };
  });
  return { ...pending, entries, suspects: 0 };
}

/** What the account has told of so far stays: skipped for the start that was followed, and what was lost before it moved. */
function passAsTold(account: AccountKeeper, options: StartOptions): void {
  const { skippedTo, isMoved, oldest, drops, nowMs } = options;
  if (skippedTo !== undefined && skippedTo.sequence > account.place.sequence)
    passTo(account, skippedTo, { reason: LossReason.Skipped, nowMs });
  if (!isMoved || oldest.sequence <= account.place.sequence) return;
  const { place: from, startSequence } = account;
  for (const loss of lossesBetween({ from, to: oldest, drops, startSequence, nowMs })) account.pass(loss);
}

function rewind(account: AccountKeeper, options: StartOptions): ReadGap | undefined {
  const { oldest, reader, acceptsGaps } = options;
  const sequence = Math.max(options.startSequence, oldest.sequence);
  if (sequence >= account.place.sequence) return undefined;
  const found = sequence === oldest.sequence ? oldest : reader.placeOf(sequence);
  if (!("after" in found)) account.rewind(found);
  else if (!acceptsGaps) return hidden(sequence);
  // What the damage holds has its account, and there is nothing to be sent again.
  else if (found.after !== undefined && found.after.sequence < account.place.sequence)
    account.rewind(found.after);
  return undefined;
}

function skipToStart(account: AccountKeeper, options: StartOptions): ReadGap | undefined {
  const { startSequence, oldest, end, drops, reader, acceptsGaps, nowMs } = options;
  const from = account.place;
  // A start at the end or beyond it is not reached yet: the account shows what it skips so far.
  if (from.sequence >= startSequence || startSequence >= end.sequence) return undefined;
  if (startSequence <= oldest.sequence) {
    for (const loss of lossesBetween({ from, to: oldest, drops, startSequence, nowMs })) account.pass(loss);
    return undefined;
  }
  const found = reader.placeOf(startSequence);
  if (!("after" in found)) {
    passTo(account, found, { reason: LossReason.Skipped, nowMs });
    return undefined;
  }
  if (!acceptsGaps) return hidden(startSequence);
  if (found.before !== undefined && found.before.sequence > from.sequence)
    passTo(account, found.before, { reason: LossReason.Skipped, nowMs });
  const isInside = found.after !== undefined && found.after.sequence < end.sequence;
  passTo(account, isInside ? found.after : end, { reason: LossReason.Corrupt, nowMs });
  return undefined;
}

function passTo(
  account: AccountKeeper,
  place: StreamPlace,
  { reason, nowMs }: { reason: LossReason; nowMs: number },
): void {
  account.pass({ reason, ...rangeOf(account.place, place), timeMs: nowMs });
}

function hidden(sequence: number): ReadGap {
  const error = `the start of the export, ${sequence}, is damaged or missing in the log`;
  return { kind: "gap", fromSequence: sequence, error };
}
