import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test, type TestContext } from "node:test";
import { EngineProcess } from "../support/engine-process.ts";

/** What this test uses of `aws-greengrass-core-sdk`, which has no types. */
interface Built {
  withName(name: string): Built;
  withMaxSize(bytes: number): Built;
  withStrategyOnFull(strategy: unknown): Built;
  withDesiredStartSequenceNumber(sequence: number): Built;
  withMinMessageCount(count: number): Built;
  withMaxMessageCount(count: number): Built;
  withReadTimeoutMillis(ms: number): Built;
}
interface OfficialMessage {
  readonly streamName: string;
  readonly sequenceNumber: number;
  readonly ingestTime: number;
  readonly payload: Buffer;
}
interface OfficialClient {
  createMessageStream(definition: Built): Promise<void>;
  updateMessageStream(definition: Built): Promise<void>;
  deleteMessageStream(name: string): Promise<void>;
  appendMessage(name: string, payload: Buffer): Promise<number>;
  readMessages(name: string, options?: Built): Promise<OfficialMessage[]>;
  listStreams(): Promise<string[]>;
  describeMessageStream(name: string): Promise<{
    definition: { name: string; maxSize: number; streamSegmentSize: number; persistence: unknown };
    storageStatus: { oldestSequenceNumber: number; newestSequenceNumber: number; totalBytes: number };
    exportStatuses: unknown[];
  }>;
  close(): void;
  /** Called by the constructor, which leaves its promise to nobody. */
  __connect(): Promise<void>;
}
interface OfficialModule {
  StreamManagerClient: new (options: object) => OfficialClient;
  MessageStreamDefinition: new () => Built;
  ReadMessagesOptions: new () => Built;
  StrategyOnFull: { RejectNewData: unknown; OverwriteOldestData: unknown };
}

const timeout = 60_000;
const sdk = createRequire(import.meta.url)("aws-greengrass-core-sdk/stream-manager") as OfficialModule;
const silent = { error: ignore, info: ignore, debug: ignore, warn: ignore };

function ignore(): void {
  // The client would print every frame.
}

