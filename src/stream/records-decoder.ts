import type { MessageRun, RecordsHead } from "./up-sender.ts";
import {
  type GapReason,
  RECORDS_FLAG_LAST,
  RECORDS_HEAD_BYTES,
  RECORDS_RUN_BYTES,
} from "./stream-channel.ts";

/** Messages that came up for a read or a subscription. `messages` is a view of the ring, valid during the call only. */
export interface ReceivedRecords extends RecordsHead {
  readonly messages: Uint8Array;
}

/** Sequence numbers [fromSequence, toSequence) that cannot be read. */
export interface ReceivedGap {
  readonly token: number;
  readonly reason: GapReason;
  readonly fromSequence: number;
  readonly toSequence: number;
}

export function decodeRecords(bytes: Buffer, start: number, end: number): ReceivedRecords {
  const runs: MessageRun[] = [];
  const messagesAt = start + RECORDS_HEAD_BYTES + bytes.readUInt32LE(start + 28) * RECORDS_RUN_BYTES;
  for (let at = start + RECORDS_HEAD_BYTES; at < messagesAt; at += RECORDS_RUN_BYTES) {
    runs.push({ messageCount: bytes.readUInt32LE(at), ingestMs: bytes.readDoubleLE(at + 8) });
  }
  return {
    token: bytes.readUInt32LE(start),
    isLast: (bytes.readUInt32LE(start + 4) & RECORDS_FLAG_LAST) !== 0,
    firstSequence: bytes.readDoubleLE(start + 8),
    durableEnd: bytes.readDoubleLE(start + 16),
    messageCount: bytes.readUInt32LE(start + 24),
    runs,
    messages: bytes.subarray(messagesAt, end),
  };
}

export function decodeGap(bytes: Buffer, start: number): ReceivedGap {
  return {
    token: bytes.readUInt32LE(start),
    reason: bytes.readUInt32LE(start + 4) as GapReason,
    fromSequence: bytes.readDoubleLE(start + 8),
    toSequence: bytes.readDoubleLE(start + 16),
  };
}
