import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import type { SendOutcome } from "../../../src/export/destinations/destination.ts";
import { IotAnalyticsDestination, messageIdOf } from "../../../src/export/destinations/iot-analytics.ts";
import type { AwsModelServer, ModelAnswer } from "../../support/aws-model-server.ts";
import {
  type AnalyticsMessage,
  environmentFor,
  sendCounted,
  startAnalytics,
  useEnvironment,
} from "../../support/iot-services.ts";

const STREAM_ID = "00112233445566778899aabbccddeeff";
const settings = { kind: "iotAnalytics", iotChannel: "readings", iotMsgIdPrefix: "gateway:" } as const;
const context = {
  streamId: STREAM_ID,
  streamName: "s",
  exporterId: "e",
  identifier: "e",
  streamDirectory: "/nowhere",
};
const records = ["a", "b", "c"].map((text, sequence) => ({
  sequence,
  ingestTimeMs: 1,
  data: Buffer.from(text),
}));

interface Link {
  readonly server: AwsModelServer<AnalyticsMessage>;
  readonly destination: IotAnalyticsDestination;
  send(batch: typeof records): Promise<SendOutcome>;
}

async function connect(t: TestContext, progressMsMax?: number): Promise<Link | undefined> {
  const server = await startAnalytics(t);
  if (server === undefined) return undefined;
  useEnvironment(t, environmentFor(server));
  const destination = await IotAnalyticsDestination.load(
    progressMsMax === undefined ? {} : { progressMsMax },
  );
  t.after(() => destination.close());
  const send = (batch: typeof records): Promise<SendOutcome> =>
    sendCounted(server, () => destination.send(settings, batch, context));
  return { server, destination, send };
}

async function outcomeOf(
  t: TestContext,
  answer: ModelAnswer,
  progressMsMax?: number,
): Promise<SendOutcome | undefined> {
  const link = await connect(t, progressMsMax);
  if (link === undefined) return undefined;
  link.server.answer = () => answer;
  const outcome = await link.send(records);
  assert.deepEqual(link.server.refusals, []);
  assert.equal(link.server.requests.length, 1, "one request and no retry behind our back");
  return outcome;
}

test("IotAnalyticsDestination puts payloads unchanged under ids that stay the same", async (t) => {
  const link = await connect(t);
  if (link === undefined) return;
  const { server } = link;
  const bytes = { sequence: 3, ingestTimeMs: 1, data: Buffer.from([0, 0xff, 0x80]) };
  for (let round = 0; round < 2; round += 1) {
    const outcome: SendOutcome = await link.send([...records, bytes]);
    assert.deepEqual(outcome, { kind: "answered", failed: [], refused: [], error: "" });
  }
  const [first, second] = [server.stored.slice(0, 4), server.stored.slice(4)];
  assert.deepEqual(first, second);
  assert.deepEqual(
    first.map(({ payload }) => payload),
    [...records, bytes].map(({ data }) => data),
  );
  assert.deepEqual(
    first.map(({ messageId }) => messageId),
    [0, 1, 2, 3].map((sequence) => `gateway:${STREAM_ID}-${sequence}`),
  );
  assert.equal(server.connections, 1, "connections are kept");
});

test("messageIdOf fits the longest prefix, id and number into what the API takes, and any prefix into ASCII", () => {
  const id = messageIdOf("x".repeat(32), STREAM_ID, Number.MAX_SAFE_INTEGER);
  assert.ok(id.length <= 128, id);
  assert.equal(messageIdOf("é\n💡-", "s", 1), "___-s-1");
  assert.notEqual(messageIdOf("", "s", 1), messageIdOf("", "s", 11));
});

test("IotAnalyticsDestination sends a full batch of the largest messages that its limits let through", async (t) => {
  const link = await connect(t);
  if (link === undefined) return;
  const { recordsMax, recordBytesMax, requestBytesMax } = link.destination.limitsFor();
  const small = Array.from({ length: recordsMax }, (_, sequence) => ({ ...records[0]!, sequence }));
  const large = Array.from({ length: Math.floor(requestBytesMax / recordBytesMax) }, (_, sequence) => ({
    ...records[0]!,
    ...{ sequence, data: Buffer.alloc(recordBytesMax, 7) },
  }));
  for (const batch of [small, large]) {
    const outcome = await link.send(batch);
    assert.deepEqual(outcome, { kind: "answered", failed: [], refused: [], error: "" });
  }
  assert.deepEqual(link.server.refusals, []);
});

