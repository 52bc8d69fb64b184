import assert from "node:assert/strict";
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
const MESSAGE_BYTES_MAX = 2000;
const ROUNDS = 20;

/** One call that fails, the client's own exception for it, and what the text says. */
interface Failing {
  readonly what: string;
  readonly call: () => Promise<unknown>;
  readonly exception: string;
  readonly text: RegExp;
}

function kinesis(identifier: string): Built {
  return new sdk.KinesisConfig().withIdentifier(identifier).withKinesisStreamName("k").withDisabled(true);
}

function exportsOf(...exporters: readonly Built[]): Built {
  return new sdk.ExportDefinition().withKinesis(exporters);
}

/** Each operation with each error that the protocol documents for it and its client cannot find out by itself. */
function failingCalls(client: OfficialClient): Failing[] {
  const missing = { exception: "ResourceNotFoundException", text: /"nope" does not exist/ };
  const invalid = "InvalidRequestException";
  const twice = exportsOf(kinesis("a"), kinesis("a"));
  const beyond = new sdk.ReadMessagesOptions().withDesiredStartSequenceNumber(1000);
  const many = new sdk.ReadMessagesOptions().withMinMessageCount(900);
  const late = new sdk.ReadMessagesOptions().withMinMessageCount(900).withReadTimeoutMillis(20);
  const payload = Buffer.from("x");
  return [
    { what: "append 5", call: () => client.appendMessage("nope", payload), ...missing },
    { what: "read 5", call: () => client.readMessages("nope"), ...missing },
    { what: "describe 5", call: () => client.describeMessageStream("nope"), ...missing },
    { what: "delete 5", call: () => client.deleteMessageStream("nope"), ...missing },
    { what: "update 5", call: () => client.updateMessageStream(definition("nope")), ...missing },
    {
      what: "create 3, there is one (PROTOCOL 4)",
      call: () => client.createMessageStream(definition("there")),
      exception: invalid,
      text: /"there" already exists/,
    },
    {
      what: "create 3, an identifier twice (PROTOCOL 3.4)",
      call: () => client.createMessageStream(definition("new").withExportDefinition(twice)),
      exception: invalid,
      text: /the identifier "a" twice/,
    },
    {
      what: "update 3, a segment above the stream (PROTOCOL 5)",
      call: () => client.updateMessageStream(definition("there").withMaxSize(1_048_576)),
      exception: invalid,
      text: /streamSegmentSize is 16777216, above/,
    },
    {
      what: "update 3, an identifier twice (PROTOCOL 3.4)",
      call: () => client.updateMessageStream(definition("there").withExportDefinition(twice)),
      exception: invalid,
      text: /the identifier "a" twice/,
    },
    {
      what: "update 16, below what it holds (PROTOCOL 5)",
      call: () =>
        client.updateMessageStream(definition("there").withMaxSize(1024).withStreamSegmentSize(1024)),
      exception: "UpdateFailedException",
      text: /1024 is below the \d+ bytes that it holds/,
    },
    {
      what: "update 17, another persistence (PROTOCOL 5)",
      call: () => client.updateMessageStream(definition("there").withPersistence(sdk.Persistence.Memory)),
      exception: "UpdateNotAllowedException",
      text: /persistence cannot change/,
    },
    {
      what: "append 3, full (PROTOCOL 4)",
      call: () => client.appendMessage("full", Buffer.alloc(900)),
      exception: invalid,
      text: /is full/,
    },
    {
      what: "append 4, a message above the engine's largest (PROTOCOL 4)",
      call: () => client.appendMessage("there", Buffer.alloc(MESSAGE_BYTES_MAX + 1)),
      exception: "RequestPayloadTooLargeException",
      text: /2001 bytes/,
    },
    {
      what: "read 13, behind the newest (PROTOCOL 4 row 3)",
      call: () => client.readMessages("there", beyond),
      exception: "NotEnoughMessagesException",
      text: /greater than the last sequence number/,
    },
    {
      what: "read 13, fewer than asked for (PROTOCOL 4 row 5)",
      call: () => client.readMessages("there", many),
      exception: "NotEnoughMessagesException",
      text: /at least 900 asked for/,
    },
    {
      what: "read 13, and none come in time (PROTOCOL 4 row 5)",
      call: () => client.readMessages("there", late),
      exception: "NotEnoughMessagesException",
      text: /at least 900 asked for/,
    },
  ];
}

/** Calls that succeed whatever else goes on. */
function workingCalls(client: OfficialClient, round: number): (() => Promise<unknown>)[] {
  const name = `made ${round}`;
  return [
    () => client.appendMessage("there", Buffer.from(`message ${round}`)),
    () => client.readMessages("there"),
    () => client.listStreams(),
    () => client.describeMessageStream("there"),
    () => client.updateMessageStream(definition("changed").withFlushOnWrite(round % 2 === 0)),
    async () => {
      await client.createMessageStream(definition(name));
      await client.deleteMessageStream(name);
    },
  ];
}

test("the official Node.js client gets each documented error", { timeout }, async (t) => {
  const engine = await EngineProcess.start(t, {
    env: { MILLRACE_MESSAGE_BYTES_MAX: String(MESSAGE_BYTES_MAX) },
  });
  const client = await connectOfficial(t, engine);
  await client.createMessageStream(definition("there"));
  await client.createMessageStream(definition("changed"));
  await client.createMessageStream(definition("full").withMaxSize(1024).withStreamSegmentSize(1024));
  await client.appendMessage("full", Buffer.alloc(900));
  for (let index = 0; index < 3; index++) await client.appendMessage("there", Buffer.alloc(900));
  const failing = failingCalls(client);

  for (const { what, call, exception, text } of failing) {
    await t.test(`awaited: ${what}`, () => refuses(call(), exception, text));
  }

  await t.test("in parallel, all of them with calls that succeed, over and over", async () => {
    for (let round = 0; round < ROUNDS; round++) {
      await Promise.all([
        ...failing.map(({ call, exception, text }) => refuses(call(), exception, text)),
        ...workingCalls(client, round).map((call) => call()),
      ]);
    }
    const { storageStatus } = await client.describeMessageStream("there");
    assert.equal(storageStatus.newestSequenceNumber, 3 + ROUNDS - 1, "each append once, and no other");
    assert.deepEqual((await client.listStreams()).sort(), ["changed", "full", "there"]);
  });

  await t.test("2 for each operation that its token does not allow (PROTOCOL 2.3)", async (step) => {
    const made = await engine.run(["tokens", "create", "other", "--append", "other-*"]);
    assert.equal(made.code, 0, made.stderr);
    const port = { port: engine.port, token: made.stdout.trim() };
    // The engine sees the file within moments.
    let other: OfficialClient | undefined;
    while (other === undefined) other = await connectOfficial(step, port).catch(() => undefined);
    const calls = [
      other.appendMessage("there", Buffer.from("x")),
      other.readMessages("there"),
      other.createMessageStream(definition("there")),
      other.updateMessageStream(definition("there")),
      other.deleteMessageStream("there"),
      other.describeMessageStream("there"),
    ];
    await Promise.all(calls.map((call) => refuses(call, "UnauthorizedException", /other/)));
    assert.deepEqual(await other.listStreams(), []);
  });
});
