import { KINESIS_SHARD_BYTES_PER_S, KINESIS_SHARD_RECORDS_PER_S } from "../../core/kinesis-limits.ts";

/** What one answer said of a request. */
export interface PacedAnswer {
  readonly acceptedRecords: number;
  readonly acceptedBytes: number;
  /** Records that failed because there were too many. */
  readonly throttledRecords: number;
  readonly sentBytes: number;
  readonly nowMs: number;
  /** Of the Kinesis stream, if that may be asked. */
  readonly shards: number | undefined;
}

/** After a throttled request the rate is so much of what it was, or of what came through. */
const DECREASE = 0.7;
/** Shards' worth that a second without throttling adds. */
const INCREASE_PER_S = 0.2;
const RATE_MIN = 0.05;
/** A rate that held nothing back for so long is forgotten. */
const FORGET_MS = 60_000;
/** What came through is counted over no less: a burst says little about a rate. */
const OBSERVED_MS_MIN = 250;
const OBSERVED_MS_MAX = 5000;

/**
 * How fast one Kinesis stream is written to once it has throttled: additive increase, multiplicative decrease. The unit is a
 * shard, which takes 1,000 records and 1 MiB a second, so that one rate bounds both. Before the first throttled record
 * nothing is held back. Other writers to the stream are not known; their share shows as throttling.
 */
export class ThrottlePace {
  /** Shards' worth a second; undefined while nothing is held back. */
  #rate: number | undefined;
  #rateSinceMs = 0;
  #throttledAtMs = -Infinity;
  /** The bucket is empty until then. */
  #freeAtMs = 0;
  /** What came through since `#observedFromMs`. */
  #observed = 0;
  #observedFromMs = -Infinity;

  get shardsPerSecond(): number | undefined {
    return this.#rate;
  }

  /** Takes in an answer. @returns for how long nothing more should be sent, in ms */
  note(answer: PacedAnswer): number {
    const { acceptedRecords, acceptedBytes, throttledRecords, nowMs } = answer;
    if (nowMs - this.#observedFromMs > OBSERVED_MS_MAX) {
      this.#observed = 0;
      this.#observedFromMs = nowMs;
    }
    this.#observed += shardSeconds(acceptedRecords, acceptedBytes);
    if (throttledRecords > 0) this.#slowDown(answer);
    else this.#speedUp(nowMs);
    if (this.#rate === undefined) return 0;
    const sent = shardSeconds(acceptedRecords + throttledRecords, answer.sentBytes);
    this.#freeAtMs = Math.max(this.#freeAtMs, nowMs - 1000) + (1000 * sent) / this.#rate;
    return Math.max(0, Math.ceil(this.#freeAtMs - nowMs));
  }

  #slowDown({ nowMs, shards }: PacedAnswer): void {
    const elapsedMs = Math.max(OBSERVED_MS_MIN, nowMs - this.#observedFromMs);
    const observed = (1000 * this.#observed) / elapsedMs;
    // The first time: what the stream is made for, if known, and what came through otherwise.
    const before = this.#rate ?? shards ?? observed;
    const rate = this.#rate === undefined && shards !== undefined ? shards : before * DECREASE;
    this.#rate = Math.max(RATE_MIN, rate);
    this.#rateSinceMs = nowMs;
    this.#throttledAtMs = nowMs;
    this.#freeAtMs = Math.max(this.#freeAtMs, nowMs);
    this.#observed = 0;
    this.#observedFromMs = nowMs;
  }

  #speedUp(nowMs: number): void {
    if (this.#rate === undefined) return;
    if (nowMs - this.#throttledAtMs >= FORGET_MS) {
      this.#rate = undefined;
      this.#freeAtMs = 0;
      return;
    }
    this.#rate += (INCREASE_PER_S * (nowMs - this.#rateSinceMs)) / 1000;
    this.#rateSinceMs = nowMs;
  }
}

function shardSeconds(records: number, bytes: number): number {
  return Math.max(records / KINESIS_SHARD_RECORDS_PER_S, bytes / KINESIS_SHARD_BYTES_PER_S);
}
