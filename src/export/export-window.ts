/**
 * The requests that an exporter has under way at the same time: consecutive parts of one batch, each with its own answer.
 * Pure but for what it is given.
 */
import type { CursorRecord } from "./cursor-layout.ts";
import type { BatchOutcome, RequestBytes } from "./export-channel.ts";
import {
  isCondemned,
  nextGroup,
  settle,
  type PendingBatch,
  type PendingEntry,
  type Settled,
} from "./delivery.ts";
import type { DestinationLimits, ExportRecord, SendOutcome } from "./destinations/destination.ts";

/** Messages of a batch that go out together. */
export interface WindowRequest {
  readonly group: readonly PendingEntry[];
  readonly records: readonly ExportRecord[];
}

/** The requests to send now, of a batch that holds them. */
export interface PreparedWindow {
  readonly kind: "batch";
  readonly pending: PendingBatch;
  /** Empty when there is nothing to send, but an account to settle. */
  readonly requests: readonly WindowRequest[];
}

export interface AnsweredRequest extends WindowRequest {
  readonly answer: SendOutcome;
}

/** Cuts messages into at most `requestsMax` requests, each within the limits; what does not fit them waits for the next ones. */
export function cutGroups(
  entries: readonly PendingEntry[],
  {
    limits,
    requestBytesMax,
    requestsMax,
  }: { limits: DestinationLimits; requestBytesMax: number; requestsMax: number },
): PendingEntry[][] {
  const bytesMax = Math.min(requestBytesMax, limits.requestBytesMax);
  const groups: PendingEntry[][] = [];
  let bytes = 0;
  for (const entry of entries) {
    const costBytes = entry.bytes + limits.recordOverheadBytes;
    const group = groups.at(-1);
    if (group !== undefined && group.length < limits.recordsMax && bytes + costBytes <= bytesMax) {
      group.push(entry);
      bytes += costBytes;
      continue;
    }
    if (groups.length === requestsMax) break;
    groups.push([entry]);
    bytes = costBytes;
  }
  return groups;
}

/**
 * Accounts for the answers to a window. What was accepted counts first, so that a failure beside it does not make it go
 * again. A refused request is bisected only where it is the first that waits; another one will be refused again.
 */
export function settleWindow(
  cursor: CursorRecord,
  pending: PendingBatch,
  { answered, isRedrive, nowMs }: { answered: readonly AnsweredRequest[]; isRedrive: boolean; nowMs: number },
): Settled {
  let settled: Settled = { cursor, pending };
  for (const { group, answer } of [...answered].sort((one, other) => rankOf(one) - rankOf(other))) {
    if (settled.pending === undefined) break;
    if (answer.kind === "refused" && !isNext(group, settled.pending)) continue;
    settled = settle(settled.cursor, settled.pending, { group, outcome: answer, isRedrive, nowMs });
  }
  return settled;
}

function isNext(group: readonly PendingEntry[], pending: PendingBatch): boolean {
  return nextGroup(pending)[0]?.sequence === group[0]?.sequence;
}

/** Sorting keeps the order within a rank. */
function rankOf({ answer }: AnsweredRequest): number {
  return { answered: 0, refused: 1, progress: 2, failed: 3 }[answer.kind];
}

/** What a window comes to: a failure of one request, whatever became of the others, else what was accepted. */
export function outcomeOf(answered: readonly AnsweredRequest[], { pending }: Settled): BatchOutcome {
  const condemned = new Set(pending?.entries.filter(isCondemned).map(({ sequence }) => sequence));
  const condemnedCount = answered
    .flatMap(({ group }) => group)
    .filter(({ sequence }) => condemned.has(sequence)).length;
  const pauseMs = Math.max(0, ...answered.map(pauseMsOf));
  const pause = pauseMs > 0 ? { pauseMs } : {};
  for (const { answer } of answered) {
    if (answer.kind === "failed") return { ...answer, ...pause };
    if (answer.kind === "progress") return answer;
  }
  // Where a message is condemned, its account moves on: no reason to wait.
  for (const { answer } of answered) {
    if (answer.kind === "refused" && condemnedCount === 0) return { ...answer, ...pause };
  }
  const sum = { acceptedMessages: 0, acceptedBytes: 0, fallbackCount: 0 };
  let leftCount = 0;
  let error = "";
  for (const { answer, records } of answered) {
    if (answer.kind === "refused") {
      leftCount += records.length;
      error = answer.error;
    }
    if (answer.kind !== "answered") continue;
    const { failed, refused = [], fallbackCount = 0 } = answer;
    const left = new Set([...failed, ...refused.map(({ index }) => index)]);
    for (const [index, { data }] of records.entries()) {
      if (left.has(index)) continue;
      sum.acceptedMessages += 1;
      sum.acceptedBytes += data.length;
    }
    leftCount += left.size;
    sum.fallbackCount += fallbackCount;
    if (answer.error !== "") error = answer.error;
  }
  const { fallbackCount, ...accepted } = sum;
  return {
    kind: "sent",
    ...accepted,
    ...pause,
    ...(fallbackCount > 0 && { fallbackCount }),
    failedMessages: Math.max(0, leftCount - condemnedCount),
    error,
  };
}

function pauseMsOf({ answer }: AnsweredRequest): number {
  return answer.kind === "answered" ? (answer.pauseMs ?? 0) : 0;
}

/** What the requests of a window took. */
export function requestBytesOf(
  answered: readonly AnsweredRequest[],
  recordOverheadBytes: number,
): RequestBytes {
  const sum = { bodyBytes: 0, payloadBytes: 0, countedBytes: 0 };
  for (const { answer, records } of answered) {
    const payloadBytes = records.reduce((bytes, { data }) => bytes + data.length, 0);
    const countedBytes = payloadBytes + records.length * recordOverheadBytes;
    const sentBytes = answer.kind === "progress" ? answer.sentBytes : undefined;
    sum.bodyBytes += answer.requestBytes ?? sentBytes ?? countedBytes;
    sum.payloadBytes += payloadBytes;
    sum.countedBytes += countedBytes;
  }
  return sum;
}
