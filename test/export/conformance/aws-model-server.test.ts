import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { BatchPutMessageCommand, IoTAnalyticsClient } from "@aws-sdk/client-iotanalytics";
import { BatchPutAssetPropertyValueCommand, IoTSiteWiseClient } from "@aws-sdk/client-iotsitewise";
import { environmentFor, startAnalytics, startSiteWise, useEnvironment } from "../../support/iot-services.ts";

const PAYLOAD = Buffer.from("{}");
const nowS = Math.floor(Date.now() / 1000);

/** What the service said of the request. */
async function refusalOf(sending: Promise<unknown>): Promise<string> {
  const error = await sending.then(
    () => assert.fail("the request was accepted"),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof Error);
  assert.equal(error.name, "InvalidRequestException", error.message);
  return error.message;
}

async function analyticsOf(t: TestContext) {
  const server = await startAnalytics(t);
  if (server === undefined) return undefined;
  useEnvironment(t, environmentFor(server));
  const client = new IoTAnalyticsClient({ maxAttempts: 1 });
  t.after(() => client.destroy());
  const put = (input: object) => client.send(new BatchPutMessageCommand(input as never));
  return { server, put };
}

test("AwsModelServer takes what the SDK sends to IoT Analytics, and keeps it", async (t) => {
  const analytics = await analyticsOf(t);
  if (analytics === undefined) return;
  const { server, put } = analytics;
  const answer = await put({ channelName: "readings", messages: [{ messageId: "a", payload: PAYLOAD }] });
  assert.deepEqual(answer.batchPutMessageErrorEntries, []);
  assert.deepEqual(server.stored, [{ channel: "readings", messageId: "a", payload: PAYLOAD }]);
});

test("AwsModelServer refuses what the model of IoT Analytics does", async (t) => {
  const analytics = await analyticsOf(t);
  if (analytics === undefined) return;
  const { server, put } = analytics;
  const message = (messageId: unknown, payload: unknown = PAYLOAD) => ({
    channelName: "readings",
    messages: [{ messageId, payload }],
  });
  const many = (count: number) =>
    Array.from({ length: count }, (_, id) => ({ messageId: String(id), payload: PAYLOAD }));
  const cases: readonly (readonly [object, RegExp])[] = [
    [{ messages: [] }, /channelName is missing/],
    [{ channelName: "readings" }, /messages is missing/],
    [{ channelName: "", messages: [] }, /channelName: length is 0/],
    [{ channelName: "a".repeat(129), messages: [] }, /channelName: length is 129/],
    [{ channelName: "a-b", messages: [] }, /channelName is "a-b", must be of the form/],
    [{ channelName: "__a", messages: [] }, /must be of the form/],
    [message("a".repeat(129)), /messages\[0\]\.messageId: length is 129/],
    [message("é"), /messages\[0\]\.messageId is "é"/],
    [message(undefined), /messageId is missing/],
    [{ channelName: "readings", messages: [{ messageId: "a" }] }, /payload is missing/],
    [{ channelName: "readings", messages: [] }, /0 messages/],
    [{ channelName: "readings", messages: many(101) }, /101 messages/],
    [{ channelName: "readings", messages: [...many(2), ...many(1)] }, /an id is there twice/],
  ];
  for (const [input, expected] of cases) assert.match(await refusalOf(put(input)), expected);
  assert.equal(server.refusals.length, cases.length);
  assert.equal(server.stored.length, 0);
});

test("AwsModelServer names the message of IoT Analytics that is too large", async (t) => {
  const analytics = await analyticsOf(t);
  if (analytics === undefined) return;
  const large = { messageId: "b", payload: Buffer.alloc(131_073) };
  const answer = await analytics.put({
    channelName: "readings",
    messages: [{ messageId: "a", payload: PAYLOAD }, large],
  });
  assert.deepEqual(
    answer.batchPutMessageErrorEntries?.map(({ messageId }) => messageId),
    ["b"],
  );
  assert.equal(analytics.server.stored.length, 1);
});

test("AwsModelServer refuses a request that is not signed, signed with another key, or for another service", async (t) => {
  const analytics = await analyticsOf(t);
  if (analytics === undefined) return;
  const { server } = analytics;
  const body = JSON.stringify({ channelName: "a", messages: [{ messageId: "a", payload: "e30=" }] });
  const headers = { "content-type": "application/json" };
  const answer = await fetch(`${server.url}/messages/batch`, { method: "POST", body, headers });
  assert.equal(answer.status, 400);
  assert.match(server.refusals.at(-1) ?? "", /Authorization is ""/);
  const sendWith = async (options: object) => {
    const client = new IoTAnalyticsClient({ maxAttempts: 1, ...options });
    const command = new BatchPutMessageCommand({
      channelName: "readings",
      messages: [{ messageId: "a", payload: PAYLOAD }],
    });
    const refusal = await refusalOf(client.send(command));
    client.destroy();
    return refusal;
  };
  const credentials = { accessKeyId: "test", secretAccessKey: "another" };
  assert.match(await sendWith({ credentials }), /the signature does not match/);
  assert.match(await sendWith({ systemClockOffset: -3_600_000 }), /X-Amz-Date is/);
  assert.equal(server.stored.length, 0);
});

