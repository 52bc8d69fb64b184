import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { environmentFor, startAnalytics, startSiteWise } from "../../support/iot-services.ts";
import { Program, runProgram } from "../../support/program.ts";
import { requireProgram, skipOrFail } from "../../support/require-program.ts";

const timeout = 60_000;
/** Debian's: its botocore is the one whose models the servers have. */
const python = "/usr/bin/python3";

/** Calls one operation with the JSON of standard input. Bytes come as `{"utf8": …}`. Prints what it answers, or the error. */
const CLIENT = `
import json, sys
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import get_session

service, operation, url = sys.argv[1:]
# One try, and the server judges what is sent.
config = Config(inject_host_prefix=False, parameter_validation=False, retries={"max_attempts": 0})
client = get_session().create_client(service, "us-east-1", endpoint_url=url, config=config)
bytes_or_object = lambda each: each["utf8"].encode() if set(each) == {"utf8"} else each
try:
    answer = getattr(client, operation)(**json.load(sys.stdin, object_hook=bytes_or_object))
except ClientError as error:
    answer = {"error": error.response["Error"]["Code"], "status": error.response["ResponseMetadata"]["HTTPStatusCode"]}
answer.pop("ResponseMetadata", None)
json.dump(answer, sys.stdout)
`;

/** What botocore makes of the answer. Undefined, and the test skipped, where it is not installed. */
async function clientFor(
  t: TestContext,
  { service, operation, url }: { service: string; operation: string; url: string },
): Promise<((input: unknown) => Promise<Record<string, unknown>>) | undefined> {
  if (!requireProgram(t, python, "call the model servers as AWS's own client does")) return undefined;
  const look = new Program(t, ["-c", "import botocore"], { nodePath: python });
  if ((await look.finished()).code !== 0) {
    skipOrFail(
      t,
      "python3-botocore is not installed; needed to call the model servers as AWS's own client does",
    );
    return undefined;
  }
  const env = { HOME: "/nonexistent", ...environmentFor({ url }) };
  return async (input) => {
    const options = { nodePath: python, env, input: JSON.stringify(input) };
    const { code, stdout, stderr } = await runProgram(t, ["-c", CLIENT, service, operation, url], options);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout) as Record<string, unknown>;
  };
}

test(
  "AwsModelServer takes what botocore sends to IoT Analytics, and botocore its answers",
  { timeout },
  async (t) => {
    const server = await startAnalytics(t);
    if (server === undefined) return;
    const call = await clientFor(t, {
      service: "iotanalytics",
      operation: "batch_put_message",
      url: server.url,
    });
    if (call === undefined) return;
    const messages = ["a", "b"].map((messageId) => ({ messageId, payload: { utf8: `größe ${messageId}` } }));
    assert.deepEqual(await call({ channelName: "readings", messages }), { batchPutMessageErrorEntries: [] });
    assert.deepEqual(
      server.stored.map(({ channel, messageId, payload }) => [channel, messageId, payload.toString()]),
      [
        ["readings", "a", "größe a"],
        ["readings", "b", "größe b"],
      ],
    );
    server.answer = () => ({
      kind: "entries",
      errors: [{ index: 1, code: "InternalFailureException", message: "later" }],
    });
    assert.deepEqual(await call({ channelName: "readings", messages }), {
      batchPutMessageErrorEntries: [
        { messageId: "b", errorCode: "InternalFailureException", errorMessage: "later" },
      ],
    });
    assert.deepEqual(server.refusals, []);
    const refused = await call({ channelName: "no-channel", messages });
    assert.deepEqual(refused, { error: "InvalidRequestException", status: 400 });
    server.answer = () => ({ kind: "error", type: "ThrottlingException" });
    assert.deepEqual(await call({ channelName: "readings", messages }), {
      error: "ThrottlingException",
      status: 429,
    });
  },
);

test(
  "AwsModelServer takes what botocore sends to IoT SiteWise, and botocore its answers",
  { timeout },
  async (t) => {
    const server = await startSiteWise(t);
    if (server === undefined) return;
    const target = { service: "iotsitewise", operation: "batch_put_asset_property_value", url: server.url };
    const call = await clientFor(t, target);
    if (call === undefined) return;
    const timeInSeconds = Math.floor(Date.now() / 1000);
    const entry = (entryId: string, value: object, seconds = timeInSeconds) => ({
      entryId,
      propertyAlias: `/pump/${entryId}`,
      propertyValues: [{ value, timestamp: { timeInSeconds: seconds, offsetInNanos: 5 }, quality: "GOOD" }],
    });
    const entries = [
      entry("a", { doubleValue: 1.5 }),
      entry("b", { integerValue: 7 }),
      entry("c", { booleanValue: true }),
      entry("d", { stringValue: "größe" }),
    ];
    assert.deepEqual(await call({ entries }), { errorEntries: [] });
    assert.deepEqual(server.stored, entries);
    const { errorEntries } = await call({
      entries: [entry("old", { integerValue: 1 }, 1), ...entries.slice(0, 1)],
    });
    const [first, ...others] = errorEntries as { entryId: string; errors: { errorCode: string }[] }[];
    assert.equal(first?.entryId, "old");
    assert.equal(first.errors[0]?.errorCode, "TimestampOutOfRangeException");
    assert.deepEqual(others, []);
    assert.deepEqual(server.refusals, []);
    assert.deepEqual(await call({ entries: [] }), { error: "InvalidRequestException", status: 400 });
    server.answer = () => ({ kind: "error", type: "ThrottlingException" });
    assert.deepEqual(await call({ entries }), { error: "ThrottlingException", status: 429 });
  },
);
