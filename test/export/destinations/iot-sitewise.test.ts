import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import type { SendOutcome } from "../../../src/export/destinations/destination.ts";
import { IotSiteWiseDestination } from "../../../src/export/destinations/iot-sitewise.ts";
import type { AwsModelServer, ModelAnswer, ModelRequest } from "../../support/aws-model-server.ts";
import {
  environmentFor,
  KNOWN_ALIAS,
  sendCounted,
  type SiteWiseEntryInput,
  startSiteWise,
  useEnvironment,
} from "../../support/iot-services.ts";

const settings = { kind: "IotSitewise" } as const;
const nowS = Math.floor(Date.now() / 1000);

interface Reading {
  readonly alias?: string;
  readonly atS?: number;
  readonly entryId?: string;
  readonly values?: number;
  readonly fields?: object;
}

/** Messages whose value is their place. */
function recordsOf(...readings: readonly (Reading | string)[]) {
  return readings.map((reading, sequence) => {
    const data = Buffer.from(
      typeof reading === "string" ? reading : JSON.stringify(entryOf(reading, sequence)),
    );
    return { sequence, ingestTimeMs: 1, data };
  });
}

function entryOf({ alias = "/a", atS, entryId, values = 1, fields = {} }: Reading, sequence: number) {
  const timestamp = { timeInSeconds: atS ?? nowS - sequence };
  const propertyValues = Array.from({ length: values }, () => ({
    value: { integerValue: sequence },
    timestamp,
  }));
  return { entryId: entryId ?? `e${sequence}`, propertyAlias: alias, propertyValues, ...fields };
}

interface Link {
  readonly server: AwsModelServer<SiteWiseEntryInput>;
  send(records: ReturnType<typeof recordsOf>): Promise<SendOutcome>;
}

async function connect(t: TestContext, progressMsMax?: number): Promise<Link | undefined> {
  const server = await startSiteWise(t);
  if (server === undefined) return undefined;
  useEnvironment(t, environmentFor(server));
  const destination = await IotSiteWiseDestination.load(progressMsMax === undefined ? {} : { progressMsMax });
  t.after(() => destination.close());
  return { server, send: (records) => sendCounted(server, () => destination.send(settings, records)) };
}

const valuesOf = (entries: readonly SiteWiseEntryInput[]): unknown[] =>
  entries.map(({ propertyValues: [first] }) => first?.value["integerValue"]);

const callsOf = ({ requests }: Pick<Link["server"], "requests">): unknown[][] =>
  requests.map(({ entries }) => valuesOf(entries));

test("IotSiteWiseDestination puts ten entries in a call, as they came, to the endpoint as it was named", async (t) => {
  const link = await connect(t);
  if (link === undefined) return;
  const readings = Array.from({ length: 10 }, (_, id) => ({ entryId: `reading-${id}` }));
  const outcome = await link.send(recordsOf(...readings));
  assert.deepEqual(outcome, { kind: "answered", failed: [], refused: [], error: "" });
  assert.deepEqual(callsOf(link.server), [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]]);
  assert.deepEqual(
    link.server.stored.map(({ entryId }) => entryId),
    readings.map(({ entryId }) => entryId),
  );
  // The SDK would put "data." before it.
  assert.equal(link.server.requests[0]?.host, `127.0.0.1:${link.server.port}`);
});

test("IotSiteWiseDestination refuses what is no entry, and that alone, without asking", async (t) => {
  const link = await connect(t);
  if (link === undefined) return;
  const outcome = await link.send(recordsOf({}, "not JSON", {}, { alias: "" }));
  assert.ok(outcome.kind === "answered");
  assert.deepEqual(outcome.failed, []);
  assert.deepEqual(
    outcome.refused?.map(({ index, isMalformed }) => [index, isMalformed]),
    [
      [1, true],
      [3, true],
    ],
  );
  assert.deepEqual(callsOf(link.server), [[0, 2]]);
  assert.equal((await link.send(recordsOf("{}"))).kind, "answered");
  assert.equal(link.server.requests.length, 1);
});

test("IotSiteWiseDestination never puts one property's values of one time into one call", async (t) => {
  const link = await connect(t);
  if (link === undefined) return;
  const outcome = await link.send(recordsOf({ atS: nowS }, { alias: "/b" }, { atS: nowS }, { atS: nowS }));
  assert.deepEqual(outcome, { kind: "answered", failed: [], refused: [], error: "" });
  assert.deepEqual(callsOf(link.server), [[0, 1], [2], [3]]);
});