test("IotAnalyticsDestination judges message by message", async (t) => {
  const outcome = await outcomeOf(t, {
    kind: "entries",
    errors: [
      { index: 0, code: "ThrottlingException" },
      { index: 2, code: "InvalidRequestException", message: "not for us" },
    ],
  });
  if (outcome === undefined) return;
  assert.deepEqual(outcome, {
    kind: "answered",
    failed: [0],
    refused: [{ index: 2, error: "InvalidRequestException: not for us" }],
    error: "1 of the messages failed, the last with ThrottlingException: injected",
  });
});

const ENDED = " (AWS ended IoT Analytics on 2025-12-15)";
const failed = { kind: "failed", timedOut: false } as const;
const rows: readonly { readonly name: string; readonly answer: ModelAnswer; readonly expected: object }[] = [
  ...["InternalFailureException", "ServiceUnavailableException", "ThrottlingException"].map((type) => ({
    name: type,
    answer: { kind: "error", type } as const,
    expected: { ...failed, scope: "endpoint", pace: "backoff" },
  })),
  ...["ExpiredTokenException", "UnrecognizedClientException", "InvalidSignatureException"].map((type) => ({
    name: type,
    answer: { kind: "error", status: 403, type } as const,
    expected: { ...failed, scope: "endpoint", pace: "slow" },
  })),
  {
    name: "AccessDeniedException",
    answer: { kind: "error", status: 403, type: "AccessDeniedException" },
    expected: { ...failed, scope: "exporter", pace: "slow" },
  },
  {
    name: "ResourceNotFoundException",
    answer: { kind: "error", type: "ResourceNotFoundException" },
    expected: { ...failed, scope: "exporter", error: `export channel readings doesn't exist${ENDED}` },
  },
  {
    name: "InvalidRequestException",
    answer: { kind: "error", type: "InvalidRequestException", message: "bad" },
    expected: { kind: "refused", error: "InvalidRequestException: bad" },
  },
  {
    name: "a bare 400 from something in between",
    answer: { kind: "error", status: 400 },
    expected: { ...failed, scope: "endpoint", error: `status 400 without an error of IoT Analytics${ENDED}` },
  },
  {
    name: "a bare 502",
    answer: { kind: "error", status: 502 },
    expected: { ...failed, scope: "endpoint" },
  },
  { name: "a lost answer", answer: { kind: "drop" }, expected: { kind: "failed", scope: "endpoint" } },
  {
    name: "a page of HTML",
    answer: { kind: "body", body: "<html>", type: "text/html" },
    expected: { ...failed, scope: "endpoint" },
  },
  {
    name: "an answer without a list",
    answer: { kind: "body", body: "{}" },
    expected: {
      ...failed,
      error: "BatchPutMessage was answered without batchPutMessageErrorEntries",
    },
  },
  {
    name: "an error of a message that was not sent",
    answer: {
      kind: "body",
      body: '{"batchPutMessageErrorEntries":[{"messageId":"x","errorCode":"InvalidRequestException"}]}',
    },
    expected: { ...failed, scope: "endpoint", pace: "backoff" },
  },
  {
    name: "an answer that never ends",
    answer: { kind: "endless" },
    expected: { ...failed, scope: "endpoint" },
  },
];

for (const { name, answer, expected } of rows) {
  test(`IotAnalyticsDestination takes ${name} for what it is`, async (t) => {
    const outcome = await outcomeOf(t, answer);
    if (outcome !== undefined) assert.deepEqual({ ...outcome, ...expected }, outcome);
  });
}

test("IotAnalyticsDestination gives up a request that is never answered", async (t) => {
  const outcome = await outcomeOf(t, { kind: "hang" }, 300);
  if (outcome === undefined) return;
  assert.deepEqual({ ...outcome, kind: "failed", timedOut: true }, outcome);
});
