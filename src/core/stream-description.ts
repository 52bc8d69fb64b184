import type { DestinationKind, StreamDefinition } from "./stream-definition.ts";
import {
  LossReason,
  type LedgerAccount,
  type MessageTotals,
  type StreamLoss,
  totalsOf,
} from "./stream-ledger.ts";
import type { StreamOptions } from "./stream-options.ts";

/**
 * All that is known of a stream: DescribeStream's answer, a JSON document. Sequence numbers of ends are exclusive; bytes are of
 * payloads unless said otherwise; times are Unix milliseconds. Keys may be added in any version.
 */
export interface StreamDescription {
  readonly definition: StreamDefinition;
  readonly options: StreamOptions;
  readonly state: StreamStateName;
  /** Why it is not `ok`; the storage's last error also after it has passed. */
  readonly lastFault?: string;
  /** Counts the starts of the store. Messages stored under another epoch came before the last start (RELIABILITY A5). */
  readonly epoch: number;
  /** Where the stream ended when it was opened after an end that was not clean. */
  readonly lastUncleanEnd?: { readonly sequence: number; readonly epoch: number; readonly timeMs: number };
  readonly storage: StorageDescription;
  readonly ledger: LedgerDescription;
  /** Appended of late: each moment of the past counts for less the longer ago it is, over about a minute. */
  readonly appendRate: MessageRate;
  readonly forecast: StreamForecast;
  /** In the order of the definition. */
  readonly exporters: readonly ExporterDescription[];
  /** Not there where nothing was set aside. */
  readonly setAside?: SetAsideDescription;
}

/** What destinations would not take. */
export interface SetAsideDescription {
  /** The companion stream that holds it. */
  readonly stream: string;
  /** Of exporters that were asked to send it again since the engine started. */
  readonly redrives: readonly RedriveDescription[];
}

/** In messages of the companion stream, since the last command. */
export interface RedriveDescription {
  readonly identifier: string;
  /** Everything below is done, or another exporter's. */
  readonly position: number;
  /** Where the companion stream ended at the command, exclusive. */
  readonly endSequence: number;
  readonly acceptedMessages: number;
  /** Refused again, and set aside again. */
  readonly setAsideMessages: number;
  /** Of the last attempt; empty when it succeeded. */
  readonly errorMessage: string;
}

/** Messages and their payload bytes in a second. */
export interface MessageRate {
  readonly messagesPerSecond: number;
  readonly bytesPerSecond: number;
}

/** If everything goes on at the rates of now. */
export interface StreamForecast {
  /** When appends begin to be refused because the stream or the disk is full: milliseconds from now, null for never. */
  readonly fullInMs: number | null;
}

/**
 * `recovering`: its worker is being replaced. `disk-low`: the disk has less free than is to be kept free, so the stream is full.
 * `read-only`: the storage takes no writes; reads and exports go on, and it is tried again. `fenced`: it could not be recovered, or
 * its files are not where they were while the engine runs, which `lastFault` says; then it goes on when they are there again.
 */
export type StreamStateName = "ok" | "recovering" | "disk-low" | "read-only" | "fenced";

export interface StorageDescription {
  readonly oldestSequence: number;
  readonly nextSequence: number;
  /** Below it messages survive a power cut, and exporters see them. */
  readonly syncedEndSequence: number;
  /** What counts towards maxSize: payload and 24 bytes a message. */
  readonly totalBytes: number;
  /** Of the segment files. */
  readonly storedBytes: number;
  /** What a power cut would take now, as it is stored. */
  readonly unsyncedBytes: number;
  /** Bytes written to segments since the stream was opened: as messages came, and again in full-size blocks. */
  readonly writtenBytes: number;
  readonly rewrittenBytes: number;
  /** Rewrites of complete segments that failed since the stream was opened: nothing is lost by them, and they are tried again. */
  readonly rewriteFaults?: { readonly count: number; readonly last: string };
  /** What a power cut takes at most: a File stream without flushOnWrite only. */
  readonly powerCutLossMax?: PowerCutLoss;
  /** Acknowledged messages that only memory holds since the storage failed. */
  readonly atRisk?: { readonly fromSequence: number; readonly toSequence: number };
}

