/**
 * Decides which exporters send next: a pure function of the exporters' state and the time. Strict priority: nothing of
 * worse priority starts while a better exporter has data to send and is not held back by a failure or by its own bandwidth
 * cap. An exporter that is behind its minimum share goes before all others.
 */
import { type Allowance, waitMs, without } from "./token-bucket.ts";

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
  /** What its request bodies will take, as far as can be foreseen; 0 where it has none, so that bandwidth is nothing to it. */
  readonly nextRequestBytes: number;
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
  /** Of its own bandwidth cap; undefined without one. */
  readonly cap: Allowance | undefined;
  /** Bytes that it is behind its minimum share: above 0, it goes before all others. */
  readonly shareOwedBytes: number;
}

export interface SchedulerEndpoint {
  /** In backoff: nothing starts before `retryAtMs`, and then one batch at a time until one succeeds. */
  readonly failing: boolean;
  readonly retryAtMs: number;
  readonly probeInFlight: boolean;
}

/** Why an exporter that has data does not start. */
export const Hold = {
  /** Its batch is neither full nor old enough. */
  Interval: "interval",
  /** It failed, or its endpoint did. */
  Backoff: "backoff",
  /** Its own bandwidth cap. */
  Cap: "cap",
  /** The bandwidth cap of all. */
  Bandwidth: "bandwidth",
  /** A better priority has data. */
  Priority: "priority",
  /** As many batches are in flight as may be. */
  Slots: "slots",
} as const;
export type Hold = (typeof Hold)[keyof typeof Hold];

export interface Held {
  readonly hold: Hold;
  /** Where time alone ends it. */
  readonly untilMs: number | undefined;
}

export interface Schedule {
  /** Keys of the exporters to start now, best first. */
  readonly start: readonly string[];
  /** When to look again although nothing happens; undefined if only an event can change the answer. */
  readonly wakeAtMs: number | undefined;
  /** Of those with data that are not in flight and do not start. */
  readonly held: ReadonlyMap<string, Held>;
}

export interface SchedulerInput {
  readonly exporters: readonly SchedulerExporter[];
  /** An endpoint that is not in the map has never failed. */
  readonly endpoints: ReadonlyMap<string, SchedulerEndpoint>;
  readonly slotsFree: number;
  /** Of the cap over all exporters; undefined without one. */
  readonly allowance?: Allowance | undefined;
  readonly nowMs: number;
}

export function schedule(input: SchedulerInput): Schedule {
  const turn = new Turn(input);
  const enabled = input.exporters.filter(({ disabled }) => !disabled);
  const owed = enabled.filter(
    ({ shareOwedBytes, inFlight, backlogMessages }) => shareOwedBytes > 0 && !inFlight && backlogMessages > 0,
  );
  for (const exporter of owed.sort(byDebt)) turn.offerShare(exporter);
  for (const exporter of enabled.sort(byPriorityThenWaiting)) turn.offer(exporter);
  return turn.result;
}

/** One decision in the making. */
class Turn {
  readonly #input: SchedulerInput;
  readonly #start: string[] = [];
  readonly #held = new Map<string, Held>();
  readonly #probed = new Set<string>();
  #allowance: Allowance | undefined;
  #wakeAtMs = Infinity;
  /** Nothing of worse priority starts. */
  #blockedBelow = Infinity;
  /** The bandwidth that comes in is for one that waits for it already: a smaller batch must not take it first. */
  #isBandwidthTaken = false;

  constructor(input: SchedulerInput) {
    this.#input = input;
    this.#allowance = input.allowance;
  }

