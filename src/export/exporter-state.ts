import type { ExportStatus } from "../core/stream-definition.ts";
import type { ArrivalMarks } from "./arrival-marks.ts";
import { passedBy } from "./cursor-file-knowledge.ts";
import type { CursorRecord } from "./cursor-layout.ts";
import type { ExporterSettings } from "./exporter-settings.ts";
import { Hold, type Held } from "./scheduler.ts";

/** What an exporter does, or waits for. */
export const ExporterActivity = {
  /** Everything it may send is settled. */
  Idle: "idle",
  Sending: "sending",
  /** For its batch interval. */
  Waiting: "waiting",
  /** It failed, or its endpoint did. */
  Backoff: "backoff",
  /** By a bandwidth cap. */
  Throttled: "throttled",
  /** Better ones have data, or all slots are taken. */
  Blocked: "blocked",
  /** By command. */
  Paused: "paused",
  /** By its configuration. */
  Disabled: "disabled",
  /** Its batch has been out for longer than any link explains. */
  Stuck: "stuck",
} as const;
export type ExporterActivity = (typeof ExporterActivity)[keyof typeof ExporterActivity];

/** How one exporter stands at this moment. Times are wall clock, in milliseconds. */
export interface ExporterState {
  readonly exporterId: string;
  readonly identifier: string;
  readonly kind: string;
  readonly priority: number;
  readonly state: ExporterActivity;
  readonly batchIntervalMs: number | undefined;
  /** The oldest message that is pending, or the next that comes. */
  readonly nextSequence: number;
  /** How long that has waited; undefined while nothing is pending, Infinity of a message that was there before this process. */
  readonly oldestPendingAgeMs: number | undefined;
  /** When it may start next, where time alone holds it. */
  readonly nextTryTimeMs: number | undefined;
  /** When messages were last accepted; undefined if none ever were. */
  readonly lastSuccessTimeMs: number | undefined;
  /** Kept when it succeeds again. Since this process started. */
  readonly lastError: { readonly text: string; readonly timeMs: number } | undefined;
  /** Accepted, of late: each moment of the past counts for less the longer ago it is, over about a minute. */
  readonly messagesPerSecond: number;
  /** Payload bytes. */
  readonly bytesPerSecond: number;
  /** Sent another way than its options ask, since this process started: with a random partition key, say. */
  readonly fallbackMessages?: number;
}

/** The moment of which a state tells. */
export interface StateTime {
  readonly nowMs: number;
  readonly wallMs: number;
  /** Undefined before the stream has told how far it reaches. */
  readonly arrivals: ArrivalMarks | undefined;
}

interface Standing {
  readonly inFlight: boolean;
  readonly isStuck: boolean;
  readonly pendingMessages: number;
  /** By what the scheduler holds it, if it does. */
  readonly held: Held | undefined;
}

export function pendingAgeMs(
  nextSequence: number,
  {
    pendingMessages,
    arrivals,
    nowMs,
  }: Pick<StateTime, "arrivals" | "nowMs"> & Pick<Standing, "pendingMessages">,
): number | undefined {
  if (pendingMessages === 0 || arrivals === undefined) return undefined;
  return Math.max(0, nowMs - arrivals.arrivalMs(nextSequence));
}

export function activityOf(
  { disabled, paused }: ExporterSettings,
  { inFlight, isStuck, pendingMessages, held }: Standing,
): ExporterActivity {
  if (disabled) return ExporterActivity.Disabled;
  if (paused) return ExporterActivity.Paused;
  if (inFlight) return isStuck ? ExporterActivity.Stuck : ExporterActivity.Sending;
  if (pendingMessages === 0) return ExporterActivity.Idle;
  // Nothing holds it: it starts before anything else happens.
  return held === undefined ? ExporterActivity.Sending : activityOfHold[held.hold];
}

const activityOfHold: Readonly<Record<Hold, ExporterActivity>> = {
  [Hold.Interval]: ExporterActivity.Waiting,
  [Hold.Backoff]: ExporterActivity.Backoff,
  [Hold.Cap]: ExporterActivity.Throttled,
  [Hold.Bandwidth]: ExporterActivity.Throttled,
  [Hold.Priority]: ExporterActivity.Blocked,
  [Hold.Slots]: ExporterActivity.Blocked,
};

/** As describe shows it (PROTOCOL 3.6). */
export function statusOf(
  { identifier, startSequence: start }: Pick<ExporterSettings, "identifier" | "startSequence">,
  cursor: CursorRecord,
  {
    isMoveDue,
    ...last
  }: { readonly isMoveDue: boolean } & Pick<ExportStatus, "lastExportTime" | "errorMessage">,
): ExportStatus {
  const { exported, setAside } = cursor.accounts;
  const nextSequence = isMoveDue ? start : passedBy(cursor);
  return {
    exportConfigIdentifier: identifier,
    lastExportedSequenceNumber: nextSequence - 1,
    ...last,
    exportedBytesFromStream: exported.payloadBytes,
    // "Exported or processed": what was set aside counts here and not in the bytes.
    exportedMessagesCount: exported.messages + setAside.messages,
  };
}
