import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { systemRandom } from "../../../src/core/random.ts";
import type { SendOutcome } from "../../../src/export/destinations/destination.ts";
import { KinesisDestination } from "../../../src/export/destinations/kinesis.ts";
import { useKinesisEndpoint } from "../../support/export-bench.ts";
import { FakeKinesisServer, type PutAnswer } from "../../support/fake-kinesis-server.ts";

const settings = { kind: "kinesis", kinesisStreamName: "target", partitionKey: "random" } as const;
const records = ["a", "b", "c"].map((text, sequence) => ({
  sequence,
  ingestTimeMs: 1,
  data: Buffer.from(text),
}));

async function outcomeOf(t: TestContext, answer: PutAnswer, progressMsMax?: number): Promise<SendOutcome> {
  const server = await FakeKinesisServer.start();
  t.after(() => server.close());
  useKinesisEndpoint(server.url);
  server.answer = () => answer;
  const destination = await KinesisDestination.load({
    random: systemRandom,
    ...(progressMsMax === undefined ? {} : { progressMsMax }),
  });
  const outcome = await destination.send(settings, records);
  destination.close();
  assert.equal(server.requests.length, 1, "one request and no retry behind our back");
  return outcome;
}

const failures: readonly { readonly name: string; readonly answer: PutAnswer; readonly expected: object }[] =
  [
    ...["ProvisionedThroughputExceededException", "LimitExceededException", "ThrottlingException"].map(
      (type) => ({
        name: type,
        answer: { kind: "error", status: 400, type } as const,
        expected: { kind: "failed", scope: "endpoint", pace: "backoff", timedOut: false },
      }),
    ),
    ...[500, 502, 503].map((status) => ({
      name: `status ${status}`,
      answer: { kind: "error", status } as const,
      expected: { kind: "failed", scope: "endpoint", pace: "backoff", timedOut: false },
    })),
    ...["ExpiredTokenException", "UnrecognizedClientException", "InvalidSignatureException"].map((type) => ({
      name: type,
      answer: { kind: "error", status: 400, type } as const,
      expected: { kind: "failed", scope: "endpoint", pace: "slow" },
    })),
    {
      name: "AccessDeniedException",
      answer: { kind: "error", status: 400, type: "AccessDeniedException" },
      expected: { kind: "failed", scope: "exporter", pace: "slow" },
    },
    {
      name: "ResourceNotFoundException",
      answer: { kind: "error", status: 400, type: "ResourceNotFoundException" },
      expected: { kind: "failed", scope: "exporter", error: "export stream target doesn't exist" },
    },
    {
      name: "ValidationException",
      answer: { kind: "error", status: 400, type: "ValidationException", message: "bad" },
      expected: { kind: "refused", error: "ValidationException: bad" },
    },
    {
      name: "a bare 400 from something in between",
      answer: { kind: "error", status: 400 },
      expected: { kind: "failed", scope: "endpoint" },
    },
    { name: "a lost answer", answer: { kind: "drop" }, expected: { kind: "failed", scope: "endpoint" } },
    { name: "a page of HTML", answer: { kind: "garbage" }, expected: { kind: "failed", scope: "endpoint" } },
    {
      name: "an answer that never ends",
      answer: { kind: "endless" },
      expected: { kind: "failed", scope: "endpoint" },
    },
  ];

for (const { name, answer, expected } of failures) {
  test(`KinesisDestination takes ${name} for what it is`, async (t) => {
    const outcome = await outcomeOf(t, answer);
    assert.deepEqual({ ...outcome, ...expected }, outcome);
  });
}

for (const kind of ["hang", "trickle"] as const) {
  test(`KinesisDestination gives up at its deadline when the server lets it ${kind}`, async (t) => {
    const outcome = await outcomeOf(t, { kind }, 300);
    assert.equal(outcome.kind, "failed");
    assert.equal(outcome.timedOut, true, outcome.error);
  });
}
