import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { StatusCode } from "../../src/core/status-code.ts";
import { Operation, OWN_OPERATION_MIN } from "../../src/wire/operation.ts";
import { EngineProcess } from "../support/engine-process.ts";
import type { HabitValue } from "../support/habit-cbor.ts";
import { type ClientHabits, clientHabits, HabitClient, type HabitReply } from "../support/habit-client.ts";
import { seededRandom, testSeed } from "../support/seeded-random.ts";

const timeout = 60_000;
const env = { STREAM_MANAGER_AUTHENTICATE_CLIENT: "false" };
const STORM_REQUESTS = 120;
/** More than Java leaves in one piece. */
const LONG_TEXT = `https://example.com/${"long/".repeat(1000)}`;
/** What no request has: below our own requests, between and above them, and a negative one, as a signed byte has it. */
const UNKNOWN_OPERATIONS = [OWN_OPERATION_MIN - 1, Operation.OpenStreamResult, 100, 127, -1];
const LARGE_PAYLOAD_BYTES = 300_000;

const js = habitsOf("js-core-1.7.0");
const java = habitsOf("java-sdk-1.1.0");
const python = habitsOf("py-sdk-1.1.1");

function habitsOf(name: string): ClientHabits {
  const found = clientHabits.find((habits) => habits.name === name);
  assert.ok(found !== undefined);
  return found;
}

function expectStatus({ fields }: HabitReply, status: number, text = /^/): Readonly<Record<string, unknown>> {
  assert.equal(fields["status"], status, String(fields["errorMessage"]));
  assert.match(String(fields["errorMessage"]), text);
  return fields;
}

function definition(name: string, more: Record<string, HabitValue> = {}): Record<string, HabitValue> {
  return { name, maxSize: 1 << 20, streamSegmentSize: 1 << 20, strategyOnFull: 1, ...more };
}

async function create(
  client: HabitClient,
  name: string,
  more: Record<string, HabitValue> = {},
): Promise<HabitReply> {
  return client.ask(Operation.CreateMessageStream, { definition: definition(name, more) });
}

/** The definition that the engine says it has. */
async function described(client: HabitClient, name: string): Promise<Record<string, unknown>> {
  const reply = expectStatus(await client.ask(Operation.DescribeMessageStream, { name }), 0);
  return (reply["messageStreamInfo"] as { definition: Record<string, unknown> }).definition;
}