test("IotSiteWiseDestination gets through where an alias and ids name one property", async (t) => {
  const link = await connect(t);
  if (link === undefined) return;
  const { propertyAlias: alias, assetId, propertyId } = KNOWN_ALIAS;
  const byIds = { atS: nowS, fields: { propertyAlias: undefined, assetId, propertyId } };
  const outcome = await link.send(recordsOf({ atS: nowS, alias }, { alias: "/b" }, byIds));
  assert.deepEqual(outcome, { kind: "answered", failed: [], refused: [], error: "" });
  assert.deepEqual(callsOf(link.server), [[0, 1, 2], [0], [2]]);
  assert.deepEqual(valuesOf(link.server.stored), [1, 0, 2]);
});

test("IotSiteWiseDestination refuses an entry that conflicts with itself, and that alone", async (t) => {
  const link = await connect(t);
  if (link === undefined) return;
  const outcome = await link.send(recordsOf({}, { values: 2 }, {}));
  assert.ok(outcome.kind === "answered");
  assert.deepEqual(outcome.failed, []);
  assert.deepEqual(outcome.refused, [
    { index: 1, error: "InvalidRequestException: two values of the entry have the same timestamp" },
  ]);
  assert.deepEqual(valuesOf(link.server.stored), [0, 2]);
});

test("IotSiteWiseDestination tells a conflict of the whole call from one of an entry", async (t) => {
  const link = await connect(t);
  if (link === undefined) return;
  const conflict = { kind: "error", type: "ConflictingOperationException" } as const;
  link.server.answer = ({ entries }) => (entries.length > 1 ? conflict : { kind: "accept" });
  assert.deepEqual(await link.send(recordsOf({}, {})), {
    ...{ kind: "answered", failed: [], refused: [], error: "" },
  });
  assert.deepEqual(callsOf(link.server), [[0, 1], [0], [1]]);
  // Somebody else writes it at this moment.
  link.server.answer = () => conflict;
  const outcome = await link.send(recordsOf({}, {}));
  assert.ok(outcome.kind === "answered");
  assert.deepEqual(outcome.failed, [0, 1]);
  assert.deepEqual(callsOf(link.server).slice(3), [[0, 1], [0]], "the second must not overtake the first");
});

test("IotSiteWiseDestination makes entry ids of a call unique, and knows whose error it is told", async (t) => {
  const link = await connect(t);
  if (link === undefined) return;
  link.server.answer = () => ({ kind: "entries", errors: [{ index: 2, code: "InvalidRequestException" }] });
  const same = { entryId: "same" };
  const outcome = await link.send(recordsOf(same, same, same));
  assert.ok(outcome.kind === "answered");
  assert.deepEqual(
    outcome.refused?.map(({ index }) => index),
    [2],
  );
  assert.deepEqual(link.server.refusals, []);
  assert.equal(link.server.requests[0]?.entries[0]?.entryId, "same");
});

test("IotSiteWiseDestination judges entry by entry", async (t) => {
  const link = await connect(t);
  if (link === undefined) return;
  const codes = [
    "InvalidRequestException",
    "ResourceNotFoundException",
    "TimestampOutOfRangeException",
    "ThrottlingException",
    "InternalFailureException",
    "ServiceUnavailableException",
    "LimitExceededException",
    "AccessDeniedException",
    "SomethingNewException",
  ];
  link.server.answer = () => ({ kind: "entries", errors: codes.map((code, index) => ({ index, code })) });
  const outcome = await link.send(recordsOf(...codes.map(() => ({})), {}));
  assert.ok(outcome.kind === "answered");
  assert.deepEqual(outcome.failed, [3, 4, 5, 6, 7, 8]);
  assert.deepEqual(
    outcome.refused?.map(({ index }) => index),
    [0, 1, 2],
  );
  assert.match(outcome.error, /6 of the messages failed, the last with SomethingNewException/);
});

test("IotSiteWiseDestination lets nothing overtake an entry that is to be sent again", async (t) => {
  const link = await connect(t);
  if (link === undefined) return;
  link.server.answer = () => ({ kind: "entries", errors: [{ index: 0, code: "ThrottlingException" }] });
  const records = recordsOf({ atS: nowS }, { alias: "/b" }, { atS: nowS }, { alias: "/b" }, "no JSON");
  const outcome = await link.send(records);
  assert.ok(outcome.kind === "answered");
  assert.deepEqual(outcome.failed, [0, 2, 3]);
  assert.deepEqual(
    outcome.refused?.map(({ index }) => index),
    [4],
  );
  assert.match(outcome.error, /ThrottlingException/);
  assert.deepEqual(callsOf(link.server), [[0, 1]]);
});

