import type { Clock } from "../../core/clock.ts";
import {
  KINESIS_FACTS_MS_MIN,
  KINESIS_RECORDS_MAX,
  KINESIS_RECORD_BYTES_MAX,
  KINESIS_REQUEST_BYTES_MAX,
  KINESIS_REQUEST_BYTES_MAX_WITH_LARGE_RECORDS,
} from "../../core/kinesis-limits.ts";
import type { DestinationLimits } from "./destination.ts";
import { ThrottlePace } from "./throttle-pace.ts";

const KIB = 1024;

/** What DescribeStreamSummary tells of a Kinesis stream. */
export interface KinesisFacts {
  readonly shards: number | undefined;
  readonly recordBytesMax: number | undefined;
}

/** Asks for the facts. @returns "denied" where we may not ask, undefined where asking failed and may be tried again */
export type AskForFacts = () => Promise<KinesisFacts | "denied" | undefined>;

/**
 * What is known of one Kinesis stream. PutRecords alone may be granted, so nothing waits for the facts but what cannot be
 * sent without them, and nobody asks again after a denial.
 */
export class KinesisStream {
  readonly pace = new ThrottlePace();
  readonly #ask: AskForFacts;
  readonly #clock: Clock;
  #facts: KinesisFacts | undefined;
  #isDenied = false;
  #askAgainAtMs = -Infinity;
  #asking: Promise<void> | undefined;

  constructor(ask: AskForFacts, clock: Clock) {
    this.#ask = ask;
    this.#clock = clock;
  }

  get shards(): number | undefined {
    return this.#facts?.shards;
  }

  /** For records whose keys take `keyBytes` at most. */
  limits(keyBytes: number): DestinationLimits {
    const recordBytesMax = Math.max(KINESIS_RECORD_BYTES_MAX, this.#facts?.recordBytesMax ?? 0);
    const takesLarge = recordBytesMax > KINESIS_RECORD_BYTES_MAX;
    return {
      recordsMax: KINESIS_RECORDS_MAX,
      requestBytesMax: takesLarge ? KINESIS_REQUEST_BYTES_MAX_WITH_LARGE_RECORDS : KINESIS_REQUEST_BYTES_MAX,
      recordBytesMax,
      recordOverheadBytes: keyBytes,
    };
  }

  /** Resolves when the facts are known, or will not be for a while. */
  async learn(): Promise<void> {
    if (this.#isDenied || this.#clock.monotonicMs() < this.#askAgainAtMs) return;
    this.#asking ??= this.#askNow().finally(() => (this.#asking = undefined));
    await this.#asking;
  }

  async #askNow(): Promise<void> {
    const answer = await this.#ask();
    this.#askAgainAtMs = this.#clock.monotonicMs() + KINESIS_FACTS_MS_MIN;
    if (answer === "denied") this.#isDenied = true;
    else this.#facts = answer ?? this.#facts;
  }
}

/** The facts in an answer of DescribeStreamSummary. */
export function factsOf(summary: {
  readonly OpenShardCount?: number | undefined;
  readonly MaxRecordSizeInKiB?: number | undefined;
}): KinesisFacts {
  const { OpenShardCount: shards, MaxRecordSizeInKiB: recordKib } = summary;
  return {
    shards: shards !== undefined && shards > 0 ? shards : undefined,
    recordBytesMax: recordKib === undefined ? undefined : recordKib * KIB,
  };
}