test("clients with the habits of the official ones", { timeout }, async (t) => {
  const engine = await EngineProcess.start(t, { env });
  const open = async (of: TestContext, habits: ClientHabits): Promise<HabitClient> =>
    HabitClient.open(of, habits, engine.port);

  for (const habits of clientHabits) {
    const { name } = habits;
    // Rule 8: single bytes, indefinite CBOR, chunked text; with the keys of the client's own version of the protocol (1.5).
    await t.test(`${name} does what it can do (PROTOCOL 1.5, 9.1 rules 1, 6, 8)`, async (t) => {
      const client = await open(t, habits);
      const of11 = habits.protocolVersion === "1.1.0";
      const http = { identifier: "web", uri: LONG_TEXT, ...(of11 && { exportFormat: 0, disabled: true }) };
      const exportDefinition = { http: [http], iotAnalytics: [], kinesis: [] };
      expectStatus(await create(client, name, { exportDefinition, timeToLiveMillis: 3_600_000 }), 0);
      const payloads = [Buffer.of(0), Buffer.alloc(LARGE_PAYLOAD_BYTES, 7), Buffer.from("text")];
      for (const [sequenceNumber, payload] of payloads.entries()) {
        const reply = await client.ask(Operation.AppendMessage, { name, payload });
        assert.equal(expectStatus(reply, 0)["sequenceNumber"], sequenceNumber);
      }
      const readMessagesOptions = {
        desiredStartSequenceNumber: 0,
        minMessageCount: 3,
        maxMessageCount: 10,
        readTimeoutMillis: 0,
      };
      const read = await client.ask(Operation.ReadMessages, { streamName: name, readMessagesOptions });
      const messages = expectStatus(read, 0)["messages"] as { payload: Uint8Array }[];
      assert.deepEqual(
        messages.map(({ payload }) => Buffer.from(payload)),
        payloads,
      );
      const found = await described(client, name);
      const {
        http: [exporter],
      } = found["exportDefinition"] as { http: Record<string, unknown>[] };
      assert.deepEqual([exporter?.["uri"], found["timeToLiveMillis"]], [LONG_TEXT, 3_600_000]);
      if (of11) {
        const update = { definition: definition(name, { exportDefinition: { kinesis: [] } }) };
        expectStatus(await client.ask(Operation.UpdateMessageStream, update), 0);
        for (const operation of UNKNOWN_OPERATIONS)
          expectStatus(await client.ask(operation), StatusCode.UnknownOperation);
      }
      const { streams } = expectStatus(await client.ask(Operation.ListStreams), 0);
      assert.deepEqual(streams, [name]);
      expectStatus(await client.ask(Operation.DeleteMessageStream, { name }), 0);
      expectStatus(await client.ask(Operation.DeleteMessageStream, { name }), 5, /does not exist/);
      // The client leaves its side to the engine after its FIN (rule 10).
      await client.halfClose();
      assert.equal(await client.ending, "end");
    });
  }

  for (const habits of clientHabits) {
    await t.test(
      `${habits.name} gets exactly one reply to each of many requests (PROTOCOL 9.1 rules 3, 5, 6, 7, 10)`,
      async (t) => {
        const client = await open(t, habits);
        const random = seededRandom(testSeed);
        expectStatus(await create(client, "storm"), 0);
        const expected = new Map<string, number>();
        const before = client.replyCount;
        for (let count = 0; count < STORM_REQUESTS; count++) {
          const [operation, fields] = stormRequest(random.fraction(), habits.protocolVersion);
          const id = client.send(operation, fields);
          const key = `${replyOperations[operation] ?? Operation.UnknownOperationError} ${id}`;
          expected.set(key, (expected.get(key) ?? 0) + 1);
        }
        // Its FIN comes behind the last request, while answers are owed.
        await client.halfClose();
        assert.equal(await client.ending, "end", `seed ${testSeed}`);
        assert.equal(client.replyCount - before, STORM_REQUESTS, `seed ${testSeed}`);
        for (let count = 0; count < STORM_REQUESTS; count++) {
          const { operation, fields } = await client.take();
          const key = `${operation} ${String(fields["requestId"])}`;
          const left = expected.get(key) ?? 0;
          assert.ok(left > 0, `seed ${testSeed}: nobody waits for ${key}`);
          expected.set(key, left - 1);
        }
        const next = await open(t, habits);
        expectStatus(await next.ask(Operation.DeleteMessageStream, { name: "storm" }), 0);
      },
    );
  }

  await t.test(
    "integers of JavaScript: floats where they are whole, and nothing else (PROTOCOL 2.1, 9.1 rule 8)",
    async (t) => {
      const client = await open(t, js);
      expectStatus(await create(client, "floats", { maxSize: 2 ** 63 }), 0);
      // More than 2^53 - 1 in a reply ends the client's reader, unless it is a float; the reader of this test sees to that.
      assert.equal((await described(client, "floats"))["maxSize"], 2 ** 63);
      expectStatus(await create(client, "halves", { maxSize: 1024.5 }), StatusCode.InvalidRequest, /maxSize/);
      expectStatus(await client.ask(Operation.AppendMessage, { name: "floats", payload: Buffer.of(1) }), 0);
      const readMessagesOptions = { desiredStartSequenceNumber: -0, readTimeoutMillis: -0 };
      const read = { streamName: "floats", readMessagesOptions };
      expectStatus(await client.ask(Operation.ReadMessages, read), 0);
      expectStatus(await client.ask(Operation.DeleteMessageStream, { name: "floats" }), 0);
    },
  );

  await t.test("the integers of others are exact to the last bit (PROTOCOL 2.1)", async (t) => {
    for (const habits of [java, python, habitsOf("java-sdk-1.1.0 slim")]) {
      const client = await open(t, habits);
      expectStatus(
        await create(client, "wide", { maxSize: 2n ** 31n, streamSegmentSize: 2n ** 31n - 1n }),
        0,
      );
      const found = await described(client, "wide");
      assert.deepEqual([found["maxSize"], found["streamSegmentSize"]], [2 ** 31, 2 ** 31 - 1]);
      // One more than the most: a double would round it to the same number as the most.
      const over = { timeToLiveMillis: 9_223_372_036_854n + 1n };
      expectStatus(await create(client, "over", over), StatusCode.InvalidRequest, /timeToLiveMillis/);
      expectStatus(
        await create(client, "over", { maxSize: 2n ** 63n }),
        StatusCode.InvalidRequest,
        /maxSize/,
      );
      expectStatus(await client.ask(Operation.DeleteMessageStream, { name: "wide" }), 0);
    }
  });

  await t.test("4 GiB of the Java client's fat jar, which arrive as 0 (PROTOCOL 9.3)", async (t) => {
    const client = await open(t, java);
    expectStatus(await create(client, "four", { maxSize: 0 }), 0);
    assert.equal((await described(client, "four"))["maxSize"], 2 ** 32);
    expectStatus(await client.ask(Operation.DeleteMessageStream, { name: "four" }), 0);
  });

  await t.test(
    "a connection that cannot be followed ends with FIN, also while input comes (PROTOCOL 9.1 rule 2)",
    async (t) => {
      for (const header of ["00000000", "ffffffff", "40000001"]) {
        const client = await open(t, python);
        client.writeParts([Buffer.concat([Buffer.from(header, "hex"), Buffer.alloc(1 << 20, 1)])]);
        assert.equal(await client.ending, "end", header);
      }
    },
  );

  await t.test(
    "a version that nobody speaks is refused, and the engine closes (PROTOCOL 1.5, 9.1 rule 9)",
    async (t) => {
      for (const [protocolVersion, status] of [
        ["2.0.0", StatusCode.UnsupportedProtocolVersion],
        ["latest", StatusCode.InvalidProtocolVersion],
      ] as const) {
        const habits = { ...js, protocolVersion, connect: {} } as unknown as ClientHabits;
        await assert.rejects(open(t, habits), (error: Error) => error.message.includes(`${status}`));
      }
    },
  );
});

