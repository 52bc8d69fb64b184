import type { MillraceError } from "../core/errors.ts";
import type { BlockBuilder } from "../log/block-builder.ts";
import type { StreamLog } from "../log/stream-log.ts";
import type { StreamProgress } from "./stream-channel.ts";

/** One stream that this worker owns. */
export interface OpenStream {
  readonly slot: number;
  readonly directory: string;
  readonly name: string;
  readonly isMemory: boolean;
  readonly log: StreamLog;
  readonly flushOnWrite: boolean;
  /** The block being gathered; lent by the append stage's pool while there is anything in it. */
  builder: BlockBuilder | undefined;
  /** The batches in `builder`, in order. */
  readonly gathered: GatheredBatch[];
  gatheredCostBytes: number;
  /** Batches that wait, in order, for a sync that lags behind; they come before anything newer. */
  readonly held: HeldBatch[];
  /** Outcomes that may be told after the next sync, in request order (flushOnWrite only). */
  waiting: AppendOutcome[];
  isSyncing: boolean;
  /** Its progress record is due. */
  isProgressDue: boolean;
  /** What the main thread was told last. */
  told: StreamProgress;
}

export interface GatheredBatch {
  readonly token: number;
  readonly messageCount: number;
}

export interface HeldBatch {
  readonly token: number;
  readonly flags: number;
  readonly rawBytes: number;
  readonly messageCount: number;
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

export type AppendOutcome =
  | { readonly token: number; readonly firstSequence: number; readonly error?: undefined }
  | { readonly token: number; readonly error: MillraceError };
