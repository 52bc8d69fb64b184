import assert from "node:assert/strict";
import { readdirSync, rmSync } from "node:fs";
import { test } from "node:test";
import { EngineProcess } from "../support/engine-process.ts";
import {
  type Built,
  connectOfficial,
  definition,
  type OfficialClient,
  refuses,
  sdk,
} from "../support/official-sdk.ts";

const timeout = 60_000;

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
    for (const call of [
      () => client.updateMessageStream(definition("nope")),
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

  await t.test("updates a stream as the documentation shows: describe, change, update", async () => {
    const exporter = (identifier: string): Built =>
      new sdk.KinesisConfig().withIdentifier(identifier).withKinesisStreamName("k").withDisabled(true);
    const exportsOf = (...exporters: readonly Built[]): Built =>
      new sdk.ExportDefinition().withKinesis(exporters);
    await client.createMessageStream(
      definition("updated")
        .withTimeToLiveMillis(60_000)
        .withExportDefinition(exportsOf(exporter("a"))),
    );
    await client.appendMessage("updated", Buffer.from("x".repeat(1000)));
    const { definition: present } = await client.describeMessageStream("updated");
    await client.updateMessageStream(
      present
        .withMaxSize(33_554_432)
        .withStreamSegmentSize(1_048_576)
        .withTimeToLiveMillis(null)
        .withFlushOnWrite(true)
        .withStrategyOnFull(sdk.StrategyOnFull.OverwriteOldestData)
        .withExportDefinition(exportsOf(exporter("b"), exporter("a"))),
    );
    const { definition: changed, exportStatuses } = await client.describeMessageStream("updated");
    assert.deepEqual(
      [changed.maxSize, changed.streamSegmentSize, changed.timeToLiveMillis, changed.flushOnWrite],
      [33_554_432, 1_048_576, null, true],
    );
    assert.deepEqual(
      exportStatuses.map(({ exportConfigIdentifier }) => exportConfigIdentifier),
      ["b", "a"],
    );
    assert.equal(await client.appendMessage("updated", Buffer.from("y")), 1);
  });

  await t.test("is told what an update may not do", async () => {
    const update = (): Built => definition("updated").withStreamSegmentSize(1024);
    await refuses(
      client.updateMessageStream(update().withPersistence(sdk.Persistence.Memory)),
      "UpdateNotAllowedException",
      /persistence cannot change/,
    );
    await refuses(
      client.updateMessageStream(update().withMaxSize(1024)),
      "UpdateFailedException",
      /1024 is below the 1049 bytes that it holds/,
    );
    await refuses(
      client.updateMessageStream(definition("updated").withMaxSize(1_048_576)),
      "InvalidRequestException",
      /streamSegmentSize is 16777216, above/,
    );
    assert.equal((await client.describeMessageStream("updated")).definition.maxSize, 33_554_432);
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
    const { definition: updated } = await later.describeMessageStream("updated");
    assert.deepEqual([updated.maxSize, updated.flushOnWrite], [33_554_432, true]);
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

test(
  "the official Node.js client does what its token allows, and is told of the rest",
  { timeout },
  async (t) => {
    const engine = await EngineProcess.start(t);
    const owner = await connectOfficial(t, engine);
    for (const name of ["cam-1", "mic"]) await owner.createMessageStream(definition(name));
    const make = ["tokens", "create", "camera", "--append", "cam-*", "--manage", "tmp-*"];
    const token = (await engine.run(make)).stdout.trim();
    const { port } = engine;
    let client: OfficialClient | undefined;
    while (client === undefined) client = await connectOfficial(t, { port, token }).catch(() => undefined);
    assert.equal(await client.appendMessage("cam-1", Buffer.from("a")), 0);
    assert.equal((await client.describeMessageStream("cam-1")).storageStatus.newestSequenceNumber, 0);
    await client.createMessageStream(definition("tmp-1"));
    assert.deepEqual((await client.listStreams()).sort(), ["cam-1", "tmp-1"]);
    const refused = "UnauthorizedException";
    await refuses(client.readMessages("cam-1"), refused, /may not read stream "cam-1"/);
    await refuses(client.appendMessage("mic", Buffer.from("a")), refused, /may not append to stream "mic"/);
    await refuses(client.appendMessage("tmp-1", Buffer.from("a")), refused, /may not append/);
    await refuses(client.describeMessageStream("mic"), refused, /has no right on stream "mic"/);
    await refuses(client.createMessageStream(definition("cam-2")), refused, /may not manage/);
    await refuses(client.updateMessageStream(definition("cam-1")), refused, /may not manage/);
    await refuses(client.deleteMessageStream("cam-1"), refused, /may not manage/);
    await client.deleteMessageStream("tmp-1");
  },
);

test("the official Node.js client needs no token where authentication is off", { timeout }, async (t) => {
  const { port } = await EngineProcess.start(t, { env: { STREAM_MANAGER_AUTHENTICATE_CLIENT: "false" } });
  const client = await connectOfficial(t, { port, token: undefined });
  assert.deepEqual(await client.listStreams(), []);
});

test(
  "the official Node.js client is told that storage takes no writes (RELIABILITY A7)",
  { timeout },
  async (t) => {
    const engine = await EngineProcess.start(t);
    const client = await connectOfficial(t, engine);
    await client.createMessageStream(definition("broken").withStreamSegmentSize(1024));
    const payload = Buffer.alloc(2000);
    assert.equal(await client.appendMessage("broken", payload), 0);
    // No new segment can be made where there is no directory.
    const streams = `${engine.storeDirectory}/store/streams`;
    for (const name of readdirSync(streams)) rmSync(`${streams}/${name}`, { recursive: true });
    for (let tries = 0; tries < 4; tries++) {
      await refuses(client.appendMessage("broken", payload), "UnknownFailureException", /^rejected: /);
    }
    await refuses(
      client.updateMessageStream(definition("broken").withMaxSize(536_870_912)),
      "UnknownFailureException",
      /^rejected: Cannot update stream "broken": the stream's files are not where they were/,
    );
    const { storageStatus } = await client.describeMessageStream("broken");
    assert.equal(storageStatus.newestSequenceNumber, 0);
    const { stdout } = await engine.run(["streams", "describe", "broken"]);
    assert.match(stdout, /^state +fenced: the stream's files are not where they were/m);
  },
);
