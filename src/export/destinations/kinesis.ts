import { BoundedMap } from "../../core/bounded-map.ts";
import { type Clock, systemClock } from "../../core/clock.ts";
import { EXPORT_REMEMBERED_MAX } from "../../core/limits.ts";
import type { Random } from "../../core/random.ts";
import { assert } from "../../core/assert.ts";
import type { DestinationSettings } from "../exporter-settings.ts";
import { type DestinationEnvironment, destinationEnvironmentDefault } from "../worker-settings.ts";
import type { Destination, DestinationLimits, ExportRecord, SendOutcome } from "./destination.ts";
import { PutRecordsClient } from "./kinesis-client.ts";
import { classifyKinesisError } from "./kinesis-errors.ts";
import { KinesisStream } from "./kinesis-stream.ts";
import { type PartitionKeys, partitionKeysOf } from "./partition-keys.ts";
import { putRecordsBody, type PutRecordsResult } from "./put-records-body.ts";

/** Of a record; the other error of one is InternalFailure. */
const THROTTLED = "ProvisionedThroughputExceededException";

export interface KinesisOptions {
  readonly random: Random;
  readonly environment?: DestinationEnvironment;
  readonly progressMsMax?: number;
  readonly clock?: Clock;
}

/** A request that was built before it was its turn. */
interface BuiltRequest {
  readonly body: Buffer;
  readonly fallbackCount: number;
}

type KinesisSettings = DestinationSettings & { readonly kind: "kinesis" };

/**
 * Kinesis Data Streams: one PutRecords per batch, one record per message, the payload unchanged, the partition key as the
 * exporter's options say. Region and endpoint come from the SDK's own chain and variables, credentials as
 * aws-client-settings.ts says.
 */
export class KinesisDestination implements Destination {
  readonly #client: PutRecordsClient;
  readonly #random: Random;
  readonly #clock: Clock;
  readonly #callDelayMs: number;
  readonly #streams = new BoundedMap<string, KinesisStream>(EXPORT_REMEMBERED_MAX);
  readonly #keys = new BoundedMap<string, PartitionKeys>(EXPORT_REMEMBERED_MAX);
  readonly #built = new WeakMap<readonly ExportRecord[], BuiltRequest>();

  private constructor(client: PutRecordsClient, options: KinesisOptions) {
    const { random, clock = systemClock, environment = destinationEnvironmentDefault } = options;
    this.#client = client;
    this.#random = random;
    this.#clock = clock;
    this.#callDelayMs = environment.kinesisInterCallDelayMs;
  }

  static async load(options: KinesisOptions): Promise<KinesisDestination> {
    return new KinesisDestination(await PutRecordsClient.load(options), options);
  }

  limitsFor(settings: DestinationSettings): DestinationLimits {
    const { kinesisStreamName, partitionKey } = kinesisOnly(settings);
    return this.#stream(kinesisStreamName).limits(this.#keysOf(partitionKey).bytesMax);
  }

  async learnLimits(settings: DestinationSettings): Promise<void> {
    await this.#stream(kinesisOnly(settings).kinesisStreamName).learn();
  }

  prepare(settings: DestinationSettings, records: readonly ExportRecord[]): void {
    if (!this.#built.has(records)) this.#built.set(records, this.#build(kinesisOnly(settings), records));
  }

  async send(settings: DestinationSettings, records: readonly ExportRecord[]): Promise<SendOutcome> {
    const kinesis = kinesisOnly(settings);
    const { kinesisStreamName } = kinesis;
    const { body, fallbackCount } = this.#built.get(records) ?? this.#build(kinesis, records);
    const requestBytes = body.length;
    try {
      const results = await this.#client.put(kinesisStreamName, body);
      const judged = judge(results, records.length);
      if (judged.kind !== "answered") return { ...judged, requestBytes };
      const throttledMs = this.#notePace(kinesisStreamName, { records, results, failed: judged.failed });
      const pauseMs = Math.max(this.#callDelayMs, throttledMs);
      const told = { ...(pauseMs > 0 && { pauseMs }), ...(fallbackCount > 0 && { fallbackCount }) };
      return { ...judged, ...told, requestBytes };
    } catch (error) {
      return { ...classifyKinesisError(error, kinesisStreamName), requestBytes };
    }
  }

  close(): void {
    this.#client.close();
  }

  #build(
    { kinesisStreamName, partitionKey }: KinesisSettings,
    records: readonly ExportRecord[],
  ): BuiltRequest {
    const { keys, fallbackCount } = this.#keysOf(partitionKey).choose(records, this.#random);
    return { body: putRecordsBody(kinesisStreamName, records, keys), fallbackCount };
  }

  /** @returns for how long nothing more should be sent to the stream, in ms */
  #notePace(
    kinesisStreamName: string,
    answer: {
      readonly records: readonly ExportRecord[];
      readonly results: readonly PutRecordsResult[];
      readonly failed: readonly number[];
    },
  ): number {
    const { records, results, failed } = answer;
    const stream = this.#stream(kinesisStreamName);
    const throttledRecords = failed.filter((index) => results[index]?.ErrorCode === THROTTLED).length;
    // For the next time; this answer has to do without.
    if (throttledRecords > 0) void stream.learn();
    const sentBytes = records.reduce((sum, { data }) => sum + data.length, 0);
    const failedBytes = failed.reduce((sum, index) => sum + records[index]!.data.length, 0);
    return stream.pace.note({
      acceptedRecords: records.length - failed.length,
      acceptedBytes: sentBytes - failedBytes,
      throttledRecords,
      sentBytes,
      nowMs: this.#clock.monotonicMs(),
      shards: stream.shards,
    });
  }

  #stream(kinesisStreamName: string): KinesisStream {
    let stream = this.#streams.get(kinesisStreamName);
    if (stream === undefined) {
      stream = new KinesisStream(() => this.#client.describe(kinesisStreamName), this.#clock);
      this.#streams.set(kinesisStreamName, stream);
    }
    return stream;
  }

  #keysOf(partitionKey: string): PartitionKeys {
    let keys = this.#keys.get(partitionKey);
    if (keys === undefined) {
      keys = partitionKeysOf(partitionKey);
      this.#keys.set(partitionKey, keys);
    }
    return keys;
  }
}

function kinesisOnly(settings: DestinationSettings): KinesisSettings {
  assert(settings.kind === "kinesis", `a ${settings.kind} batch cannot go to Kinesis`);
  return settings;
}

/** Judges a PutRecords answer record by record: a 200 can hold failures. */
function judge(results: readonly PutRecordsResult[], recordCount: number): SendOutcome {
  if (results.length !== recordCount) {
    const error = `PutRecords answered for ${results.length} of ${recordCount} records`;
    return { kind: "failed", scope: "endpoint", pace: "backoff", timedOut: false, error };
  }
  const failed: number[] = [];
  let error = "";
  results.forEach((result, index) => {
    // A record counts as stored only if the answer says where: neither an error nor a silence does.
    if (result.ErrorCode === undefined && result.SequenceNumber !== undefined) return;
    failed.push(index);
    error = `${result.ErrorCode ?? "no sequence number"}: ${result.ErrorMessage ?? "no message"}`;
  });
  if (failed.length > 0) error = `${failed.length} of ${recordCount} records failed, the last with ${error}`;
  return { kind: "answered", failed, error };
}
