/**
 * What a slot of a stream's ledger file holds, little-endian; slot-file.ts adds the counter and the CRC.
 *
 *   0 u16 version   2 u16 drop count   4 u16 damage count   6 u16 flags; bit 0: there was an unclean end
 *   8 the accounts in the order of `ledgerAccounts`, each u64 messages, u64 payload bytes
 *  72 u64 known end, sequence          80 u64 known end, payload offset
 *  88 u64 unclean end, sequence        96 u64 unclean end, Unix ms      104 u32 unclean end, epoch   108 u32 zero
 * 112 stream id, 16 bytes
 * 128 the drops, then the damage (loss-layout.ts)
 */
import { assert } from "../core/assert.ts";
import {
  LEDGER_DAMAGE_MAX,
  LEDGER_DROPS_MAX,
  type LedgerAccount,
  ledgerAccounts,
  type LedgerSnapshot,
  type MessageTotals,
  type StreamLoss,
  type StreamPlace,
} from "../core/stream-ledger.ts";
import { LOSS_BYTES, readLoss, writeLoss } from "./loss-layout.ts";
import { ID_BYTES, isSafeU64, readSafeU64, writeSafeU64 } from "./segment-layout.ts";

/** Where a stream ended when it was opened after an end that was not clean. */
export interface UncleanEnd {
  /** The next number as it was found: without flushOnWrite those from there on may have been given before (RELIABILITY A5). */
  readonly sequence: number;
  /** Of the start that found it. */
  readonly epoch: number;
  readonly timeMs: number;
}

export interface LedgerRecord {
  readonly streamId: Buffer;
  readonly snapshot: LedgerSnapshot;
  /** Everything below was durable when this was written: a log that ends before it has lost some. */
  readonly knownEnd: StreamPlace;
  readonly lastUncleanEnd: UncleanEnd | undefined;
}

const LEDGER_VERSION = 1;
const FLAG_UNCLEAN_END = 1;
const TOTALS_BYTES = 16;
const offsets = { accounts: 8, knownEnd: 72, uncleanEnd: 88, streamId: 112, losses: 128 } as const;
export const LEDGER_BYTES_MAX = offsets.losses + (LEDGER_DROPS_MAX + LEDGER_DAMAGE_MAX) * LOSS_BYTES;

assert(offsets.accounts + ledgerAccounts.length * TOTALS_BYTES === offsets.knownEnd, "the accounts fit");

export function encodeLedger({ streamId, snapshot, knownEnd, lastUncleanEnd }: LedgerRecord): Buffer {
  const { accounts, drops, damage } = snapshot;
  assert(drops.length <= LEDGER_DROPS_MAX && damage.length <= LEDGER_DAMAGE_MAX, "a ledger of bounded size");
  const bytes = Buffer.alloc(offsets.losses + (drops.length + damage.length) * LOSS_BYTES);
  bytes.writeUInt16LE(LEDGER_VERSION, 0);
  bytes.writeUInt16LE(drops.length, 2);
  bytes.writeUInt16LE(damage.length, 4);
  bytes.writeUInt16LE(lastUncleanEnd === undefined ? 0 : FLAG_UNCLEAN_END, 6);
  ledgerAccounts.forEach((account, index) => {
    writeSafeU64(bytes, accounts[account].messages, offsets.accounts + index * TOTALS_BYTES);
    writeSafeU64(bytes, accounts[account].payloadBytes, offsets.accounts + index * TOTALS_BYTES + 8);
  });
  writeSafeU64(bytes, knownEnd.sequence, offsets.knownEnd);
  writeSafeU64(bytes, knownEnd.payloadOffset, offsets.knownEnd + 8);
  if (lastUncleanEnd !== undefined) {
    writeSafeU64(bytes, lastUncleanEnd.sequence, offsets.uncleanEnd);
    writeSafeU64(bytes, lastUncleanEnd.timeMs, offsets.uncleanEnd + 8);
    bytes.writeUInt32LE(lastUncleanEnd.epoch, offsets.uncleanEnd + 16);
  }
  assert(streamId.length === ID_BYTES, "an id of 16 bytes");
  streamId.copy(bytes, offsets.streamId);
  [...drops, ...damage].forEach((loss, index) => writeLoss(bytes, loss, offsets.losses + index * LOSS_BYTES));
  return bytes;
}

/** @returns undefined for bytes that are no ledger of this version, or whose drops leave a hole */
export function decodeLedger(bytes: Buffer): LedgerRecord | undefined {
  if (bytes.length < offsets.losses || bytes.readUInt16LE(0) !== LEDGER_VERSION) return undefined;
  const dropCount = bytes.readUInt16LE(2);
  const damageCount = bytes.readUInt16LE(4);
  if (dropCount > LEDGER_DROPS_MAX || damageCount > LEDGER_DAMAGE_MAX) return undefined;
  if (bytes.length !== offsets.losses + (dropCount + damageCount) * LOSS_BYTES) return undefined;
  for (let at: number = offsets.accounts; at < offsets.uncleanEnd + 16; at += 8)
    if (!isSafeU64(bytes, at)) return undefined;
  const losses: StreamLoss[] = [];
  for (let index = 0; index < dropCount + damageCount; index++) {
    const loss = readLoss(bytes, offsets.losses + index * LOSS_BYTES);
    if (loss === undefined || !isRange(loss)) return undefined;
    losses.push(loss);
  }
  const drops = losses.slice(0, dropCount);
  const accounts = {} as Record<LedgerAccount, MessageTotals>;
  ledgerAccounts.forEach((account, index) => {
    const at = offsets.accounts + index * TOTALS_BYTES;
    accounts[account] = { messages: readSafeU64(bytes, at), payloadBytes: readSafeU64(bytes, at + 8) };
  });
  const hasUncleanEnd = (bytes.readUInt16LE(6) & FLAG_UNCLEAN_END) !== 0;
  if (!haveNoHole(drops)) return undefined;
  return {
    streamId: Buffer.from(bytes.subarray(offsets.streamId, offsets.streamId + ID_BYTES)),
    snapshot: { accounts, drops, damage: losses.slice(dropCount) },
    knownEnd: {
      sequence: readSafeU64(bytes, offsets.knownEnd),
      payloadOffset: readSafeU64(bytes, offsets.knownEnd + 8),
    },
    lastUncleanEnd: hasUncleanEnd ? readUncleanEnd(bytes) : undefined,
  };
}

function isRange({ fromSequence, toSequence, fromPayloadOffset, toPayloadOffset }: StreamLoss): boolean {
  return fromSequence < toSequence && fromPayloadOffset <= toPayloadOffset;
}

function haveNoHole(drops: readonly StreamLoss[]): boolean {
  return drops.every((drop, index) => {
    const before = drops[index - 1];
    return (
      drop.fromSequence === (before?.toSequence ?? 0) &&
      drop.fromPayloadOffset === (before?.toPayloadOffset ?? 0)
    );
  });
}

function readUncleanEnd(bytes: Buffer): UncleanEnd {
  return {
    sequence: readSafeU64(bytes, offsets.uncleanEnd),
    timeMs: readSafeU64(bytes, offsets.uncleanEnd + 8),
    epoch: bytes.readUInt32LE(offsets.uncleanEnd + 16),
  };
}
