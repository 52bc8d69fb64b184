import { type ErrorCode, MillraceError, SequenceGapError } from "../core/errors.ts";
import type { StreamDefinition } from "../core/stream-definition.ts";
import type {
  LedgerChange,
  LedgerChangeKind,
  LedgerSnapshot,
  LossReason,
  StreamPlace,
} from "../core/stream-ledger.ts";
import type { StreamOptions } from "../core/stream-options.ts";
import type { UncleanEnd } from "../log/ledger-layout.ts";
import type { SharedFile } from "../log/shared-memory-storage.ts";
import type { RewriteFaults } from "../log/write-account.ts";
import type { RecoveryNote } from "./recovery-notes.ts";
import type { StoredDefinition } from "./definition-file.ts";

/**
 * The boundary between the main thread and one stream worker. Data goes over two rings as the records below (native byte
 * order, f64 for sequence numbers, sizes and times); control goes over a message port as the closed set at the end.
 *
 * main -> worker
 *   Append      u32 token, u32 slot, u32 flags, u32 raw bytes, u32 message count, u32 0, [f64 producer id, f64 its number of
 *               the batch], then the batch as it came
 *   Read        u32 token, u32 slot, f64 from, u32 min, u32 max, u32 bytes max, u32 timeout ms
 *   Subscribe   u32 token, u32 slot, f64 from, u32 credit bytes, u32 0
 *   Credit      u32 token, u32 bytes
 *   Cancel      u32 token                                  ends a waiting read or a subscription
 * worker -> main
 *   Appended    u32 count, u32 0, then count times { u32 token, u32 flags, f64 first sequence }
 *   Failed      u32 token, u32 code length, f64 expected number of the producer's batch (of a gap), code, text
 *                                                          one append, read or subscription that was refused
 *   Records     u32 token, u32 flags, f64 first sequence, f64 durable end, u32 message count, u32 run count,
 *               run count times { u32 message count, u32 0, f64 ingest ms }, then the messages
 *   Gap         u32 token, u32 reason, f64 from, f64 to    sequence numbers [from, to) that cannot be read
 *   Progress    u32 slot, u32 state, then f64 each: see StreamProgress
 *   Loss        u32 slot, u32 kind, u32 reason, u32 0, f64 from, f64 to, f64 payload offset of from, f64 payload offset of to,
 *               f64 time ms                                a change of the stream's ledger, before the Progress that includes it
 *
 * A token belongs to the main thread; the worker gives it back and knows nothing else about clients. A slot is the number
 * of a stream in its worker.
 */
export const DownRecord = { Append: 1, Read: 2, Subscribe: 3, Credit: 4, Cancel: 5 } as const;
export type DownRecord = (typeof DownRecord)[keyof typeof DownRecord];

export const UpRecord = { Appended: 1, Failed: 2, Records: 3, Gap: 4, Progress: 5, Loss: 6 } as const;
export type UpRecord = (typeof UpRecord)[keyof typeof UpRecord];

export const APPEND_HEAD_BYTES = 24;
/** Append flag: the batch is one LZ4 block of `raw bytes` bytes. */
export const APPEND_FLAG_LZ4 = 1;
/** Append flag: the producer's fields are there. */
export const APPEND_FLAG_PRODUCER = 2;
export const APPEND_PRODUCER_BYTES = 16;

export const READ_BYTES = 32;
export const SUBSCRIBE_BYTES = 24;
export const CREDIT_BYTES = 8;
export const CANCEL_BYTES = 8;

export const APPENDED_HEAD_BYTES = 8;
export const APPENDED_ENTRY_BYTES = 16;
/** Appended flag: the batch had been stored before. */
export const APPENDED_FLAG_REPEAT = 1;
export const RECORDS_HEAD_BYTES = 32;
export const RECORDS_RUN_BYTES = 16;
/** Records flag: nothing follows for this token (a read is complete). */
export const RECORDS_FLAG_LAST = 1;
export const GAP_BYTES = 24;
const FAILED_HEAD_BYTES = 16;