  get result(): Schedule {
    const wakeAtMs = Number.isFinite(this.#wakeAtMs) ? this.#wakeAtMs : undefined;
    return { start: this.#start, wakeAtMs, held: this.#held };
  }

  /** Starts one that is behind its share whatever better ones have. Otherwise its priority decides. */
  offerShare(exporter: SchedulerExporter): void {
    if ((this.#heldByTime(exporter) ?? this.#heldByProbe(exporter)) === undefined)
      this.#startIfRoom(exporter);
  }

  offer(exporter: SchedulerExporter): void {
    const { key, priority } = exporter;
    const isFailing = this.#endpointOf(exporter)?.failing === true;
    if (exporter.inFlight || this.#start.includes(key)) {
      if (!isFailing && this.#hasMore(exporter)) this.#block(priority);
      return;
    }
    if (exporter.backlogMessages <= 0) return;
    const held = this.#heldByTime(exporter) ?? this.#heldByProbe(exporter);
    if (held !== undefined) {
      this.#held.set(key, held);
      return;
    }
    const inTheWay = priority > this.#blockedBelow ? heldBy(Hold.Priority) : this.#startIfRoom(exporter);
    if (inTheWay !== undefined) this.#held.set(key, inTheWay);
    // A failing endpoint holds back nobody: its probe may take minutes.
    if (!isFailing && (inTheWay !== undefined || this.#hasMore(exporter))) this.#block(priority);
  }

  /** By what time will end, the last of it to end. */
  #heldByTime(exporter: SchedulerExporter): Held | undefined {
    const { nowMs } = this.#input;
    const endpoint = this.#endpointOf(exporter);
    const retryAtMs = endpoint?.failing === true ? endpoint.retryAtMs : -Infinity;
    const holds: [Hold, number][] = [
      [Hold.Interval, fullOrOldAtMs(exporter)],
      [Hold.Backoff, Math.max(exporter.notBeforeMs, retryAtMs)],
      [Hold.Cap, nowMs + ownCapWaitMs(exporter, exporter.cap)],
    ];
    const [hold, untilMs] = holds.reduce((last, one) => (one[1] > last[1] ? one : last));
    if (untilMs <= nowMs) return undefined;
    // What a better priority blocks is looked at when that has sent.
    if (exporter.priority <= this.#blockedBelow) this.#wakeAtMs = Math.min(this.#wakeAtMs, untilMs);
    return { hold, untilMs };
  }

  /** While one batch probes a failing endpoint, the endpoint's others are still in backoff and hold back nobody. */
  #heldByProbe(exporter: SchedulerExporter): Held | undefined {
    const endpoint = this.#endpointOf(exporter);
    if (endpoint?.failing !== true) return undefined;
    return endpoint.probeInFlight || this.#probed.has(exporter.endpoint) ? heldBy(Hold.Backoff) : undefined;
  }

  /** @returns why there is none */
  #startIfRoom(exporter: SchedulerExporter): Held | undefined {
    const { slotsFree, nowMs } = this.#input;
    if (this.#start.length >= slotsFree) return heldBy(Hold.Slots);
    if (this.#allowance !== undefined && exporter.nextRequestBytes > 0) {
      const bandwidthMs = waitMs(this.#allowance, exporter.nextRequestBytes);
      if (bandwidthMs > 0 && !this.#isBandwidthTaken) {
        this.#isBandwidthTaken = true;
        this.#wakeAtMs = Math.min(this.#wakeAtMs, nowMs + bandwidthMs);
      }
      if (this.#isBandwidthTaken) return { hold: Hold.Bandwidth, untilMs: nowMs + bandwidthMs };
      this.#allowance = without(this.#allowance, exporter.nextRequestBytes);
    }
    this.#start.push(exporter.key);
    if (this.#endpointOf(exporter)?.failing === true) this.#probed.add(exporter.endpoint);
    return undefined;
  }

  /** Whether one that has a batch on its way, or starts one now, has an eligible one behind it. */
  #hasMore(exporter: SchedulerExporter): boolean {
    const { inFlight, backlogMessages, nextBatchMessages, batchSize, batchIntervalMs, cap } = exporter;
    const { nowMs } = this.#input;
    if (inFlight) {
      const isDue = fullOrOldAtMs(exporter) <= nowMs && exporter.notBeforeMs <= nowMs;
      return backlogMessages > 0 && isDue && ownCapWaitMs(exporter, cap) === 0;
    }
    const left = backlogMessages - nextBatchMessages;
    if (batchIntervalMs === undefined ? left <= 0 : left < batchSize) return false;
    return ownCapWaitMs(exporter, cap && without(cap, exporter.nextRequestBytes)) === 0;
  }

  #endpointOf({ endpoint }: SchedulerExporter): SchedulerEndpoint | undefined {
    return this.#input.endpoints.get(endpoint);
  }

  #block(priority: number): void {
    this.#blockedBelow = Math.min(this.#blockedBelow, priority);
  }
}

function heldBy(hold: Hold): Held {
  return { hold, untilMs: undefined };
}

/** When its batch is full or old enough, whichever is first. */
function fullOrOldAtMs(exporter: SchedulerExporter): number {
  const { backlogMessages, batchSize, batchIntervalMs, oldestArrivalMs, resumesBatch } = exporter;
  const waitsForMore = batchIntervalMs !== undefined && !resumesBatch && backlogMessages < batchSize;
  return waitsForMore ? oldestArrivalMs + batchIntervalMs : -Infinity;
}

function ownCapWaitMs({ nextRequestBytes }: SchedulerExporter, cap: Allowance | undefined): number {
  return cap === undefined ? 0 : waitMs(cap, nextRequestBytes);
}

function byDebt(one: SchedulerExporter, other: SchedulerExporter): number {
  return other.shareOwedBytes - one.shareOwedBytes;
}

function byPriorityThenWaiting(one: SchedulerExporter, other: SchedulerExporter): number {
  return one.priority - other.priority || one.lastStartMs - other.lastStartMs;
}
