import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { environmentFor, startAnalytics, startSiteWise } from "../../support/iot-services.ts";
import { runProgram } from "../../support/program.ts";
import { requireProgram, skipOrFail } from "../../support/require-program.ts";

const timeout = 60_000;
/** Debian's: its botocore is the one whose models the servers have. */
const python = "/usr/bin/python3";
const NOT_INSTALLED = 3;
const why = "call the model servers as AWS's own client does";

/** Calls one operation with each line of standard input, JSON with bytes as `{"utf8": …}`. Prints answers, or their errors. */
const CLIENT = `
import json, sys
try:
    from botocore.config import Config
    from botocore.exceptions import ClientError
    from botocore.session import get_session
except ImportError:
    sys.exit(${NOT_INSTALLED})

service, operation, url = sys.argv[1:]
# One try, and the server judges what is sent.
config = Config(inject_host_prefix=False, parameter_validation=False, retries={"max_attempts": 0})
client = get_session().create_client(service, "us-east-1", endpoint_url=url, config=config)
bytes_or_object = lambda each: each["utf8"].encode() if set(each) == {"utf8"} else each
for line in sys.stdin:
    try:
        answer = getattr(client, operation)(**json.loads(line, object_hook=bytes_or_object))
    except ClientError as error:
        answer = {"error": error.response["Error"]["Code"], "status": error.response["ResponseMetadata"]["HTTPStatusCode"]}
    answer.pop("ResponseMetadata", None)
    print(json.dumps(answer))
`;

/** What botocore makes of the answers to these inputs. Undefined, and the test skipped, where it is not installed. */
async function callAll(
  t: TestContext,
  { service, operation, url }: { service: string; operation: string; url: string },
  inputs: readonly unknown[],
): Promise<readonly Record<string, unknown>[] | undefined> {
  if (!requireProgram(t, python, why)) return undefined;
  const env = { HOME: "/nonexistent", ...environmentFor({ url }) };
  const input = inputs.map((each) => `${JSON.stringify(each)}\n`).join("");
  const options = { nodePath: python, env, input };
  const { code, stdout, stderr } = await runProgram(t, ["-c", CLIENT, service, operation, url], options);
  if (code === NOT_INSTALLED) {
    skipOrFail(t, `python3-botocore is not installed; needed to ${why}`);
    return undefined;
  }
  assert.equal(code, 0, stderr);
  const answers = stdout.trimEnd().split("\n");
  assert.equal(answers.length, inputs.length);
  return answers.map((line) => JSON.parse(line) as Record<string, unknown>);
}

test(
  "AwsModelServer takes what botocore sends to IoT Analytics, and botocore its answers",
  { timeout },
  async (t) => {
    const server = await startAnalytics(t);
    if (server === undefined) return;
    server.answer = (_, index) => {
      if (index === 2) return { kind: "error", type: "ThrottlingException" };
      const errors = index === 1 ? [{ index: 1, code: "InternalFailureException", message: "later" }] : [];
      return { kind: "entries", errors };
    };
    const messages = ["a", "b"].map((messageId) => ({ messageId, payload: { utf8: `größe ${messageId}` } }));
    const input = { channelName: "readings", messages };
    const target = { service: "iotanalytics", operation: "batch_put_message", url: server.url };
    const inputs = [input, input, input, { channelName: "no-channel", messages }];
    const answers = await callAll(t, target, inputs);
    if (answers === undefined) return;
    const errorMessage = "later";
    assert.deepEqual(answers, [
      { batchPutMessageErrorEntries: [] },
      {
        batchPutMessageErrorEntries: [
          { messageId: "b", errorCode: "InternalFailureException", errorMessage },
        ],
      },
      { error: "ThrottlingException", status: 429 },
      { error: "InvalidRequestException", status: 400 },
    ]);
    const stored = server.stored.map(({ channel, messageId, payload }) => [
      channel,
      messageId,
      payload.toString(),
    ]);
    const [a, b] = [
      ["readings", "a", "größe a"],
      ["readings", "b", "größe b"],
    ];
    assert.deepEqual(stored, [a, b, a]);
    assert.equal(server.refusals.length, 1);
  },
);

test(
  "AwsModelServer takes what botocore sends to IoT SiteWise, and botocore its answers",
  { timeout },
  async (t) => {
    const server = await startSiteWise(t);
    if (server === undefined) return;
    server.answer = (_, index) =>
      index === 2 ? { kind: "error", type: "ThrottlingException" } : { kind: "accept" };
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
    const old = entry("old", { integerValue: 1 }, 1);
    const target = { service: "iotsitewise", operation: "batch_put_asset_property_value", url: server.url };
    const answers = await callAll(t, target, [{ entries }, { entries: [old] }, { entries }, { entries: [] }]);
    if (answers === undefined) return;
    const [first, second, ...others] = answers;
    assert.deepEqual(first, { errorEntries: [] });
    const refused = second?.["errorEntries"] as { entryId: string; errors: { errorCode: string }[] }[];
    assert.deepEqual(
      refused.map(({ entryId, errors }) => [entryId, errors[0]?.errorCode]),
      [["old", "TimestampOutOfRangeException"]],
    );
    assert.deepEqual(others, [
      { error: "ThrottlingException", status: 429 },
      { error: "InvalidRequestException", status: 400 },
    ]);
    assert.deepEqual(server.stored, entries);
    assert.equal(server.refusals.length, 1);
  },
);