const ASSET = "11111111-2222-3333-4444-555555555555";
const value = { value: { doubleValue: 1.5 }, timestamp: { timeInSeconds: nowS }, quality: "GOOD" };
const entry = { entryId: "a", assetId: ASSET, propertyId: ASSET, propertyValues: [value] };

async function siteWiseOf(t: TestContext) {
  const server = await startSiteWise(t);
  if (server === undefined) return undefined;
  useEnvironment(t, environmentFor(server));
  const client = new IoTSiteWiseClient({ maxAttempts: 1, disableHostPrefix: true });
  t.after(() => client.destroy());
  const put = (entries: unknown) => client.send(new BatchPutAssetPropertyValueCommand({ entries } as never));
  return { server, put };
}

test("AwsModelServer takes what the SDK sends to IoT SiteWise, and keeps it", async (t) => {
  const siteWise = await siteWiseOf(t);
  if (siteWise === undefined) return;
  assert.deepEqual((await siteWise.put([entry])).errorEntries, []);
  assert.deepEqual(siteWise.server.stored, [entry]);
});

test("AwsModelServer refuses what the model of IoT SiteWise does", async (t) => {
  const siteWise = await siteWiseOf(t);
  if (siteWise === undefined) return;
  const { server, put } = siteWise;
  const cases: readonly (readonly [object | undefined, RegExp])[] = [
    [undefined, /entries is missing/],
    [[], /0 entries/],
    [Array.from({ length: 11 }, () => entry), /11 entries/],
    [[entry, entry], /an id is there twice: a, a/],
    [[{ ...entry, entryId: "a b" }], /entryId is "a b", must be of the form/],
    [[{ ...entry, entryId: "a".repeat(65) }], /entryId: length is 65/],
    [[{ ...entry, assetId: "asset" }], /assetId: length is 5/],
    [[{ ...entry, propertyAlias: "a\u0001" }], /propertyAlias is/],
    [[{ ...entry, propertyValues: undefined }], /propertyValues is missing/],
    [
      [{ ...entry, propertyValues: [{ ...value, quality: "FINE" }] }],
      /quality is "FINE", must be GOOD or BAD/,
    ],
    [[{ ...entry, propertyValues: [{ ...value, timestamp: {} }] }], /timeInSeconds is missing/],
    [[{ ...entry, propertyValues: [{ ...value, timestamp: { timeInSeconds: 0 } }] }], /timeInSeconds is 0/],
    [
      [{ ...entry, propertyValues: [{ ...value, timestamp: { timeInSeconds: nowS, offsetInNanos: 1e9 } }] }],
      /offsetInNanos is 1000000000/,
    ],
    [
      [{ ...entry, propertyValues: [{ ...value, value: { integerValue: 1.5 } }] }],
      /integerValue is 1\.5, must be an integer/,
    ],
  ];
  for (const [entries, expected] of cases) assert.match(await refusalOf(put(entries)), expected);
  assert.equal(server.refusals.length, cases.length);
  assert.equal(server.stored.length, 0);
});

test("AwsModelServer judges entries of IoT SiteWise: times, conflicts, properties", async (t) => {
  const siteWise = await siteWiseOf(t);
  if (siteWise === undefined) return;
  const at = (entryId: string, timeInSeconds: number, fields: object = {}) => ({
    ...entry,
    ...{ entryId, propertyValues: [{ ...value, timestamp: { timeInSeconds } }] },
    ...fields,
  });
  const { errorEntries } = await siteWise.put([
    at("past", nowS - 8 * 86_400),
    at("future", nowS + 700),
    at("one", nowS),
    at("two", nowS),
    at("fine", nowS - 1),
    at("nobody", nowS, { assetId: undefined }),
    at("double", nowS - 2, {
      propertyValues: [value, { ...value, quality: "BAD" }].map((one) => ({
        ...one,
        timestamp: { timeInSeconds: nowS - 2 },
      })),
    }),
  ]);
  const codes = errorEntries?.map(({ entryId, errors }) => [entryId, errors?.[0]?.errorCode]);
  assert.deepEqual(codes, [
    ["past", "TimestampOutOfRangeException"],
    ["future", "TimestampOutOfRangeException"],
    ["one", "ConflictingOperationException"],
    ["two", "ConflictingOperationException"],
    ["nobody", "InvalidRequestException"],
    ["double", "ConflictingOperationException"],
  ]);
  assert.deepEqual(
    siteWise.server.stored.map(({ entryId }) => entryId),
    ["fine"],
  );
});
