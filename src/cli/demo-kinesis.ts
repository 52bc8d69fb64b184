import {
  CreateStreamCommand,
  DescribeStreamSummaryCommand,
  GetRecordsCommand,
  GetShardIteratorCommand,
  KinesisClient,
  ListShardsCommand,
} from "@aws-sdk/client-kinesis";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import { setTimeout as sleep } from "node:timers/promises";

/** A Kinesis, real or emulated, and how to be let in: without credentials the SDK looks for them where it always does. */
export interface KinesisAccess {
  readonly endpoint: string;
  readonly region: string;
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
}

const REQUEST_TIMEOUT_MS = 30_000;
const STATUS_INTERVAL_MS = 50;
const ACTIVE_DEADLINE_MS = 10_000;
/** A shard gives five answers a second to its readers; the emulator does not count. */
const READ_INTERVAL_MS = 220;

export function openKinesis({ endpoint, region, credentials }: KinesisAccess): KinesisClient {
  return new KinesisClient({
    endpoint,
    region,
    ...(credentials && { credentials }),
    requestHandler: new NodeHttpHandler({ requestTimeout: REQUEST_TIMEOUT_MS }),
  });
}

/** Makes a stream and waits until it can be used. */
export async function createKinesisStream(
  client: KinesisClient,
  { name, shardCount }: { name: string; shardCount: number },
): Promise<void> {
  await client.send(new CreateStreamCommand({ StreamName: name, ShardCount: shardCount }));
  for (let waitedMs = 0; waitedMs < ACTIVE_DEADLINE_MS; waitedMs += STATUS_INTERVAL_MS) {
    const { StreamDescriptionSummary } = await client.send(
      new DescribeStreamSummaryCommand({ StreamName: name }),
    );
    if (StreamDescriptionSummary?.StreamStatus === "ACTIVE") return;
    await sleep(STATUS_INTERVAL_MS);
  }
  throw new Error(`Kinesis stream "${name}" is not ready after ${ACTIVE_DEADLINE_MS} ms`);
}

/** @throws when the stream cannot be read here: better now than after the run */
export async function checkKinesisStream(
  client: KinesisClient,
  { name, endpoint }: { name: string; endpoint: string },
): Promise<void> {
  try {
    await client.send(new ListShardsCommand({ StreamName: name }));
  } catch (error) {
    const reason = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    throw new Error(
      `Cannot use Kinesis stream "${name}" at ${endpoint}: ${reason}. ` +
        `To make it: aws kinesis create-stream --stream-name ${name} --shard-count 1`,
      { cause: error },
    );
  }
}

export interface ReadBackOptions {
  readonly name: string;
  /** Unix milliseconds; older records are left alone. */
  readonly sinceMs: number;
  readonly isPaced: boolean;
  readonly onShard: () => void;
  readonly onRecord: (payload: Uint8Array) => void;
}

/** Reads every record of a stream from all its shards, up to the newest. */
export async function readBack(client: KinesisClient, options: ReadBackOptions): Promise<void> {
  for (const shardId of await listShards(client, options)) {
    options.onShard();
    await readShard(client, shardId, options);
  }
}

async function listShards(client: KinesisClient, { name }: ReadBackOptions): Promise<string[]> {
  const shardIds: string[] = [];
  let nextToken: string | undefined;
  do {
    const page = await client.send(
      new ListShardsCommand(nextToken === undefined ? { StreamName: name } : { NextToken: nextToken }),
    );
    for (const { ShardId } of page.Shards ?? []) if (ShardId !== undefined) shardIds.push(ShardId);
    nextToken = page.NextToken;
  } while (nextToken !== undefined);
  return shardIds;
}

async function readShard(client: KinesisClient, shardId: string, options: ReadBackOptions): Promise<void> {
  const { name, sinceMs, isPaced, onRecord } = options;
  const start = await client.send(
    new GetShardIteratorCommand({
      StreamName: name,
      ShardId: shardId,
      ShardIteratorType: "AT_TIMESTAMP",
      Timestamp: new Date(sinceMs),
    }),
  );
  let iterator = start.ShardIterator;
  while (iterator !== undefined) {
    const page = await client.send(new GetRecordsCommand({ ShardIterator: iterator }));
    const records = page.Records ?? [];
    for (const { Data } of records) onRecord(Data ?? new Uint8Array(0));
    // Kinesis may give an empty page in the middle of a shard; one that is not behind is the end.
    if (records.length === 0 && (page.MillisBehindLatest ?? 0) === 0) return;
    iterator = page.NextShardIterator;
    if (isPaced) await sleep(READ_INTERVAL_MS);
  }
}