test("IotSiteWiseDestination sends the rest again when a later call of a batch fails", async (t) => {
  const link = await connect(t);
  if (link === undefined) return;
  link.server.answer = (_, index) =>
    index === 0 ? { kind: "accept" } : { kind: "error", type: "ServiceUnavailableException" };
  const outcome = await link.send(recordsOf({ atS: nowS }, { atS: nowS }, { atS: nowS }));
  assert.ok(outcome.kind === "answered");
  assert.deepEqual(outcome.failed, [1, 2]);
  assert.match(outcome.error, /ServiceUnavailableException/);
});

test("IotSiteWiseDestination waits long where every entry is denied", async (t) => {
  const link = await connect(t);
  if (link === undefined) return;
  const deny = ({ entries }: ModelRequest<SiteWiseEntryInput>): ModelAnswer => ({
    kind: "entries",
    errors: entries.map((_, index) => ({ index, code: "AccessDeniedException" })),
  });
  link.server.answer = deny;
  const outcome = await link.send(recordsOf({ atS: nowS }, { atS: nowS }));
  assert.deepEqual({ ...outcome, kind: "failed", scope: "exporter", pace: "slow" }, outcome);
  link.server.answer = (request, index) => (index === 1 ? { kind: "accept" } : deny(request));
  assert.equal((await link.send(recordsOf({ atS: nowS }, { atS: nowS }))).kind, "answered");
});

const failed = { kind: "failed", timedOut: false } as const;
const rows: readonly { readonly name: string; readonly answer: ModelAnswer; readonly expected: object }[] = [
  ...[
    "InternalFailureException",
    "ServiceUnavailableException",
    "ThrottlingException",
    "LimitExceededException",
  ].map((type) => ({
    name: type,
    answer: { kind: "error", type } as const,
    expected: { ...failed, scope: "endpoint", pace: "backoff" },
  })),
  {
    name: "ExpiredTokenException",
    answer: { kind: "error", status: 403, type: "ExpiredTokenException" },
    expected: { ...failed, scope: "endpoint", pace: "slow" },
  },
  {
    name: "AccessDeniedException",
    answer: { kind: "error", status: 403, type: "AccessDeniedException" },
    expected: { ...failed, scope: "exporter", pace: "slow" },
  },
  ...["InvalidRequestException", "ResourceNotFoundException"].map((type) => ({
    name: type,
    answer: { kind: "error", type, message: "bad" } as const,
    expected: { kind: "refused", error: `${type}: bad` },
  })),
  {
    name: "a bare 400 from something in between",
    answer: { kind: "error", status: 400 },
    expected: { ...failed, scope: "endpoint", error: "status 400 without an error of IoT SiteWise" },
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
    expected: { ...failed, error: "BatchPutAssetPropertyValue was answered without errorEntries" },
  },
  {
    name: "an error of an entry that was not sent",
    answer: { kind: "body", body: '{"errorEntries":[{"entryId":"x","errors":[]}]}' },
    expected: { ...failed, scope: "endpoint", pace: "backoff" },
  },
  {
    name: "an entry that failed without an error",
    answer: { kind: "body", body: '{"errorEntries":[{"entryId":"e1","errors":[]}]}' },
    expected: { kind: "answered", failed: [1], refused: [] },
  },
  {
    name: "an answer that never ends",
    answer: { kind: "endless" },
    expected: { ...failed, scope: "endpoint" },
  },
];

for (const { name, answer, expected } of rows) {
  test(`IotSiteWiseDestination takes ${name} for what it is`, async (t) => {
    const link = await connect(t);
    if (link === undefined) return;
    link.server.answer = () => answer;
    const outcome = await link.send(recordsOf({}, {}));
    assert.equal(link.server.requests.length, 1, "one request and no retry behind our back");
    assert.deepEqual({ ...outcome, ...expected }, outcome);
  });
}

test("IotSiteWiseDestination gives up a request that is never answered", async (t) => {
  const link = await connect(t, 300);
  if (link === undefined) return;
  link.server.answer = () => ({ kind: "hang" });
  const outcome = await link.send(recordsOf({}));
  assert.deepEqual({ ...outcome, kind: "failed", timedOut: true }, outcome);
});

test("IotSiteWiseDestination asks the data plane of its region where no endpoint is named", async (t) => {
  // No such region: whether there is a network or not, there is no such host. An empty variable is none.
  useEnvironment(t, { ...environmentFor({ url: "" }), AWS_REGION: "nowhere-1" });
  const destination = await IotSiteWiseDestination.load({});
  t.after(() => destination.close());
  const outcome = await destination.send(settings, recordsOf({}));
  assert.ok(outcome.kind === "failed");
  assert.match(outcome.error, /data\.iotsitewise\.nowhere-1\.amazonaws\.com/);
});