export const GapReason = { Corrupt: 1, Missing: 2, Overwritten: 3 } as const;
export type GapReason = (typeof GapReason)[keyof typeof GapReason];

export const StreamState = { Ok: 0, ReadOnly: 1, Fenced: 2 } as const;
export type StreamState = (typeof StreamState)[keyof typeof StreamState];

/** Where a stream stands, as its worker last said. Ends are exclusive: the number the next message gets. */
export interface StreamProgress {
  readonly state: StreamState;
  readonly oldestSequence: number;
  readonly nextSequence: number;
  readonly syncedEndSequence: number;
  /** Payload and 24 B a message. */
  readonly totalBytes: number;
  /** Bytes of the segment files. */
  readonly storedBytes: number;
  /** Payload bytes of all messages before the one of that number, whatever became of them. */
  readonly oldestPayloadOffset: number;
  readonly nextPayloadOffset: number;
  readonly syncedEndPayloadOffset: number;
  /** Bytes that a power cut would take now, as they are stored. */
  readonly unsyncedBytes: number;
  /** Bytes written to segments since the stream was opened: as messages came, and again in full-size blocks. */
  readonly writtenBytes: number;
  readonly rewrittenBytes: number;
  /** Times that something was made durable since the stream was opened. */
  readonly syncCount: number;
}
const PROGRESS_BYTES = 104;

export const emptyProgress: StreamProgress = {
  state: StreamState.Ok,
  oldestSequence: 0,
  nextSequence: 0,
  syncedEndSequence: 0,
  totalBytes: 0,
  storedBytes: 0,
  oldestPayloadOffset: 0,
  nextPayloadOffset: 0,
  syncedEndPayloadOffset: 0,
  unsyncedBytes: 0,
  writtenBytes: 0,
  rewrittenBytes: 0,
  syncCount: 0,
};

export function encodeProgress(slot: number, progress: StreamProgress): Buffer {
  const record = Buffer.allocUnsafe(PROGRESS_BYTES);
  record.writeUInt32LE(slot, 0);
  record.writeUInt32LE(progress.state, 4);
  record.writeDoubleLE(progress.oldestSequence, 8);
  record.writeDoubleLE(progress.nextSequence, 16);
  record.writeDoubleLE(progress.syncedEndSequence, 24);
  record.writeDoubleLE(progress.totalBytes, 32);
  record.writeDoubleLE(progress.storedBytes, 40);
  record.writeDoubleLE(progress.oldestPayloadOffset, 48);
  record.writeDoubleLE(progress.nextPayloadOffset, 56);
  record.writeDoubleLE(progress.syncedEndPayloadOffset, 64);
  record.writeDoubleLE(progress.unsyncedBytes, 72);
  record.writeDoubleLE(progress.writtenBytes, 80);
  record.writeDoubleLE(progress.rewrittenBytes, 88);
  record.writeDoubleLE(progress.syncCount, 96);
  return record;
}

export function decodeProgress(bytes: Buffer, at: number): StreamProgress {
  return {
    state: bytes.readUInt32LE(at + 4) as StreamState,
    oldestSequence: bytes.readDoubleLE(at + 8),
    nextSequence: bytes.readDoubleLE(at + 16),
    syncedEndSequence: bytes.readDoubleLE(at + 24),
    totalBytes: bytes.readDoubleLE(at + 32),
    storedBytes: bytes.readDoubleLE(at + 40),
    oldestPayloadOffset: bytes.readDoubleLE(at + 48),
    nextPayloadOffset: bytes.readDoubleLE(at + 56),
    syncedEndPayloadOffset: bytes.readDoubleLE(at + 64),
    unsyncedBytes: bytes.readDoubleLE(at + 72),
    writtenBytes: bytes.readDoubleLE(at + 80),
    rewrittenBytes: bytes.readDoubleLE(at + 88),
    syncCount: bytes.readDoubleLE(at + 96),
  };
}

