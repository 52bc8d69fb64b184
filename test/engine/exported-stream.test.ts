import assert from "node:assert/strict";
import { closeSync, openSync, readdirSync, writeSync } from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { MillraceClient, MillraceError, StrategyOnFull } from "../../src/client/index.ts";
import type { StreamDefinitionInput, StreamDescription } from "../../src/client/index.ts";
import { SEGMENT_HEADER_BYTES } from "../../src/log/segment-layout.ts";
import { EngineProcess } from "../support/engine-process.ts";
import { FakeKinesisServer } from "../support/fake-kinesis-server.ts";

const timeout = 120_000;
const MESSAGE_BYTES = 10_000;
const definition = {
  name: "raw",
  strategyOnFull: StrategyOnFull.RejectNewData,
  maxSize: 200_000,
  streamSegmentSize: 60_000,
  exportDefinition: { kinesis: [{ identifier: "cloud", kinesisStreamName: "k" }] },
} as const;

interface Bench {
  readonly engine: EngineProcess;
  readonly cloud: FakeKinesisServer;
  readonly client: MillraceClient;
}

async function connect(t: TestContext, engine: EngineProcess): Promise<MillraceClient> {
  const { port, token } = engine;
  const client = await MillraceClient.connect({ url: `ws://127.0.0.1:${port}`, token: token! });
  t.after(() => client.close());
  return client;
}

async function start(t: TestContext): Promise<Bench> {
  const cloud = await FakeKinesisServer.start();
  t.after(() => cloud.close());
  const engine = await EngineProcess.start(t, { env: cloudEnv(cloud) });
  return { engine, cloud, client: await connect(t, engine) };
}

function cloudEnv(cloud: FakeKinesisServer): Record<string, string> {
  return {
    AWS_ENDPOINT_URL_KINESIS: cloud.url,
    AWS_REGION: "us-east-1",
    AWS_ACCESS_KEY_ID: "test",
    AWS_SECRET_ACCESS_KEY: "test",
  };
}

function payload(number: number): string {
  return `message ${number} `.padEnd(MESSAGE_BYTES, "x");
}

