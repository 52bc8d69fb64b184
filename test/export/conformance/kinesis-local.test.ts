import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { systemRandom } from "../../../src/core/random.ts";
import type { SendOutcome } from "../../../src/export/destinations/destination.ts";
import { KinesisDestination } from "../../../src/export/destinations/kinesis.ts";
import { CleanUps } from "../../support/clean-ups.ts";
import { useKinesisEndpoint } from "../../support/export-bench.ts";
import { KinesisEmulator } from "../../support/kinesis-emulator.ts";

const STREAM = "target";
const SHARDS = 2;
const cleanUps = new CleanUps();
let emulator: KinesisEmulator;

before(async () => {
  emulator = await KinesisEmulator.start(cleanUps, "kinesis-local");
  await emulator.createStream(STREAM, SHARDS);
  useKinesisEndpoint(emulator.url);
});
after(() => cleanUps.run());

async function send(kinesisStreamName: string, texts: readonly string[]): Promise<SendOutcome> {
  const destination = await KinesisDestination.load({ random: systemRandom });
  const settings = { kind: "kinesis", kinesisStreamName, partitionKey: "pointer:/site" } as const;
  const records = texts.map((text, sequence) => ({ sequence, ingestTimeMs: 1, data: Buffer.from(text) }));
  // Asked for in earnest: the answer must not stand in the way, whatever an emulator makes of it.
  await destination.learnLimits(settings);
  const outcome = await destination.send(settings, records);
  destination.close();
  return outcome;
}

test("KinesisDestination stores every payload unchanged in kinesis-local, under the key that it names", async () => {
  const keyed = Array.from({ length: 40 }, (_, index) => JSON.stringify({ site: `s${index % 5}`, index }));
  const texts = [...keyed, "ünïcode ✓", "\u0000binary\u0001", "x".repeat(900_000)];
  const { requestBytes = 0, ...answer } = await send(STREAM, texts);
  assert.deepEqual(answer, { kind: "answered", failed: [], error: "", fallbackCount: 3 });
  assert.ok(requestBytes > Buffer.byteLength(texts.join("")), `a body of ${requestBytes} bytes`);
  const stored = await emulator.recordsOf(STREAM);
  assert.deepEqual(stored.map(({ text }) => text).sort(), [...texts].sort());
  assert.equal(new Set(stored.map(({ shardId }) => shardId)).size, SHARDS);
  const named = stored.filter(({ text }) => text.startsWith("{"));
  for (const { partitionKey, text } of named) {
    assert.equal(partitionKey, (JSON.parse(text) as { site: string }).site);
  }
});

test("KinesisDestination says which stream is missing in kinesis-local and asks for a retry", async () => {
  const { requestBytes, ...outcome } = await send("absent", ["x"]);
  assert.ok(requestBytes !== undefined, "its bytes are counted although it failed");
  assert.deepEqual(outcome, {
    kind: "failed",
    scope: "exporter",
    pace: "backoff",
    timedOut: false,
    error: "export stream absent doesn't exist",
  });
});

test("KinesisDestination learns from kinesis-local that a stream name is invalid: a refusal, not a failure", async () => {
  const outcome = await send("no blanks!", ["x"]);
  assert.equal(outcome.kind, "refused");
});
