import type { KinesisClient, PutRecordsCommand } from "@aws-sdk/client-kinesis";
import type { Random } from "../../core/random.ts";
import { assert } from "../../core/assert.ts";
import {
  KINESIS_RECORDS_MAX,
  KINESIS_RECORD_BYTES_MAX,
  KINESIS_REQUEST_BYTES_MAX,
} from "../../core/limits.ts";
import type { DestinationSettings } from "../exporter-settings.ts";
import type { DestinationEnvironment } from "../worker-settings.ts";
import type { Destination, DestinationLimits, ExportRecord, SendOutcome } from "./destination.ts";
import { classifyKinesisError } from "./kinesis-errors.ts";

const UUID_BYTES = 16;
const PARTITION_KEY_BYTES = 36;

const limits: DestinationLimits = {
  recordsMax: KINESIS_RECORDS_MAX,
  requestBytesMax: KINESIS_REQUEST_BYTES_MAX,
  recordBytesMax: KINESIS_RECORD_BYTES_MAX,
  recordOverheadBytes: PARTITION_KEY_BYTES,
};

export interface KinesisOptions {
  readonly random: Random;
  readonly environment?: DestinationEnvironment;
  readonly requestTimeoutMs?: number;
}

/**
 * Kinesis Data Streams: one PutRecords per batch, one record per message, the payload unchanged, a fresh random UUID as
 * partition key. Region and endpoint come from the SDK's own chain and variables, credentials as aws-client-settings.ts says.
 */
export class KinesisDestination implements Destination {
  readonly #client: KinesisClient;
  readonly #putRecords: typeof PutRecordsCommand;
  readonly #random: Random;

  private constructor(
    client: KinesisClient,
    putRecords: typeof PutRecordsCommand,
    { random }: KinesisOptions,
  ) {
    this.#client = client;
    this.#putRecords = putRecords;
    this.#random = random;
  }

  /** Imports the SDK: 21 MiB and 140 ms, so only when the first batch is to be sent, and never on the main thread. */
  static async load(options: KinesisOptions): Promise<KinesisDestination> {
    const { KinesisClient, PutRecordsCommand } = await import("@aws-sdk/client-kinesis");
    const { awsClientSettings } = await import("./aws-client-settings.ts");
    const client = new KinesisClient(awsClientSettings(options));
    return new KinesisDestination(client, PutRecordsCommand, options);
  }

  limitsFor(): DestinationLimits {
    return limits;
  }

  async send(settings: DestinationSettings, records: readonly ExportRecord[]): Promise<SendOutcome> {
    assert(settings.kind === "kinesis", `a ${settings.kind} batch cannot go to Kinesis`);
    const { kinesisStreamName } = settings;
    const keys = partitionKeys(this.#random, records.length);
    try {
      const answer = await this.#client.send(
        new this.#putRecords({
          StreamName: kinesisStreamName,
          Records: records.map(({ data }, index) => ({ Data: data, PartitionKey: keys[index] })),
        }),
      );
      return judge(answer.Records ?? [], records.length);
    } catch (error) {
      return classifyKinesisError(error, kinesisStreamName);
    }
  }

  close(): void {
    this.#client.destroy();
  }
}

/** Judges a PutRecords answer record by record: a 200 can hold failures. */
function judge(
  results: readonly {
    ErrorCode?: string | undefined;
    ErrorMessage?: string | undefined;
    SequenceNumber?: string | undefined;
  }[],
  recordCount: number,
): SendOutcome {
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

/** `count` random UUIDs (version 4), from one draw. */
function partitionKeys(random: Random, count: number): string[] {
  const bytes = random.bytes(count * UUID_BYTES);
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");
  const keys: string[] = [];
  for (let index = 0; index < count; index += 1) {
    const at = index * UUID_BYTES * 2;
    const variant = "89ab"[bytes[index * UUID_BYTES + 8]! & 3]!;
    keys.push(
      `${hex.slice(at, at + 8)}-${hex.slice(at + 8, at + 12)}-4${hex.slice(at + 13, at + 16)}-` +
        `${variant}${hex.slice(at + 17, at + 20)}-${hex.slice(at + 20, at + 32)}`,
    );
  }
  return keys;
}