/** The newest messages, up to whichever bound is reached first, and what arrives while the sync runs. */
export interface PowerCutLoss {
  readonly syncIntervalMs: number;
  /** As they are stored. */
  readonly syncBytes: number;
  /** Over all streams of one worker. */
  readonly workerSyncBytes: number;
}

/** appended = stored + overwritten + expired + deleted + damaged, in messages and in payload bytes. */
export interface LedgerDescription extends Readonly<Record<LedgerAccount, MessageTotals>> {
  readonly appended: MessageTotals;
  readonly stored: MessageTotals;
  /** What is gone from the front, oldest first; only the newest ranges are kept apart. */
  readonly drops: readonly LossDescription[];
  /** What cannot be read behind the oldest message. */
  readonly damage: readonly LossDescription[];
}

export interface LossDescription extends MessageTotals {
  readonly reason: string;
  readonly fromSequence: number;
  readonly toSequence: number;
  readonly timeMs: number;
}

/**
 * `idle`: nothing to send. `sending`. `waiting`: for its batch interval. `backoff`: it failed, or its endpoint did. `throttled`: by
 * a bandwidth cap. `blocked`: better priorities have data, or as many batches as may are on their way. `paused`: by command.
 * `disabled`: by its configuration. `stuck`: its batch has been out for longer than any link explains.
 */
export type ExporterStateName =
  "idle" | "sending" | "waiting" | "backoff" | "throttled" | "blocked" | "paused" | "disabled" | "stuck";

type ExporterAccountName = LedgerAccount | "exported" | "pending" | "setAside" | "skipped";

/**
 * appended + rewound = the sum of all other accounts, in messages and in payload bytes. `rewound`: a start that was moved back
 * lets messages go again.
 */
export interface ExporterDescription extends Readonly<Record<ExporterAccountName, MessageTotals>> {
  readonly identifier: string;
  readonly kind: DestinationKind;
  /** 1 goes first; null is last. */
  readonly priority: number | null;
  readonly disabled: boolean;
  readonly state: ExporterStateName;
  /** When it may start next, where time alone holds it. */
  readonly nextTryTimeMs?: number;
  /** When messages were last accepted. */
  readonly lastSuccessTimeMs?: number;
  /** Since the engine began; kept when it succeeds again. */
  readonly lastError?: { readonly text: string; readonly timeMs: number };
  /** Sent another way than its options ask, since the engine began: with a random partition key. Not there while there are none. */
  readonly fallbackMessages?: number;
  /** Accepted of late, as `appendRate`. */
  readonly exportRate: MessageRate;
  /**
   * How long the oldest pending message has waited; not there while none is, or nobody knows. Of messages that the engine saw
   * arrive it may be an eighth too long; of older ones it goes by the wall clock, and may be five seconds late.
   */
  readonly oldestPendingAgeMs?: number;
  readonly forecast: ExporterForecast;
  /** Everything below has another account than pending. */
  readonly position: number;
  /** Below it nothing is needed again, whatever happens. */
  readonly durablePosition: number;
  /** Of the last attempt; 0 before the first. */
  readonly lastExportTimeMs: number;
  /** Of the last attempt; empty when it succeeded. */
  readonly errorMessage: string;
  /** Something to be known of it that is no error: its service has ended, or it is sent elsewhere by a setting. */
  readonly notice?: string;
  readonly appended: MessageTotals;
  readonly rewound: MessageTotals;
  /** What did not reach the destination, oldest first; only the newest ranges are kept. */
  readonly losses: readonly LossDescription[];
}

/** If everything goes on at the rates of now: milliseconds from now, null for never. */
export interface ExporterForecast {
  /** When messages that were not exported begin to be lost: overwritten, or expired. */
  readonly lossInMs: number | null;
  /** When all that is pending is exported. */
  readonly drainedInMs: number | null;
}

const reasonNames = new Map<LossReason, string>(
  Object.entries(LossReason).map(([name, reason]) => [reason, name[0]!.toLowerCase() + name.slice(1)]),
);

export function describeLoss(loss: StreamLoss): LossDescription {
  const { reason, fromSequence, toSequence, timeMs } = loss;
  return {
    reason: reasonNames.get(reason) ?? String(reason),
    fromSequence,
    toSequence,
    ...totalsOf(loss),
    timeMs,
  };
}
