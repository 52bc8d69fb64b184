import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { KinesisClient, PutRecordsCommand } from "@aws-sdk/client-kinesis";
import { systemRandom } from "../../../src/core/random.ts";
import type { SendOutcome } from "../../../src/export/destinations/destination.ts";
import { KinesisDestination } from "../../../src/export/destinations/kinesis.ts";
import { putRecordsBody, putRecordsResults } from "../../../src/export/destinations/put-records-body.ts";
import { destinationEnvironmentDefault } from "../../../src/export/worker-settings.ts";
import { useKinesisEndpoint } from "../../support/export-bench.ts";
import { FakeKinesisServer } from "../../support/fake-kinesis-server.ts";
import { ManualClock } from "../../support/deterministic.ts";

const MIB = 1024 * 1024;
const settings = { kind: "kinesis", kinesisStreamName: "target", partitionKey: "random" } as const;

function recordsOf(...texts: string[]) {
  return texts.map((text, sequence) => ({ sequence, ingestTimeMs: 1, data: Buffer.from(text) }));
}

async function setUp(t: TestContext, kinesisInterCallDelayMs = 0) {
  const server = await FakeKinesisServer.start();
  t.after(() => server.close());
  useKinesisEndpoint(server.url);
  const clock = new ManualClock();
  const environment = { ...destinationEnvironmentDefault, kinesisInterCallDelayMs };
  const destination = await KinesisDestination.load({ random: systemRandom, environment, clock });
  t.after(() => destination.close());
  return { server, clock, destination };
}

function answered(outcome: SendOutcome): SendOutcome & { kind: "answered" } {
  assert.equal(outcome.kind, "answered", JSON.stringify(outcome));
  return outcome;
}

test("putRecordsResults takes null for a field that is not there, and what is no text too", () => {
  const answer =
    '{"Records":[{"ErrorCode":null,"ErrorMessage":null,"SequenceNumber":"1"},{"ErrorCode":7},null]}';
  const nothing = { ErrorCode: undefined, ErrorMessage: undefined, SequenceNumber: undefined };
  const expected = [{ ...nothing, SequenceNumber: "1" }, nothing, nothing];
  assert.deepEqual(putRecordsResults(Buffer.from(answer)), expected);
});

test("putRecordsBody makes what the SDK's serializer makes of the same input", async () => {
  let body: unknown;
  const client = new KinesisClient({
    region: "us-east-1",
    credentials: { accessKeyId: "a", secretAccessKey: "b" },
    maxAttempts: 1,
    requestHandler: {
      handle: (request: { body: unknown }) => {
        body = request.body;
        return Promise.reject(new Error("not sent"));
      },
    },
  });
  const records = recordsOf("a", "", 'quote " and \\', "größe ✓ \u0000", "x".repeat(5000));
  const keys = ["k \u007f", 'a"b\\c\t', "ünï", "\u2028", "x".repeat(256)];
  const Records = records.map(({ data }, index) => ({ Data: data, PartitionKey: keys[index] }));
  await assert.rejects(client.send(new PutRecordsCommand({ StreamName: "target.1", Records })), /not sent/);
  assert.deepEqual(
    JSON.parse(putRecordsBody("target.1", records, keys).toString()),
    JSON.parse(Buffer.from(body as Uint8Array | string).toString()),
  );
});

test("KinesisDestination takes the partition key from the message and says how many gave none", async (t) => {
  const { server, destination } = await setUp(t);
  const records = recordsOf('{"site":"north"}', "no JSON", '{"site":3}');
  const outcome = await destination.send({ ...settings, partitionKey: "pointer:/site" }, records);
  assert.equal(answered(outcome).fallbackCount, 1);
  const { keys, data } = server.requests[0]!;
  assert.deepEqual([keys[0], keys[2]], ["north", "3"]);
  assert.deepEqual(data, ['{"site":"north"}', "no JSON", '{"site":3}']);
});

test("KinesisDestination sends what it prepared, and builds no body a second time", async (t) => {
  const { server, destination } = await setUp(t);
  const records = recordsOf("a", "b");
  destination.prepare(settings, records);
  // Only a body that was built before holds what they were.
  for (const { data } of records) data.fill("x");
  destination.prepare(settings, records);
  answered(await destination.send(settings, records));
  assert.deepEqual(server.storedIn("target"), ["a", "b"]);
});

test("KinesisDestination asks for the pause between calls that the setting names", async (t) => {
  const { destination } = await setUp(t, 250);
  assert.equal(answered(await destination.send(settings, recordsOf("a"))).pauseMs, 250);
});

test("KinesisDestination keeps to the old limits until the stream says that it takes more", async (t) => {
  const { server, destination } = await setUp(t);
  server.summary = { shards: 4, recordKib: 10_240 };
  const { recordBytesMax, requestBytesMax } = destination.limitsFor(settings);
  assert.deepEqual({ recordBytesMax, requestBytesMax }, { recordBytesMax: MIB, requestBytesMax: 5 * MIB });
  assert.equal(server.summaryCount, 0);
  await destination.learnLimits(settings);
  assert.equal(server.summaryCount, 1);
  const learned = destination.limitsFor(settings);
  assert.equal(learned.recordBytesMax, 10 * MIB);
  assert.equal(learned.requestBytesMax, 10 * MIB);
  answered(await destination.send(settings, recordsOf("x".repeat(3 * MIB))));
});

test("KinesisDestination never asks again where DescribeStreamSummary is denied, and later where it failed", async (t) => {
  const { server, clock, destination } = await setUp(t);
  server.summary = "broken";
  await destination.learnLimits(settings);
  await destination.learnLimits(settings);
  assert.equal(server.summaryCount, 1, "a failure is not asked about at once");
  server.summary = "denied";
  clock.advance(61_000);
  await destination.learnLimits(settings);
  clock.advance(3_600_000);
  await destination.learnLimits(settings);
  assert.equal(server.summaryCount, 2);
  assert.equal(destination.limitsFor(settings).recordBytesMax, MIB);
  answered(await destination.send(settings, recordsOf("a")));
});

test("KinesisDestination slows down when records are throttled, and not over other failures", async (t) => {
  const { server, destination } = await setUp(t);
  const records = recordsOf(...Array.from({ length: 500 }, (_, index) => String(index)));
  const failed = Array.from({ length: 400 }, (_, index) => index);
  server.answer = () => ({ kind: "partial", failed, code: "InternalFailure" });
  assert.equal(answered(await destination.send(settings, records)).pauseMs, undefined);
  server.answer = () => ({ kind: "partial", failed });
  assert.ok(answered(await destination.send(settings, records)).pauseMs! > 0);
});
