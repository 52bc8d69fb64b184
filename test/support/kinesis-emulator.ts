import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { setTimeout as after } from "node:timers/promises";
import {
  CreateStreamCommand,
  GetRecordsCommand,
  GetShardIteratorCommand,
  KinesisClient,
  ListShardsCommand,
} from "@aws-sdk/client-kinesis";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import { freePort } from "../../bench/free-port.ts";
import type { CleanUp } from "./program.ts";

const packages = path.join(import.meta.dirname, "..", "..", "..", "node_modules");
const START_DEADLINE_MS = 30_000;

/** A record as an emulator keeps it. */
export interface StoredRecord {
  readonly shardId: string;
  readonly partitionKey: string;
  readonly text: string;
}

/** `kinesalite` is quick and small. `kinesis-local` takes a second to start, up to 1.6 GB, and 900 records a second. */
export type EmulatorName = "kinesalite" | "kinesis-local";

/** An emulator of Kinesis that others have written, in a process of its own. */
export class KinesisEmulator {
  readonly url: string;
  readonly #client: KinesisClient;
  /** By stream and shard, behind what was read. */
  readonly #iterators = new Map<string, string | undefined>();
  readonly #read = new Map<string, StoredRecord[]>();

  private constructor(url: string) {
    this.url = url;
    this.#client = new KinesisClient({
      endpoint: url,
      region: "us-east-1",
      credentials: { accessKeyId: "test", secretAccessKey: "test" },
      requestHandler: new NodeHttpHandler(),
      maxAttempts: 1,
    });
  }

  static async start(t: CleanUp, name: EmulatorName): Promise<KinesisEmulator> {
    process.env["AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED"] = "true";
    const port = await freePort();
    const child = name === "kinesalite" ? spawnKinesalite(port) : await spawnKinesisLocal(port);
    const emulator = new KinesisEmulator(`http://127.0.0.1:${port}`);
    t.after(async () => {
      emulator.#client.destroy();
      child.kill("SIGKILL");
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    });
    await emulator.#untilShards(undefined, child);
    return emulator;
  }

  async createStream(streamName: string, shardCount: number): Promise<void> {
    await this.#client.send(new CreateStreamCommand({ StreamName: streamName, ShardCount: shardCount }));
    await this.#untilShards(streamName);
  }

  /** All that a stream holds, shard by shard in order. */
  async recordsOf(streamName: string): Promise<readonly StoredRecord[]> {
    const { Shards = [] } = await this.#client.send(new ListShardsCommand({ StreamName: streamName }));
    const records: StoredRecord[] = [];
    for (const { ShardId = "" } of Shards) records.push(...(await this.#recordsOfShard(streamName, ShardId)));
    return records;
  }

  async #recordsOfShard(StreamName: string, ShardId: string): Promise<readonly StoredRecord[]> {
    const key = `${StreamName}/${ShardId}`;
    const read = this.#read.get(key) ?? [];
    this.#read.set(key, read);
    let iterator = this.#iterators.get(key);
    if (iterator === undefined) {
      const request = { StreamName, ShardId, ShardIteratorType: "TRIM_HORIZON" } as const;
      iterator = (await this.#client.send(new GetShardIteratorCommand(request))).ShardIterator;
    }
    const { Records = [], NextShardIterator } = await this.#client.send(
      new GetRecordsCommand({ ShardIterator: iterator }),
    );
    this.#iterators.set(key, NextShardIterator);
    for (const { Data, PartitionKey: partitionKey = "" } of Records) {
      read.push({ shardId: ShardId, partitionKey, text: Buffer.from(Data ?? []).toString() });
    }
    return read;
  }

  /** Until the stream is there, or, without one, until somebody answers. */
  async #untilShards(streamName: string | undefined, child?: ChildProcess): Promise<void> {
    const deadlineMs = Date.now() + START_DEADLINE_MS;
    for (;;) {
      try {
        const StreamName = streamName ?? "nobody-has-made-it";
        const { Shards = [] } = await this.#client.send(new ListShardsCommand({ StreamName }));
        if (Shards.length > 0) return;
      } catch (error) {
        if (streamName === undefined && (error as Error).name === "ResourceNotFoundException") return;
        const hasEnded = child !== undefined && child.exitCode !== null;
        if (hasEnded || Date.now() > deadlineMs) throw error;
      }
      await after(10);
    }
  }
}

function spawnKinesalite(port: number): ChildProcess {
  const options = ["--port", String(port), "--createStreamMs", "1", "--shardLimit", "1000"];
  return spawn(process.execPath, [path.join(packages, "kinesalite", "cli.js"), ...options], {
    stdio: ["ignore", "ignore", "inherit"],
  });
}

async function spawnKinesisLocal(port: number): Promise<ChildProcess> {
  const directory = path.join(packages, "kinesis-local");
  const env = {
    ...process.env,
    KINESIS_MOCK_PLAIN_PORT: String(port),
    KINESIS_MOCK_TLS_PORT: String(await freePort()),
    KINESIS_MOCK_CERT_PATH: path.join(directory, "server.json"),
    CREATE_STREAM_DURATION: "10ms",
  };
  return spawn(process.execPath, [path.join(directory, "main.js")], { env, stdio: "ignore" });
}
