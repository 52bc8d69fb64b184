/**
 * What a cursor file holds, little-endian; the slot file around it adds counter and CRC (log/slot-file.ts),
 * the CRC seeded with the stream's id.
 *
 *   0 u16 version    2 u16 range count    4 u32 zero
 *   8 u64 revision                       16 u64 start sequence
 *  24 u64 position                       32 u64 payload offset of the position
 *  40 u64 time of the last accepted batch, Unix ms
 *  48 eight times u64 messages, u64 payload bytes: the accounts in the order of exporterAccounts, then rewound
 * 176 range count times what log/loss-layout.ts draws
 *
 * Invariant, in messages and in payload bytes: position + rewound = the sum of all accounts.
 */
import { assert } from "../core/assert.ts";
import { addTotals, type MessageTotals, NO_MESSAGES, type StreamLoss } from "../core/stream-ledger.ts";
import { LOSS_BYTES, readLoss, writeLoss } from "../log/loss-layout.ts";
import { isSafeU64, readSafeU64, writeSafeU64 } from "../log/segment-layout.ts";

/** Where messages below a cursor went; each is in exactly one account. */
export const exporterAccounts = [
  "exported",
  "setAside",
  "overwritten",
  "expired",
  "deleted",
  "damaged",
  "skipped",
] as const;
export type ExporterAccount = (typeof exporterAccounts)[number];
export type ExporterAccounts = Readonly<Record<ExporterAccount, MessageTotals>>;

/** The durable state of one exporter. */
export interface CursorRecord {
  /** Counts the changes: of two records of one exporter the higher one is the newer. */
  readonly revision: number;
  /** The start in the configuration that was followed last. While it lies above the position, messages are skipped. */
  readonly startSequence: number;
  /** Everything below has its account. */
  readonly position: number;
  readonly payloadOffset: number;
  readonly accounts: ExporterAccounts;
  /** What a start that was moved back had go again: those messages are in an account for each time. */
  readonly rewound: MessageTotals;
  readonly lastAcceptedTimeMs: number;
  /** What was passed over, oldest first; only the newest are kept, the accounts know all. */
  readonly ranges: readonly StreamLoss[];
}

const CURSOR_VERSION = 1;
const TOTALS_OFFSET = 48;
const TOTALS_SIZE_BYTES = 16;
const RANGES_OFFSET = TOTALS_OFFSET + (exporterAccounts.length + 1) * TOTALS_SIZE_BYTES;
export const CURSOR_RANGES_MAX = 32;
export const CURSOR_BYTES_MAX = RANGES_OFFSET + CURSOR_RANGES_MAX * LOSS_BYTES;

assert(RANGES_OFFSET === 176, "the drawing is right");

/** A cursor that has not moved yet, at the beginning of its stream. */
export function newCursor(startSequence: number): CursorRecord {
  return {
    revision: 0,
    startSequence,
    position: 0,
    payloadOffset: 0,
    accounts: {
      exported: NO_MESSAGES,
      setAside: NO_MESSAGES,
      overwritten: NO_MESSAGES,
      expired: NO_MESSAGES,
      deleted: NO_MESSAGES,
      damaged: NO_MESSAGES,
      skipped: NO_MESSAGES,
    },
    rewound: NO_MESSAGES,
    lastAcceptedTimeMs: 0,
    ranges: [],
  };
}

/** Of all accounts together. */
export function accountedTotals(accounts: ExporterAccounts): MessageTotals {
  return exporterAccounts.reduce((total, account) => addTotals(total, accounts[account]), NO_MESSAGES);
}

/** Whether the accounts explain where the cursor stands. */
export function isBalanced({ position, payloadOffset, accounts, rewound }: CursorRecord): boolean {
  const { messages, payloadBytes } = accountedTotals(accounts);
  return position + rewound.messages === messages && payloadOffset + rewound.payloadBytes === payloadBytes;
}

export function encodeCursor(cursor: CursorRecord): Buffer {
  const { accounts, rewound, ranges } = cursor;
  assert(isBalanced(cursor), `a cursor that does not add up: ${JSON.stringify(cursor)}`);
  assert(ranges.length <= CURSOR_RANGES_MAX, `a cursor holds at most ${CURSOR_RANGES_MAX} ranges`);
  const output = Buffer.alloc(RANGES_OFFSET + ranges.length * LOSS_BYTES);
  output.writeUInt16LE(CURSOR_VERSION, 0);
  output.writeUInt16LE(ranges.length, 2);
  writeSafeU64(output, cursor.revision, 8);
  writeSafeU64(output, cursor.startSequence, 16);
  writeSafeU64(output, cursor.position, 24);
  writeSafeU64(output, cursor.payloadOffset, 32);
  writeSafeU64(output, cursor.lastAcceptedTimeMs, 40);
  [...exporterAccounts.map((account) => accounts[account]), rewound].forEach((totals, index) => {
    const at = TOTALS_OFFSET + index * TOTALS_SIZE_BYTES;
    writeSafeU64(output, totals.messages, at);
    writeSafeU64(output, totals.payloadBytes, at + 8);
  });
  ranges.forEach((range, index) => writeLoss(output, range, RANGES_OFFSET + index * LOSS_BYTES));
  return output;
}

/** @returns undefined for bytes that are no cursor of this version: the caller falls back to an older copy, or begins again. */
export function decodeCursor(bytes: Buffer): CursorRecord | undefined {
  if (bytes.length < RANGES_OFFSET || bytes.readUInt16LE(0) !== CURSOR_VERSION) return undefined;
  const rangeCount = bytes.readUInt16LE(2);
  if (bytes.length !== RANGES_OFFSET + rangeCount * LOSS_BYTES) return undefined;
  for (let at = 8; at < RANGES_OFFSET; at += 8) if (!isSafeU64(bytes, at)) return undefined;
  const totals = (index: number): MessageTotals => {
    const at = TOTALS_OFFSET + index * TOTALS_SIZE_BYTES;
    return { messages: readSafeU64(bytes, at), payloadBytes: readSafeU64(bytes, at + 8) };
  };
  const ranges: StreamLoss[] = [];
  for (let index = 0; index < rangeCount; index += 1) {
    const range = readLoss(bytes, RANGES_OFFSET + index * LOSS_BYTES);
    if (range === undefined) return undefined;
    ranges.push(range);
  }
  const cursor: CursorRecord = {
    revision: readSafeU64(bytes, 8),
    startSequence: readSafeU64(bytes, 16),
    position: readSafeU64(bytes, 24),
    payloadOffset: readSafeU64(bytes, 32),
    lastAcceptedTimeMs: readSafeU64(bytes, 40),
    accounts: Object.fromEntries(
      exporterAccounts.map((account, index) => [account, totals(index)]),
    ) as unknown as ExporterAccounts,
    rewound: totals(exporterAccounts.length),
    ranges,
  };
  return isBalanced(cursor) ? cursor : undefined;
}