export const LOSS_BYTES = 56;

export function encodeLoss(slot: number, { kind, loss }: LedgerChange): Buffer {
  const record = Buffer.alloc(LOSS_BYTES);
  record.writeUInt32LE(slot, 0);
  record.writeUInt32LE(kind, 4);
  record.writeUInt32LE(loss.reason, 8);
  record.writeDoubleLE(loss.fromSequence, 16);
  record.writeDoubleLE(loss.toSequence, 24);
  record.writeDoubleLE(loss.fromPayloadOffset, 32);
  record.writeDoubleLE(loss.toPayloadOffset, 40);
  record.writeDoubleLE(loss.timeMs, 48);
  return record;
}

export function decodeLoss(bytes: Buffer, at: number): LedgerChange {
  return {
    kind: bytes.readUInt32LE(at + 4) as LedgerChangeKind,
    loss: {
      reason: bytes.readUInt32LE(at + 8) as LossReason,
      fromSequence: bytes.readDoubleLE(at + 16),
      toSequence: bytes.readDoubleLE(at + 24),
      fromPayloadOffset: bytes.readDoubleLE(at + 32),
      toPayloadOffset: bytes.readDoubleLE(at + 40),
      timeMs: bytes.readDoubleLE(at + 48),
    },
  };
}

/** What else there is to say about a stream's storage; it changes seldom. */
export interface StreamFacts {
  /** Where the stream ended when it was opened after an end that was not clean: without flushOnWrite, the numbers from there on may have been given before (RELIABILITY A5). */
  readonly lastUncleanEnd?: UncleanEnd;
  /** Messages that only memory holds since the storage failed. */
  readonly atRisk?: { readonly fromSequence: number; readonly toSequence: number };
  /** Why the storage failed last. */
  readonly lastFault?: string;
  /** Rewrites of complete segments that failed since the stream was opened. */
  readonly rewriteFaults?: RewriteFaults;
  /** The disk has less free than is to be kept free: the stream is full. */
  readonly isDiskShort?: true;
}

