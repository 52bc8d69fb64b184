import { LossReason, rangeEnd, rangeOf, type StreamLoss, type StreamPlace } from "../core/stream-ledger.ts";

interface PassedOver {
  readonly from: StreamPlace;
  readonly to: StreamPlace;
  /** What is gone from the front of the stream, oldest first and without holes (core/stream-ledger.ts). */
  readonly drops: readonly StreamLoss[];
  /** What lies below it as a whole would not have been exported anyway. */
  readonly startSequence: number;
  readonly nowMs: number;
}

/**
 * What became of the messages from a cursor up to the oldest that is stored. Cut only where the stream's account was, so that
 * the bytes of every piece are known; what lies below its ranges goes to the oldest of them.
 */
export function lossesBetween({ from, to, drops, startSequence, nowMs }: PassedOver): StreamLoss[] {
  const losses: StreamLoss[] = [];
  let at = from;
  const passTo = (end: StreamPlace, cause: Pick<StreamLoss, "reason" | "timeMs">): void => {
    const reason = end.sequence <= startSequence ? LossReason.Skipped : cause.reason;
    losses.push({ reason, ...rangeOf(at, end), timeMs: cause.timeMs });
    at = end;
  };
  for (const drop of drops) {
    if (drop.toSequence <= at.sequence) continue;
    if (at.sequence >= to.sequence) break;
    const isCut = drop.toSequence > to.sequence;
    passTo(isCut ? to : rangeEnd(drop), drop);
  }
  // No account says why, as after the loss of the file that holds it.
  if (at.sequence < to.sequence) passTo(to, { reason: LossReason.Missing, timeMs: nowMs });
  return losses;
}

/** Why one message is gone. */
export function reasonOf(sequence: number, drops: readonly StreamLoss[]): LossReason {
  return drops.find(({ toSequence }) => sequence < toSequence)?.reason ?? LossReason.Missing;
}
