import { LossReason, type StreamLoss } from "../core/stream-ledger.ts";
import { isSafeU64, readSafeU64, writeSafeU64 } from "./segment-layout.ts";

/**
 * A loss as ledgers and cursors hold it, little-endian:
 *
 *   0 u64 from     8 u64 to (exclusive)    16 u64 payload offset of from    24 u64 payload offset of to
 *  32 u64 Unix ms  40 u32 reason           44 u32 zero
 */
export const LOSS_BYTES = 48;
const REASON_OFFSET = 40;

export function writeLoss(target: Buffer, loss: StreamLoss, at: number): void {
  writeSafeU64(target, loss.fromSequence, at);
  writeSafeU64(target, loss.toSequence, at + 8);
  writeSafeU64(target, loss.fromPayloadOffset, at + 16);
  writeSafeU64(target, loss.toPayloadOffset, at + 24);
  writeSafeU64(target, loss.timeMs, at + 32);
  target.writeUInt32LE(loss.reason, at + REASON_OFFSET);
}

/** @returns undefined for a number or a reason that `writeLoss` cannot have written; the range may still be none */
export function readLoss(source: Buffer, at: number): StreamLoss | undefined {
  const reason = Object.values(LossReason).find((known) => known === source.readUInt32LE(at + REASON_OFFSET));
  if (reason === undefined) return undefined;
  for (let place = at; place < at + REASON_OFFSET; place += 8)
    if (!isSafeU64(source, place)) return undefined;
  return {
    reason,
    fromSequence: readSafeU64(source, at),
    toSequence: readSafeU64(source, at + 8),
    fromPayloadOffset: readSafeU64(source, at + 16),
    toPayloadOffset: readSafeU64(source, at + 24),
    timeMs: readSafeU64(source, at + 32),
  };
}
