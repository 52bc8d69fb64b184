import type { ErrorCode } from "../core/errors.ts";
import type { StreamDefinition } from "../core/stream-definition.ts";
import type { SharedFile } from "../log/shared-memory-storage.ts";

/**
 * The boundary between the main thread and one stream worker. Data goes over two rings as the records below (native byte
 * order, f64 for sequence numbers, sizes and times); control goes over a message port as the closed set at the end.
 *
 * main -> worker
 *   Append      u32 token, u32 slot, u32 flags, u32 raw bytes, u32 message count, u32 0,  then the batch as it came
 *   Read        u32 token, u32 slot, f64 from, u32 min, u32 max, u32 bytes max, u32 timeout ms
 *   Subscribe   u32 token, u32 slot, f64 from, u32 credit bytes, u32 0
 *   Credit      u32 token, u32 bytes
 *   Cancel      u32 token                                  ends a waiting read or a subscription
 * worker -> main
 *   Appended    u32 count, u32 0, then count times { u32 token, u32 0, f64 first sequence }
 *   Failed      u32 token, u32 code length, code, text     one append, read or subscription that was refused
 *   Records     u32 token, u32 flags, f64 first sequence, f64 durable end, u32 message count, u32 run count,
 *               run count times { u32 message count, u32 0, f64 ingest ms }, then the messages
 *   Gap         u32 token, u32 reason, f64 from, f64 to    sequence numbers [from, to) that cannot be read
 *   Progress    u32 slot, u32 state, then f64 each: see StreamProgress
 *
 * A token belongs to the main thread; the worker gives it back and knows nothing else about clients. A slot is the number
 * of a stream in its worker.
 */
export const DownRecord = { Append: 1, Read: 2, Subscribe: 3, Credit: 4, Cancel: 5 } as const;
export type DownRecord = (typeof DownRecord)[keyof typeof DownRecord];

export const UpRecord = { Appended: 1, Failed: 2, Records: 3, Gap: 4, Progress: 5 } as const;
export type UpRecord = (typeof UpRecord)[keyof typeof UpRecord];

export const APPEND_HEAD_BYTES = 24;
/** Append flag: the batch is one LZ4 block of `raw bytes` bytes. */
export const APPEND_FLAG_LZ4 = 1;

export const READ_BYTES = 32;
export const SUBSCRIBE_BYTES = 24;
export const CREDIT_BYTES = 8;
export const CANCEL_BYTES = 8;

export const APPENDED_HEAD_BYTES = 8;
export const APPENDED_ENTRY_BYTES = 16;
export const RECORDS_HEAD_BYTES = 32;
export const RECORDS_RUN_BYTES = 16;
/** Records flag: nothing follows for this token (a read is complete). */
export const RECORDS_FLAG_LAST = 1;
export const GAP_BYTES = 24;
export const FAILED_HEAD_BYTES = 8;

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
}
export const PROGRESS_BYTES = 48;

export const emptyProgress: StreamProgress = {
  state: StreamState.Ok,
  oldestSequence: 0,
  nextSequence: 0,
  syncedEndSequence: 0,
  totalBytes: 0,
  storedBytes: 0,
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
  };
}

export function encodeFailed(token: number, code: ErrorCode, text: string): Buffer {
  const record = Buffer.alloc(FAILED_HEAD_BYTES + code.length + Buffer.byteLength(text));
  record.writeUInt32LE(token, 0);
  record.writeUInt32LE(code.length, 4);
  record.write(code, FAILED_HEAD_BYTES, "latin1");
  record.write(text, FAILED_HEAD_BYTES + code.length);
  return record;
}

export function decodeFailed(
  bytes: Buffer,
  start: number,
  end: number,
): { token: number; code: ErrorCode; text: string } {
  const textAt = start + FAILED_HEAD_BYTES + bytes.readUInt32LE(start + 4);
  return {
    token: bytes.readUInt32LE(start),
    code: bytes.toString("latin1", start + FAILED_HEAD_BYTES, textAt) as ErrorCode,
    text: bytes.toString("utf8", textAt, end),
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
      readonly create: boolean;
      /** What is left of a Memory stream whose worker died. */
      readonly memory: readonly SharedFile[];
      /** Messages below were exported, so they were durable: if they are missing, they are lost. */
      readonly knownEndSequence: number;
    }
  | { readonly kind: "destroy"; readonly id: number; readonly slot: number }
  | { readonly kind: "sync"; readonly id: number; readonly slot: number }
  | { readonly kind: "close"; readonly id: number };

/** Control, worker to main. */
export type ControlReply =
  | {
      readonly kind: "done";
      readonly id: number;
      readonly progress?: StreamProgress;
      readonly notes: readonly string[];
    }
  | { readonly kind: "failed"; readonly id: number; readonly code: ErrorCode; readonly text: string }
  | { readonly kind: "memory-chunk"; readonly chunk: MemoryChunk }
  | { readonly kind: "memory-unlink"; readonly path: string };

/** What a stream worker starts with. */
export interface StreamWorkerData {
  readonly workerIndex: number;
  readonly downRing: SharedArrayBuffer;
  readonly upRing: SharedArrayBuffer;
  readonly workerDoorbell: SharedArrayBuffer;
  readonly mainDoorbell: SharedArrayBuffer;
  readonly settings: StreamWorkerSettings;
}

export interface StreamWorkerSettings {
  readonly epoch: number;
  readonly blockBytes: number;
  readonly syncIntervalMs: number;
  readonly syncBytes: number;
  readonly commitAlignBytes: number;
}