const replyOperations: Readonly<Record<number, number>> = {
  [Operation.CreateMessageStream]: Operation.CreateMessageStreamResponse,
  [Operation.UpdateMessageStream]: Operation.UpdateMessageStreamResponse,
  [Operation.DeleteMessageStream]: Operation.DeleteMessageStreamResponse,
  [Operation.AppendMessage]: Operation.AppendMessageResponse,
  [Operation.ReadMessages]: Operation.ReadMessagesResponse,
  [Operation.ListStreams]: Operation.ListStreamsResponse,
  [Operation.DescribeMessageStream]: Operation.DescribeMessageStreamResponse,
};

type StormRequest = readonly [operation: number, fields: Record<string, HabitValue>];

/** Right and wrong requests of every kind that a client of this version could send. */
const stormRequests: readonly StormRequest[] = [
  [Operation.AppendMessage, { name: "storm", payload: Buffer.from("payload") }],
  [Operation.AppendMessage, { name: "storm", payload: Buffer.alloc(0) }],
  [Operation.AppendMessage, { name: "storm" }],
  [Operation.AppendMessage, { name: "nope", payload: Buffer.of(1) }],
  [Operation.AppendMessage, { name: "storm", payload: "text" }],
  [Operation.ReadMessages, { streamName: "storm" }],
  [Operation.ReadMessages, { name: "storm" }],
  [
    Operation.ReadMessages,
    { streamName: "storm", readMessagesOptions: { minMessageCount: 5, maxMessageCount: 1 } },
  ],
  [
    Operation.ReadMessages,
    { streamName: "storm", readMessagesOptions: { desiredStartSequenceNumber: 10_000 } },
  ],
  [
    Operation.ReadMessages,
    {
      streamName: "storm",
      readMessagesOptions: { minMessageCount: 9999, maxMessageCount: 9999, readTimeoutMillis: 5 },
    },
  ],
  [Operation.CreateMessageStream, { definition: definition("storm") }],
  [Operation.CreateMessageStream, { definition: definition("") }],
  [Operation.CreateMessageStream, { definition: { name: "storm" } }],
  [Operation.CreateMessageStream, {}],
  [Operation.DeleteMessageStream, { name: "nope" }],
  [Operation.DeleteMessageStream, { name: 7 }],
  [Operation.DescribeMessageStream, { name: "storm" }],
  [Operation.DescribeMessageStream, { name: "../storm" }],
  [Operation.ListStreams, {}],
  [Operation.ListStreams, { more: [1, { inner: [true] }], name: LONG_TEXT }],
];
const stormRequests11: readonly StormRequest[] = [
  ...stormRequests,
  [Operation.UpdateMessageStream, { definition: definition("storm") }],
  [Operation.UpdateMessageStream, { definition: definition("storm", { strategyOnFull: 0, persistence: 1 }) }],
  [Operation.UpdateMessageStream, { definition: definition("nope") }],
  [Operation.AppendMessageResponse, {}],
  [18, {}],
  ...UNKNOWN_OPERATIONS.map((operation): StormRequest => [operation, { name: "storm" }]),
];

function stormRequest(fraction: number, version: "1.0.0" | "1.1.0"): StormRequest {
  const all = version === "1.0.0" ? stormRequests : stormRequests11;
  return all[Math.floor(fraction * all.length)]!;
}
