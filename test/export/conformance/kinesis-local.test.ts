import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { after, before, test } from "node:test";
import {
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

const root = path.join(import.meta.dirname, "..", "..", "..", "..");
const packageDirectory = path.join(root, "node_modules", "kinesis-local");
let emulator: ChildProcess;
let client: KinesisClient;

before(async () => {
  const [plainPort, tlsPort] = [await freePort(), await freePort()];
  emulator = spawn(process.execPath, [path.join(packageDirectory, "main.js")], {
    env: {
      ...process.env,
      KINESIS_MOCK_PLAIN_PORT: String(plainPort),
      KINESIS_MOCK_TLS_PORT: String(tlsPort),
      KINESIS_MOCK_CERT_PATH: path.join(packageDirectory, "server.json"),
      INITIALIZE_STREAMS: "target:2",
      CREATE_STREAM_DURATION: "10ms",
    },
    stdio: "ignore",
  });
  const url = `http://127.0.0.1:${plainPort}`;
  useKinesisEndpoint(url);
  client = new KinesisClient({ requestHandler: new NodeHttpHandler(), maxAttempts: 100 });
  for (;;) {
    try {
      const { Shards } = await client.send(new ListShardsCommand({ StreamName: "target" }));
      if (Shards?.length === 2) return;
    } catch (error) {
      assert.ok(emulator.exitCode === null, `kinesis-local ended: ${String(error)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
});

after(async () => {
  client.destroy();
  emulator.kill("SIGKILL");
  await once(emulator, "exit");
});

async function readAll(): Promise<string[]> {
  const payloads: string[] = [];
  const { Shards = [] } = await client.send(new ListShardsCommand({ StreamName: "target" }));
  for (const { ShardId } of Shards) {
    const iterator = await client.send(
      new GetShardIteratorCommand({ StreamName: "target", ShardId, ShardIteratorType: "TRIM_HORIZON" }),
    );
    const { Records = [] } = await client.send(
      new GetRecordsCommand({ ShardIterator: iterator.ShardIterator }),
    );
    payloads.push(...Records.map(({ Data }) => Buffer.from(Data ?? []).toString()));
  }
  return payloads;
}

test("KinesisDestination stores every payload unchanged in kinesis-local, spread over the shards", async () => {
  const destination = await KinesisDestination.load({ random: systemRandom });
  const payloads = [...numbered(40), "ünïcode ✓", "\u0000binary\u0001"];
  const records = payloads.map((text, index) => ({
    sequence: index,
    ingestTimeMs: 1,
    data: Buffer.from(text),
  }));
  const outcome = await destination.send(
    { kind: "kinesis", kinesisStreamName: "target", partitionKey: "random" },
    records,
  );
  destination.close();
  const { requestBytes = 0, ...answer } = outcome;
  assert.deepEqual(answer, { kind: "answered", failed: [], error: "" });
  assert.ok(requestBytes > Buffer.byteLength(payloads.join("")), `a body of ${requestBytes} bytes`);
  assert.deepEqual((await readAll()).sort(), [...payloads].sort());
});

test("KinesisDestination says which stream is missing in kinesis-local and asks for a retry", async () => {
  const destination = await KinesisDestination.load({ random: systemRandom });
  const record = { sequence: 0, ingestTimeMs: 1, data: Buffer.from("x") };
  const outcome = await destination.send(
    { kind: "kinesis", kinesisStreamName: "absent", partitionKey: "random" },
    [record],
  );
  destination.close();
  assert.ok(outcome.requestBytes !== undefined, "its bytes are counted although it failed");
  assert.deepEqual(outcome, {
    requestBytes: outcome.requestBytes,
    kind: "failed",
    scope: "exporter",
    pace: "backoff",
    timedOut: false,
    error: "export stream absent doesn't exist",
  });
});

test("KinesisDestination learns from kinesis-local that a stream name is invalid: a refusal, not a failure", async () => {
  const destination = await KinesisDestination.load({ random: systemRandom });
  const record = { sequence: 0, ingestTimeMs: 1, data: Buffer.from("x") };
  const outcome = await destination.send(
    { kind: "kinesis", kinesisStreamName: "no blanks!", partitionKey: "random" },
    [record],
  );
  destination.close();
  assert.equal(outcome.kind, "refused");
});