/** A batch as it came down: `bytes[start, end)` are its messages. */
export interface AppendRecord {
  readonly token: number;
  readonly flags: number;
  readonly rawBytes: number;
  readonly messageCount: number;
  readonly producer: { readonly id: number; readonly sequence: number } | undefined;
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

export function decodeAppend(
  token: number,
  { bytes, start, end }: { bytes: Buffer; start: number; end: number },
): AppendRecord {
  const flags = bytes.readUInt32LE(start + 8);
  const headEnd = start + APPEND_HEAD_BYTES;
  const hasProducer = (flags & APPEND_FLAG_PRODUCER) !== 0;
  return {
    token,
    flags,
    rawBytes: bytes.readUInt32LE(start + 12),
    messageCount: bytes.readUInt32LE(start + 16),
    producer: hasProducer
      ? { id: bytes.readDoubleLE(headEnd), sequence: bytes.readDoubleLE(headEnd + 8) }
      : undefined,
    bytes,
    start: hasProducer ? headEnd + APPEND_PRODUCER_BYTES : headEnd,
    end,
  };
}

export function encodeFailed(token: number, error: MillraceError): Buffer {
  const { code, message: text } = error;
  const record = Buffer.alloc(FAILED_HEAD_BYTES + code.length + Buffer.byteLength(text));
  record.writeUInt32LE(token, 0);
  record.writeUInt32LE(code.length, 4);
  record.writeDoubleLE(error instanceof SequenceGapError ? error.expectedSequence : 0, 8);
  record.write(code, FAILED_HEAD_BYTES, "latin1");
  record.write(text, FAILED_HEAD_BYTES + code.length);
  return record;
}

export function decodeFailed(
  bytes: Buffer,
  start: number,
  end: number,
): { token: number; error: MillraceError } {
  const textAt = start + FAILED_HEAD_BYTES + bytes.readUInt32LE(start + 4);
  const code = bytes.toString("latin1", start + FAILED_HEAD_BYTES, textAt) as ErrorCode;
  const text = bytes.toString("utf8", textAt, end);
  const isGap = code === "SEQUENCE_GAP";
  return {
    token: bytes.readUInt32LE(start),
    error: isGap ? new SequenceGapError(bytes.readDoubleLE(start + 8), text) : new MillraceError(code, text),
  };
}

/** A piece of a Memory stream's segment, so that it outlives the worker. Chunks of one path come in order. */
export interface MemoryChunk {
  readonly path: string;
  readonly index: number;
  readonly memory: SharedArrayBuffer;
}

/** Control, main to worker. Every request is answered once with its id. */
export type ControlRequest =
  | {
      readonly kind: "open";
      readonly id: number;
      readonly slot: number;
      readonly streamId: string;
      readonly directory: string;
      readonly definition: StreamDefinition;
      readonly options: StreamOptions;
      readonly create: boolean;
      /** What is stored counts, and is told. */
      readonly isDefinitionInDoubt?: boolean;
      /** What is left of a Memory stream whose worker died. */
      readonly memory: readonly SharedFile[];
      /** Messages below were exported, so they were durable: if they are missing, they are lost. */
      readonly knownEnd: StreamPlace;
      /** The last process may not have synced what it had acknowledged. */
      readonly isEndUnclean?: boolean;
    }
  /** Answered when the new definition is durable and holds. */
  | {
      readonly kind: "update";
      readonly id: number;
      readonly slot: number;
      readonly definition: StreamDefinition;
      readonly options: StreamOptions;
    }
  /** Messages below may be deleted; an update takes it back. */
  | { readonly kind: "release"; readonly id: number; readonly slot: number; readonly endSequence: number }
  | { readonly kind: "destroy"; readonly id: number; readonly slot: number }
  | { readonly kind: "sync"; readonly id: number; readonly slot: number }
  | { readonly kind: "close"; readonly id: number };

/** A request before it has its id. */
export type ControlBody = ControlRequest extends infer Request
  ? Request extends unknown
    ? Omit<Request, "id">
    : never
  : never;

/** Control, worker to main. */
export type ControlReply =
  | {
      readonly kind: "done";
      readonly id: number;
      readonly progress?: StreamProgress;
      /** Of a stream that was opened: Loss records that come up from then on follow it. */
      readonly ledger?: LedgerSnapshot;
      readonly facts?: StreamFacts;
      readonly notes: readonly RecoveryNote[];
      readonly stored?: StoredDefinition;
    }
  | { readonly kind: "facts"; readonly slot: number; readonly facts: StreamFacts }
  | { readonly kind: "failed"; readonly id: number; readonly code: ErrorCode; readonly text: string }
  | { readonly kind: "memory-chunk"; readonly chunk: MemoryChunk }
  | { readonly kind: "memory-unlink"; readonly path: string }
  | { readonly kind: "memory-rename"; readonly source: string; readonly target: string };

/** What a stream worker starts with. */
export interface StreamWorkerData {
  readonly workerIndex: number;
  readonly downRing: SharedArrayBuffer;
  readonly upRing: SharedArrayBuffer;
  readonly workerDoorbell: SharedArrayBuffer;
  readonly mainDoorbell: SharedArrayBuffer;
  readonly handledSlot: SharedArrayBuffer;
  readonly memoryBudget: SharedArrayBuffer;
  readonly settings: StreamWorkerSettings;
}

export interface StreamWorkerSettings {
  readonly storeDirectory: string;
  /** What its directory of streams was when the store was opened; without it no other is told from it. */
  readonly streamsIdentity?: string;
  readonly epoch: number;
  readonly blockBytes: number;
  readonly syncIntervalMs: number;
  readonly syncBytes: number;
  readonly commitAlignBytes: number;
  /** Kept free on the disk; 0 keeps nothing. */
  readonly diskFreeMinBytes: number;
  /** What the Memory streams of all workers may take together. */
  readonly memoryStreamBytesMax: number;
}
