import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { after, before, test } from "node:test";
import {
  CreateStreamCommand,
  GetRecordsCommand,
  GetShardIteratorCommand,
  KinesisClient,
  ListShardsCommand,
} from "@aws-sdk/client-kinesis";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import { systemRandom } from "../../../src/core/random.ts";
import { KinesisDestination } from "../../../src/export/destinations/kinesis.ts";
import { numbered, useKinesisEndpoint } from "../../support/export-bench.ts";
import { freePort } from "../../../bench/free-port.ts";

const SHARDS = 3;
const root = path.join(import.meta.dirname, "..", "..", "..", "..");
const script = path.join(root, "node_modules", "kinesalite", "cli.js");
let emulator: ChildProcess;
let client: KinesisClient;

before(async () => {
  const port = await freePort();
  const args = [script, "--port", String(port), "--createStreamMs", "10"];
  emulator = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  await once(emulator.stdout!, "data");
  useKinesisEndpoint(`http://127.0.0.1:${port}`);
  client = new KinesisClient({ requestHandler: new NodeHttpHandler(), maxAttempts: 1 });
  for (const StreamName of ["random", "fixed", "pointed"]) {
    await client.send(new CreateStreamCommand({ StreamName, ShardCount: SHARDS }));
    for (let shards = 0; shards < SHARDS;) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      shards = (await client.send(new ListShardsCommand({ StreamName }))).Shards?.length ?? 0;
    }
  }
});

after(async () => {
  client.destroy();
  emulator.kill("SIGKILL");
  await once(emulator, "exit");
});

interface Stored {
  readonly shard: string;
  readonly key: string;
  readonly text: string;
}

async function readAll(StreamName: string): Promise<Stored[]> {
  const stored: Stored[] = [];
  const { Shards = [] } = await client.send(new ListShardsCommand({ StreamName }));
  for (const { ShardId = "" } of Shards) {
    const { ShardIterator } = await client.send(
      new GetShardIteratorCommand({ StreamName, ShardId, ShardIteratorType: "TRIM_HORIZON" }),
    );
    const { Records = [] } = await client.send(new GetRecordsCommand({ ShardIterator }));
    for (const { Data, PartitionKey = "" } of Records)
      stored.push({ shard: ShardId, key: PartitionKey, text: Buffer.from(Data ?? []).toString() });
  }
  return stored;
}

/** Sends to the Kinesis stream of that name. @returns what it holds then */
async function send(
  kinesisStreamName: string,
  { partitionKey, texts }: { partitionKey: string; texts: readonly string[] },
): Promise<Stored[]> {
  const destination = await KinesisDestination.load({ random: systemRandom });
  const settings = { kind: "kinesis", kinesisStreamName, partitionKey } as const;
  const records = texts.map((text, sequence) => ({ sequence, ingestTimeMs: 1, data: Buffer.from(text) }));
  // Asked for in earnest: the answer must not stand in the way, whatever an emulator makes of it.
  await destination.learnLimits(settings);
  const outcome = await destination.send(settings, records);
  destination.close();
  assert.equal(outcome.kind, "answered", JSON.stringify(outcome));
  assert.deepEqual(outcome.failed, []);
  return readAll(kinesisStreamName);
}

test("KinesisDestination stores every payload unchanged in kinesalite, spread over the shards", async () => {
  const texts = [...numbered(100), "ünïcode ✓", "\u0000binary\u0001", "x".repeat(900_000)];
  const stored = await send("random", { partitionKey: "random", texts });
  assert.deepEqual(stored.map(({ text }) => text).sort(), [...texts].sort());
  assert.equal(new Set(stored.map(({ shard }) => shard)).size, SHARDS);
});

test("KinesisDestination keeps everything in one shard and in order in kinesalite under a fixed key", async () => {
  const stored = await send("fixed", { partitionKey: "fixed:größe", texts: numbered(100) });
  assert.deepEqual(
    stored.map(({ text }) => text),
    numbered(100),
  );
  assert.deepEqual([...new Set(stored.map(({ key }) => key))], ["größe"]);
});

test("KinesisDestination gives messages of one value one key in kinesalite", async () => {
  const texts = Array.from({ length: 60 }, (_, index) => JSON.stringify({ site: `s${index % 5}`, index }));
  const stored = await send("pointed", { partitionKey: "pointer:/site", texts });
  assert.equal(stored.length, texts.length);
  for (const { key, text } of stored) assert.equal(key, (JSON.parse(text) as { site: string }).site);
});