/** Connects the unmodified client; the token goes the way it goes on a Greengrass core. */
async function connectOfficial(
  t: TestContext,
  engine: { readonly port: number; readonly token: string | undefined },
): Promise<OfficialClient> {
  // An empty variable counts as none.
  process.env["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = engine.token ?? "";
  let client: OfficialClient | undefined;
  await new Promise<void>((resolve, reject) => {
    client = new RefusableClient({
      port: engine.port,
      logger: silent,
      onConnectCb: resolve,
      onErrorCb: reject,
    });
  });
  t.after(() => client?.close());
  return client!;
}

/** The client as it is; a refusal ends in `onErrorCb` and not, a second time, as an unhandled rejection. */
class RefusableClient extends sdk.StreamManagerClient {
  override __connect(): Promise<void> {
    const connecting = super.__connect();
    connecting.catch(ignore);
    return connecting;
  }
}

function definition(name: string): Built {
  return new sdk.MessageStreamDefinition()
    .withName(name)
    .withStrategyOnFull(sdk.StrategyOnFull.RejectNewData);
}

/** The client's own exception of this kind, with a text that a program may look for. */
async function refuses(call: Promise<unknown>, name: string, text: RegExp): Promise<void> {
  await assert.rejects(call, (error: Error) => {
    assert.equal(error.constructor.name, name, error.message);
    assert.match(error.message, text);
    return true;
  });
}

test("the official Node.js client, unchanged,", { timeout }, async (t) => {
  const engine = await EngineProcess.start(t);
  const client = await connectOfficial(t, engine);

  await t.test("creates, appends and reads", async () => {
    await client.createMessageStream(definition("Sensor Data 1.a-b_c,"));
    const before = Date.now();
    for (let index = 0; index < 10; index++) {
      assert.equal(
        await client.appendMessage("Sensor Data 1.a-b_c,", Buffer.from(`message ${index}`)),
        index,
      );
    }
    // Without options a read asks for one message.
    const [first, ...others] = await client.readMessages("Sensor Data 1.a-b_c,");
    assert.deepEqual(others, []);
    assert.deepEqual(
      [first?.streamName, first?.sequenceNumber, first?.payload.toString()],
      ["Sensor Data 1.a-b_c,", 0, "message 0"],
    );
    assert.ok(first!.ingestTime >= before - 1 && first!.ingestTime <= Date.now());
  });

  await t.test("reads from a number, at least and at most so many", async () => {
    const options = new sdk.ReadMessagesOptions()
      .withDesiredStartSequenceNumber(3)
      .withMinMessageCount(2)
      .withMaxMessageCount(4)
      .withReadTimeoutMillis(5000);
    const messages = await client.readMessages("Sensor Data 1.a-b_c,", options);
    assert.deepEqual(
      messages.map(({ sequenceNumber, payload }) => `${sequenceNumber} ${payload.toString()}`),
      [3, 4, 5, 6].map((index) => `${index} message ${index}`),
    );
  });

  await t.test("gets payloads back as they were, whatever is in them", async () => {
    await client.createMessageStream(definition("bytes"));
    const payloads = [
      Buffer.of(0),
      Buffer.from([0, 1, 2, 255]),
      Buffer.alloc(300_000, 7),
      Buffer.from("°".repeat(9000)),
    ];
    for (const payload of payloads) await client.appendMessage("bytes", payload);
    const options = new sdk.ReadMessagesOptions().withMinMessageCount(4);
    const messages = await client.readMessages("bytes", options);
    assert.deepEqual(
      messages.map(({ payload }) => payload),
      payloads,
    );
  });

  await t.test("is told that there are not enough messages", async () => {
    const many = new sdk.ReadMessagesOptions().withMinMessageCount(50).withMaxMessageCount(50);
    await refuses(
      client.readMessages("Sensor Data 1.a-b_c,", many),
      "NotEnoughMessagesException",
      /10 messages, at least 50 asked for/,
    );
    const beyond = new sdk.ReadMessagesOptions().withDesiredStartSequenceNumber(10);
    // Programs look for these words.
    await refuses(
      client.readMessages("Sensor Data 1.a-b_c,", beyond),
      "NotEnoughMessagesException",
      /10 is greater than the last sequence number 9/,
    );
  });

  await t.test("waits for messages that come while it reads", async () => {
    await client.createMessageStream(definition("waited for"));
    const options = new sdk.ReadMessagesOptions().withMinMessageCount(2).withReadTimeoutMillis(50_000);
    const reading = client.readMessages("waited for", options);
    await client.appendMessage("waited for", Buffer.from("a"));
    await client.appendMessage("waited for", Buffer.from("b"));
    assert.equal((await reading).length, 2);
  });

  await t.test("lists and describes", async () => {
    assert.deepEqual((await client.listStreams()).sort(), ["Sensor Data 1.a-b_c,", "bytes", "waited for"]);
    const info = await client.describeMessageStream("Sensor Data 1.a-b_c,");
    assert.equal(info.definition.name, "Sensor Data 1.a-b_c,");
    assert.equal(info.definition.maxSize, 268_435_456);
    assert.equal(info.definition.streamSegmentSize, 16_777_216);
    assert.equal(info.storageStatus.oldestSequenceNumber, 0);
    assert.equal(info.storageStatus.newestSequenceNumber, 9);
    assert.equal(info.storageStatus.totalBytes, 10 * ("message 0".length + 24));
    assert.deepEqual(info.exportStatuses, []);
  });

  await t.test("appends in parallel, each message once and numbered without a gap", async () => {
    await client.createMessageStream(definition("parallel"));
    const names = Array.from({ length: 500 }, (_, index) => `message ${index}`);
    const sequences = await Promise.all(
      names.map((name) => client.appendMessage("parallel", Buffer.from(name))),
    );
    assert.deepEqual(
      sequences,
      names.map((_, index) => index),
    );
    const options = new sdk.ReadMessagesOptions().withMinMessageCount(500).withMaxMessageCount(500);
    const messages = await client.readMessages("parallel", options);
    assert.deepEqual(
      messages.map(({ payload }) => payload.toString()),
      names,
    );
  });

  await t.test("is told clearly what cannot be done", async () => {
    // Programs look for "already exists".
    await refuses(
      client.createMessageStream(definition("bytes")),
      "InvalidRequestException",
      /"bytes" already exists/,
    );
    await refuses(
      client.updateMessageStream(definition("bytes").withMaxSize(536_870_912)),
      "UpdateFailedException",
      /update/i,
    );
    for (const call of [
      () => client.deleteMessageStream("nope"),
      () => client.describeMessageStream("nope"),
      () => client.readMessages("nope"),
      () => client.appendMessage("nope", Buffer.from("x")),
    ]) {
      await refuses(call(), "ResourceNotFoundException", /"nope" does not exist/);
    }
  });

  await t.test("is told when a stream is full", async () => {
    await client.createMessageStream(definition("small").withMaxSize(1024));
    const payload = Buffer.alloc(400);
    assert.equal(await client.appendMessage("small", payload), 0);
    assert.equal(await client.appendMessage("small", payload), 1);
    await refuses(client.appendMessage("small", payload), "InvalidRequestException", /is full/);
  });

  await t.test("deletes, and a stream of the same name begins again", async () => {
    await client.deleteMessageStream("bytes");
    await refuses(client.appendMessage("bytes", Buffer.from("x")), "ResourceNotFoundException", /bytes/);
    await client.createMessageStream(definition("bytes"));
    assert.equal(await client.appendMessage("bytes", Buffer.from("new")), 0);
  });

  await t.test("finds everything again after a clean stop", async () => {
    assert.equal((await engine.stop()).code, 0);
    const again = await EngineProcess.start(t, { storeDirectory: engine.storeDirectory });
    const later = await connectOfficial(t, again);
    const [message] = await later.readMessages("bytes");
    assert.equal(message?.payload.toString(), "new");
    assert.equal(await later.appendMessage("parallel", Buffer.from("x")), 500);
  });
});

test("the official Node.js client is refused without the token and with another", { timeout }, async (t) => {
  const { port } = await EngineProcess.start(t);
  for (const token of [undefined, "x".repeat(43)]) {
    await assert.rejects(connectOfficial(t, { port, token }), (error: Error) => {
      assert.equal(error.constructor.name, "ConnectFailedException");
      return true;
    });
  }
});

test("the official Node.js client needs no token where authentication is off", { timeout }, async (t) => {
  const { port } = await EngineProcess.start(t, { env: { STREAM_MANAGER_AUTHENTICATE_CLIENT: "false" } });
  const client = await connectOfficial(t, { port, token: undefined });
  assert.deepEqual(await client.listStreams(), []);
});
