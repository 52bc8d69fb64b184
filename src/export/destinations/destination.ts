import type { CursorPlace } from "../cursor-file.ts";
import type { CursorRecord } from "../cursor-layout.ts";
import type { DestinationSettings } from "../exporter-settings.ts";

/** One message on its way out. `data` is a view that stays valid until `send` has settled. */
export interface ExportRecord {
  readonly sequence: number;
  readonly ingestTimeMs: number;
  readonly data: Uint8Array;
  /** How often it was set aside before; not there where it never was. */
  readonly attempts?: number;
}

/** What one request may hold. The runner cuts batches to these, and sets aside what can never fit. */
export interface DestinationLimits {
  readonly recordsMax: number;
  readonly requestBytesMax: number;
  /** Data and overhead of one record. */
  readonly recordBytesMax: number;
  /** What a record costs beside its data. */
  readonly recordOverheadBytes: number;
}

/** Whose records a request holds. */
export interface SendContext {
  readonly streamId: string;
  readonly streamName: string;
  readonly exporterId: string;
  /** The exporter's identifier in its stream's definition. */
  readonly identifier: string;
  /** The directory of the stream; `exporters/` in it holds what an exporter keeps on disk. */
  readonly streamDirectory: string;
  /** What the exporter's request before this one asked to be given back, if nothing came between. */
  readonly continuation?: string | undefined;
  /** Aborted when the exporter is removed: the request need not end, and `cancel` comes next. */
  readonly recalled?: AbortSignal | undefined;
  /** Where the exporter stood before the request; not there where the position is one in another stream. */
  readonly cursor?: Pick<CursorRecord, "position" | "rewound"> | undefined;
}

/** A message for another stream of this engine. */
export interface StreamNotice {
  readonly streamName: string;
  /** UTF-8 text. */
  readonly payload: string;
}

/** A record that will be refused again, however often it is sent. */
export interface RefusedRecord {
  /** In the request. */
  readonly index: number;
  readonly error: string;
  /**
   * It is not what messages of this kind have to be, as anybody can tell who looks at it: set aside without the proof that the
   * destination accepts others (see delivery.ts).
   */
  readonly isMalformed?: boolean;
}

/**
 * What became of one request. Failures are values: an Error loses its fields on the way between threads.
 * - answered: judged record by record; those at the `failed` indexes are to be sent again, those in `refused` never will be
 *   accepted, all others were.
 * - refused: the destination says that this request, sent again unchanged, will be refused again. Nothing was accepted.
 * - failed: nothing is known to be accepted, and the same request may succeed later.
 * - progress: part of the work is done, nothing is accepted yet, and the same request goes on at once. For work that one
 *   request cannot do, so that others get their turn between its steps.
 */
type SendJudgement =
  | {
      readonly kind: "answered";
      readonly failed: readonly number[];
      readonly refused?: readonly RefusedRecord[];
      readonly error: string;
      /** The exporter sends nothing more for so long. */
      readonly pauseMs?: number;
      /** Records that could not be treated as the exporter's options ask; they were sent another way. */
      readonly fallbackCount?: number;
    }
  | { readonly kind: "refused"; readonly error: string }
  | SendProgress
  | SendFailure;

export type SendOutcome = SendJudgement & {
  /** Appended, in order, before the next request of the exporter is sent; those of a process that dies are not. */
  readonly notices?: readonly StreamNotice[];
  /** So soon `tend` has something to do, if no other request changes that. */
  readonly tendInMs?: number;
  /** Bytes of the request's body, for bandwidth caps and shares; payload and overhead of the records where left out. */
  readonly requestBytes?: number;
};

export interface SendProgress {
  readonly kind: "progress";
  /** Payload bytes that went out. */
  readonly sentBytes: number;
  /** Given back with the exporter's next request once the notices of this one are appended. Gone when the process ends. */
  readonly continuation?: string;
}

export interface SendFailure {
  readonly kind: "failed";
  /** Who waits: everyone that uses the endpoint, or this exporter alone. */
  readonly scope: "endpoint" | "exporter";
  /** Growing random delays, or one try a minute where only a person or a role can mend it. */
  readonly pace: "backoff" | "slow";
  /** The request took too long: a smaller one may pass over the same link. */
  readonly timedOut: boolean;
  /** The other side asks for so long a pause at least. */
  readonly retryAfterMs?: number;
  readonly error: string;
}

/** What became of what was due. */
export interface TendOutcome {
  /** Empty if all of it was done. */
  readonly error: string;
  /** So soon there is something to do again; left out where only a request can make it so. */
  readonly dueInMs?: number;
}

export interface CancelOutcome {
  /** What there is to tell if this was the last try. */
  readonly notices: readonly StreamNotice[];
  /** Otherwise another try may do it. */
  readonly isEnded: boolean;
}

/** One kind of place to send to. Lives in an export worker; its SDK is imported when the first one is made. */
export interface Destination {
  /** Of a request to a destination of these settings, which are of its kind. */
  limitsFor(settings: DestinationSettings): DestinationLimits;
  /**
   * Asked when a message was met that exceeds the limits: they may be wider than this destination knows. Resolves when it
   * knows, or will not; never rejects.
   */
  learnLimits?(settings: DestinationSettings): Promise<void>;
  /** Does beforehand what `send` will need for the same list of records, while another request is under way. */
  prepare?(settings: DestinationSettings, records: readonly ExportRecord[]): void;
  /** Sends one request and never rejects. `records` is not empty and within the limits. */
  send(
    settings: DestinationSettings,
    records: readonly ExportRecord[],
    context: SendContext,
  ): Promise<SendOutcome>;
  /**
   * Ends what the exporter has under way, as far as one try can. There where work takes several requests. `settings` are
   * undefined where the exporter is gone, and what it kept has to say who wants to hear of it. Never rejects but for faults of
   * ours.
   */
  cancel?(
    settings: DestinationSettings | undefined,
    context: SendContext,
    reason: string,
  ): Promise<CancelOutcome>;
  /**
   * Does what is due without a request, such as to complete a file that nothing was written to for long enough: when an outcome
   * said that it would be, and, with `isLast`, when the exporter sends nothing more. Then `settings` are undefined where nobody
   * knows them. Never with a request of the exporter under way. Rejects only where `place` cannot be read or written.
   */
  tend?(
    settings: DestinationSettings | undefined,
    place: CursorPlace,
    how: { readonly isLast: boolean },
  ): Promise<TendOutcome>;
  close(): void;
}
