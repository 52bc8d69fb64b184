import type { MillraceError } from "../core/errors.ts";
import type { BlockBuilder } from "../log/block-builder.ts";
import type { StreamLog } from "../log/stream-log.ts";
import { type AppendRecord, type StreamFacts, type StreamProgress, StreamState } from "./stream-channel.ts";

/** One stream that this worker owns. */
export interface OpenStream {
  readonly slot: number;
  readonly directory: string;
  readonly name: string;
  readonly isMemory: boolean;
  readonly log: StreamLog;
  flushOnWrite: boolean;
  /** The block being gathered; lent by the append stage's pool while there is anything in it. */
  builder: BlockBuilder | undefined;
  /** The batches in `builder`, in order. */
  readonly gathered: GatheredBatch[];
  gatheredCostBytes: number;
  /** By producer: its newest batch in `builder`. */
  readonly gatheredSequences: Map<number, number>;
  /** Batches that wait, in order, for a sync that lags behind; they come before anything newer. */
  readonly held: AppendRecord[];
  /** Outcomes that may be told after the next sync, in request order; those that need none stand between others that do. */
  waiting: AppendOutcome[];
  isSyncing: boolean;
  /** Its progress record is due. */
  isProgressDue: boolean;
  /** What the main thread was told last. */
  told: StreamProgress;
  toldFacts: StreamFacts;
}

export interface GatheredBatch {
  readonly token: number;
  readonly messageCount: number;
}

/** `needsSync`: it may be told only when a sync has covered it. */
export type AppendOutcome =
  | {
      readonly token: number;
      readonly firstSequence: number;
      readonly needsSync: boolean;
      /** The batch had been stored before. */
      readonly isRepeat?: true;
      readonly error?: undefined;
    }
  | { readonly token: number; readonly needsSync: false; readonly error: MillraceError };

export function progressOf(log: StreamLog): StreamProgress {
  const state =
    log.state === "ok"
      ? StreamState.Ok
      : log.state === "read-only"
        ? StreamState.ReadOnly
        : StreamState.Fenced;
  return {
    state,
    oldestSequence: log.oldestSequence,
    nextSequence: log.nextSequence,
    syncedEndSequence: log.syncedEndSequence,
    totalBytes: log.totalBytes,
    storedBytes: log.storedBytes,
    oldestPayloadOffset: log.oldestPayloadOffset,
    nextPayloadOffset: log.nextPayloadOffset,
    syncedEndPayloadOffset: log.syncedEndPayloadOffset,
    unsyncedBytes: log.unsyncedBytes,
    writtenBytes: log.writes.writtenBytes,
    rewrittenBytes: log.writes.rewrittenBytes,
    syncCount: log.writes.syncCount,
  };
}

export function factsOf(log: StreamLog): StreamFacts {
  const { atRisk, lastFault, isDiskShort } = log;
  const { rewriteFaults } = log.writes;
  const { lastUncleanEnd } = log.ledger;
  return {
    ...(lastUncleanEnd === undefined ? {} : { lastUncleanEnd }),
    ...(atRisk === undefined ? {} : { atRisk }),
    ...(lastFault === undefined ? {} : { lastFault: lastFault.message }),
    ...(rewriteFaults === undefined ? {} : { rewriteFaults }),
    ...(isDiskShort ? { isDiskShort } : {}),
  };
}

/** Whether the main thread does not know this yet. */
export function haveChanged(facts: StreamFacts, told: StreamFacts): boolean {
  return JSON.stringify(facts) !== JSON.stringify(told);
}

/** Whether retention or a sync of the log's own changed what the main thread was told last. */
export function hasMoved({ log, told }: OpenStream): boolean {
  const { oldestSequence, syncedEndSequence, storedBytes, state, rewrittenBytes } = progressOf(log);
  return (
    log.ledger.hasChanges ||
    told.syncedEndSequence !== syncedEndSequence ||
    told.oldestSequence !== oldestSequence ||
    told.storedBytes !== storedBytes ||
    told.rewrittenBytes !== rewrittenBytes ||
    told.state !== state
  );
}
