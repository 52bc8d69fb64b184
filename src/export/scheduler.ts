/**
 * Decides which exporters send next: a pure function of the exporters' state and the time. Strict priority: nothing of
 * worse priority starts while a better exporter has data to send and is not held back by a failure.
 */
export interface SchedulerExporter {
  readonly key: string;
  /** 1 goes first. */
  readonly priority: number;
  readonly endpoint: string;
  readonly disabled: boolean;
  readonly inFlight: boolean;
  /** Messages that may be sent and are not part of the batch in flight. */
  readonly backlogMessages: number;
  /** How many of them the next batch takes. */
  readonly nextBatchMessages: number;
  readonly batchSize: number;
  readonly batchIntervalMs: number | undefined;
  /** When the oldest of the backlog arrived; -Infinity if that was before this process knew of it. */
  readonly oldestArrivalMs: number;
  /** Part of a batch waits to be sent again: eligible whatever its size and age. */
  readonly resumesBatch: boolean;
  /** The exporter's own delay after a failure. */
  readonly notBeforeMs: number;
  /** When it last started; of equal priority the one that waited longest goes first. */
  readonly lastStartMs: number;
}

export interface SchedulerEndpoint {
  /** In backoff: nothing starts before `retryAtMs`, and then one batch at a time until one succeeds. */
  readonly failing: boolean;
  readonly retryAtMs: number;
  readonly probeInFlight: boolean;
}

export interface Schedule {
  /** Keys of the exporters to start now, best first. */
  readonly start: readonly string[];
  /** When to look again although nothing happens; undefined if only an event can change the answer. */
  readonly wakeAtMs: number | undefined;
}

export interface SchedulerInput {
  readonly exporters: readonly SchedulerExporter[];
  /** An endpoint that is not in the map has never failed. */
  readonly endpoints: ReadonlyMap<string, SchedulerEndpoint>;
  readonly slotsFree: number;
  readonly nowMs: number;
}

export function schedule({ exporters, endpoints, slotsFree, nowMs }: SchedulerInput): Schedule {
  const start: string[] = [];
  const probed = new Set<string>();
  let wakeAtMs = Infinity;
  let blockedBelow = Infinity;

  for (const exporter of [...exporters].sort(byPriorityThenWaiting)) {
    if (exporter.priority > blockedBelow) break;
    if (exporter.disabled) continue;
    const endpoint = endpoints.get(exporter.endpoint);
    const failing = endpoint?.failing === true;
    if (exporter.inFlight) {
      const dueMs = eligibleAtMs(exporter);
      if (!failing && dueMs <= nowMs) blockedBelow = exporter.priority;
      continue;
    }
    const dueMs = Math.max(eligibleAtMs(exporter), failing ? endpoint.retryAtMs : -Infinity);
    if (dueMs > nowMs) {
      wakeAtMs = Math.min(wakeAtMs, dueMs);
      continue;
    }
    // While one batch probes a failing endpoint, the endpoint's others are still in backoff and hold back nobody.
    if (failing && (endpoint.probeInFlight || probed.has(exporter.endpoint))) continue;
    if (start.length < slotsFree) {
      start.push(exporter.key);
      if (failing) probed.add(exporter.endpoint);
      if (!failing && leavesDataBehind(exporter)) blockedBelow = exporter.priority;
    } else if (!failing) {
      blockedBelow = exporter.priority;
    }
  }
  return { start, wakeAtMs: Number.isFinite(wakeAtMs) ? wakeAtMs : undefined };
}

/** When an exporter's own rules let it send: Infinity while it has nothing, -Infinity where nothing holds it. */
function eligibleAtMs(exporter: SchedulerExporter): number {
  if (exporter.backlogMessages <= 0) return Infinity;
  const { batchIntervalMs, oldestArrivalMs, notBeforeMs } = exporter;
  const waitsForMore =
    batchIntervalMs !== undefined && !exporter.resumesBatch && exporter.backlogMessages < exporter.batchSize;
  return Math.max(notBeforeMs, waitsForMore ? oldestArrivalMs + batchIntervalMs : -Infinity);
}

/** Whether an exporter that sends one batch now still has an eligible one behind it. */
function leavesDataBehind(exporter: SchedulerExporter): boolean {
  const { backlogMessages, nextBatchMessages, batchSize, batchIntervalMs } = exporter;
  const left = backlogMessages - nextBatchMessages;
  return batchIntervalMs === undefined ? left > 0 : left >= batchSize;
}

function byPriorityThenWaiting(one: SchedulerExporter, other: SchedulerExporter): number {
  return one.priority - other.priority || one.lastStartMs - other.lastStartMs;
}