/** Appends; a full stream is tried again, as a producer would. @returns how often it was full */
async function appendMany(client: MillraceClient, from: number, count: number): Promise<number> {
  let fullCount = 0;
  for (let number = from; number < from + count;) {
    try {
      const sequence = await client.appendMessage("raw", Buffer.from(payload(number)));
      assert.equal(sequence, number);
      number += 1;
    } catch (thrown) {
      if (!(thrown instanceof MillraceError) || !/is full/.test(thrown.message)) throw thrown;
      fullCount += 1;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
  return fullCount;
}

/** Spoils the header of the first block of the only segment. */
function damageFirstBlock({ storeDirectory }: EngineProcess): void {
  const streams = path.join(storeDirectory, "store", "streams");
  const directory = path.join(streams, readdirSync(streams)[0]!);
  const [name] = readdirSync(directory).filter((entry) => entry.endsWith(".lz4"));
  const descriptor = openSync(path.join(directory, name!), "r+");
  writeSync(descriptor, Buffer.alloc(8), 0, 8, SEGMENT_HEADER_BYTES + 16);
  closeSync(descriptor);
}

async function until(
  client: MillraceClient,
  isReached: (stream: StreamDescription) => boolean,
): Promise<StreamDescription> {
  for (;;) {
    const stream = await client.describeStream("raw");
    if (isReached(stream)) return stream;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The metrics tell the same, and each account adds up to what was appended. */
async function metricsAgree(engine: EngineProcess, { ledger }: StreamDescription): Promise<void> {
  const body = await engine.metrics();
  const sumOf = (name: string): number =>
    [...body.matchAll(new RegExp(`^millrace_${name}\\{.*\\} (\\d+)$`, "gm"))].reduce(
      (sum, [, value]) => sum + Number(value),
      0,
    );
  const { messages, payloadBytes } = ledger.appended;
  assert.equal(sumOf("stream_ledger_messages"), messages);
  assert.equal(sumOf("stream_ledger_payload_bytes"), payloadBytes);
  assert.equal(sumOf("export_messages_total"), messages);
  assert.equal(sumOf("export_bytes_total"), payloadBytes);
  assert.equal(sumOf("export_pending_messages"), 0);
  assert.match(body, /^millrace_export_durable_sequence\{stream="raw",exporter="cloud"\} \d+$/m);
  const [, deleted] = /account="deleted"\} (\d+)$/m.exec(body) ?? [];
  // Cursors become durable meanwhile, and more is freed.
  assert.ok(Number(deleted) >= ledger.deleted.messages && Number(deleted) <= messages, deleted);
  assert.match(body, /^millrace_stream_state\{stream="raw",state="ok"\} 1$/m);
  assert.match(body, /^millrace_sync_interval_seconds 1$/m);
  assert.match(body, /^millrace_sync_limit_bytes\{scope="worker"\} 16777216$/m);
}

describe("a stream that frees what was exported", () => {
  it("takes far more than it holds, loses nothing, and says what became of it", { timeout }, async (t) => {
    const { engine, cloud, client } = await start(t);
    await client.createMessageStream(definition, { freeExported: true });
    const fullCount = await appendMany(client, 0, 50);
    assert.ok(fullCount > 0, "it was full on the way");
    const stream = await until(client, ({ exporters }) => exporters[0]!.pending.messages === 0);
    assert.deepEqual(
      cloud.stored.get("k"),
      Array.from({ length: 50 }, (_, number) => payload(number)),
    );
    const { ledger } = stream;
    assert.equal(ledger.deleted.messages + ledger.stored.messages, 50);
    assert.equal(ledger.deleted.payloadBytes + ledger.stored.payloadBytes, 50 * MESSAGE_BYTES);
    assert.ok(ledger.deleted.messages >= 30);
    assert.deepEqual(ledger.overwritten, { messages: 0, payloadBytes: 0 });
    assert.deepEqual(
      ledger.drops.map(({ reason, fromSequence }) => [reason, fromSequence]),
      [["deleted", 0]],
    );
    assert.deepEqual(stream.exporters[0]!.exported, { messages: 50, payloadBytes: 50 * MESSAGE_BYTES });

    await metricsAgree(engine, stream);

    // What is freed stays freed, and the numbers go on.
    assert.equal((await engine.stop()).code, 0);
    const again = await EngineProcess.start(t, { storeDirectory: engine.storeDirectory });
    const later = await connect(t, again);
    assert.deepEqual((await later.describeStream("raw")).options, { freeExported: true });
    assert.equal(await later.appendMessage("raw", Buffer.from("x")), 50);
  });

  it("is held by an exporter that was added, and goes on without it", { timeout }, async (t) => {
    const { client } = await start(t);
    await client.createMessageStream(definition);
    await appendMany(client, 0, 10);
    // Before the option nothing is freed, however far it was exported.
    await until(client, ({ exporters }) => exporters[0]!.durablePosition === 10);
    assert.equal((await client.describeStream("raw")).storage.oldestSequence, 0);
    const http = { identifier: "nowhere", uri: "http://127.0.0.1:1" };
    const { exportDefinition } = definition;
    await client.updateMessageStream(
      { ...definition, exportDefinition: { ...exportDefinition, http: [http] } },
      { freeExported: true },
    );
    await appendMany(client, 10, 9);
    await assert.rejects(appendOnce(client), /is full/);
    await until(client, ({ exporters }) =>
      exporters.some(({ identifier, durablePosition }) => identifier === "cloud" && durablePosition === 19),
    );
    await assert.rejects(appendOnce(client), /is full/);

    await client.updateMessageStream(definition);
    await appendMany(client, 19, 5);
    const { ledger } = await client.describeStream("raw");
    assert.ok(ledger.deleted.messages > 0);

    // Without the option, what was exported stays.
    await client.configureStream("raw", { freeExported: false });
    const { storage } = await until(client, ({ exporters }) => exporters[0]!.durablePosition === 24);
    for (let tries = 0; tries < 30; tries++) {
      try {
        await appendOnce(client);
      } catch {
        break;
      }
    }
    assert.equal((await client.describeStream("raw")).storage.oldestSequence, storage.oldestSequence);
  });
});

describe("damage that an exporter meets", () => {
  it("is in the stream's ledger, though nobody else has read there", { timeout }, async (t) => {
    const { engine, client } = await start(t);
    const { exportDefinition, ...unexported } = definition;
    await client.createMessageStream({ ...unexported, flushOnWrite: true });
    await appendMany(client, 0, 5);
    damageFirstBlock(engine);
    assert.equal((await client.describeStream("raw")).ledger.damaged.messages, 0);
    await client.updateMessageStream({ ...unexported, flushOnWrite: true, exportDefinition });
    const { ledger } = await until(client, (stream) => stream.ledger.damaged.messages > 0);
    assert.deepEqual(ledger.damaged, { messages: 1, payloadBytes: MESSAGE_BYTES });
    const { exporters } = await until(client, (stream) => stream.exporters[0]!.pending.messages === 0);
    assert.deepEqual(exporters[0]!.damaged, ledger.damaged);
  });
});

describe("an update of an exported stream", () => {
  it(
    "moves an exporter only where its start is another, and the account says so (PROTOCOL 5)",
    { timeout },
    async (t) => {
      const { engine, cloud, client } = await start(t);
      await client.createMessageStream(definition);
      await appendMany(client, 0, 10);
      const isDone = ({ exporters }: StreamDescription): boolean => exporters[0]!.pending.messages === 0;
      await until(client, isDone);
      const startingAt = (startSequenceNumber: number): StreamDefinitionInput => {
        const [config] = definition.exportDefinition.kinesis;
        return {
          ...definition,
          exportDefinition: { kinesis: [{ ...config, startSequenceNumber }] },
        };
      };
      // The same start, in words.
      await client.updateMessageStream({ ...startingAt(0), maxSize: 400_000 });
      await appendMany(client, 10, 1);
      await until(client, isDone);
      assert.equal(cloud.stored.get("k")!.length, 11);

      await client.updateMessageStream(startingAt(6));
      await until(client, (stream) => isDone(stream) && stream.exporters[0]!.exported.messages === 16);
      assert.deepEqual(
        cloud.stored.get("k")!.slice(11),
        [6, 7, 8, 9, 10].map((number) => payload(number)),
      );
      const { appended, rewound, exported } = (await client.describeStream("raw")).exporters[0]!;
      assert.deepEqual([appended.messages, rewound.messages, exported.messages], [11, 5, 16]);

      // A restart does not take the start of the configuration for a new one.
      assert.equal((await engine.stop()).code, 0);
      const again = await EngineProcess.start(t, {
        storeDirectory: engine.storeDirectory,
        env: cloudEnv(cloud),
      });
      const later = await connect(t, again);
      await appendMany(later, 11, 1);
      await until(later, (stream) => isDone(stream) && stream.exporters[0]!.exported.messages === 17);
      assert.equal(cloud.stored.get("k")!.length, 17);
    },
  );
});

function appendOnce(client: MillraceClient): Promise<number> {
  return client.appendMessage("raw", Buffer.from("y".repeat(MESSAGE_BYTES)));
}
