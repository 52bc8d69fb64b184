/**
 * The requests that an exporter has under way at the same time: consecutive parts of one batch, each with its own answer.
 * Pure but for what it is given.
 */
import type { CursorRecord } from "./cursor-layout.ts";
import type { BatchOutcome } from "./export-channel.ts";
import { nextGroup, settle, type PendingBatch, type PendingEntry, type Settled } from "./delivery.ts";
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
  /** Messages that no request can hold. */
  readonly tooLarge: readonly number[];
  readonly tooLargeError: string;
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
  { answered, nowMs }: { answered: readonly AnsweredRequest[]; nowMs: number },
): Settled {
  let settled: Settled = { cursor, pending, setAside: [], setAsideError: "" };
  for (const { group, answer } of [...answered].sort((one, other) => rankOf(one) - rankOf(other))) {
    const before = settled;
    if (before.pending === undefined) break;
    if (answer.kind === "refused" && !isNext(group, before.pending)) continue;
    const next = settle(before.cursor, before.pending, { group, outcome: answer, nowMs });
    settled = {
      ...next,
      setAside: [...before.setAside, ...next.setAside],
      setAsideError: next.setAside.length > 0 ? next.setAsideError : before.setAsideError,
    };
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
export function outcomeOf(answered: readonly AnsweredRequest[], { setAside }: Settled): BatchOutcome {
  for (const { answer } of answered)
    if (answer.kind === "failed" || answer.kind === "progress") return answer;
  // Where a message was set aside, the account moved on: no reason to wait.
  for (const { answer } of answered) if (answer.kind === "refused" && setAside.length === 0) return answer;
  const sum = { acceptedMessages: 0, acceptedBytes: 0, pauseMs: 0, fallbackCount: 0 };
  let leftCount = 0;
  let error = "";
  for (const { answer, records } of answered) {
    if (answer.kind === "refused") {
      leftCount += records.length;
      error = answer.error;
    }
    if (answer.kind !== "answered") continue;
    const { failed, refused = [], pauseMs = 0, fallbackCount = 0 } = answer;
    const left = new Set([...failed, ...refused.map(({ index }) => index)]);
    for (const [index, { data }] of records.entries()) {
      if (left.has(index)) continue;
      sum.acceptedMessages += 1;
      sum.acceptedBytes += data.length;
    }
    leftCount += left.size;
    sum.pauseMs = Math.max(sum.pauseMs, pauseMs);
    sum.fallbackCount += fallbackCount;
    if (answer.error !== "") error = answer.error;
  }
  const { pauseMs, fallbackCount, ...accepted } = sum;
  const told = { ...(pauseMs > 0 && { pauseMs }), ...(fallbackCount > 0 && { fallbackCount }) };
  return {
    kind: "sent",
    ...accepted,
    ...told,
    failedMessages: Math.max(0, leftCount - setAside.length),
    error,
  };
}
