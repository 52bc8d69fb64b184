import assert from "node:assert/strict";
import { test } from "node:test";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import {
  appendExported,
  arrivedCounters,
  exportedPayload,
  startKinesis,
} from "../faults/exported-streams.ts";
import { EngineProcess } from "../support/engine-process.ts";

const STREAM = "readings";
const BATCH_SIZE = 50;
const labels = `stream="${STREAM}",exporter="cloud"`;

/** What `/metrics` says of the exporter. */
interface Scraped {
  readonly appendedMessages: number;
  readonly messages: ReadonlyMap<string, number>;
  readonly bytes: ReadonlyMap<string, number>;
}

async function scrape(engine: EngineProcess): Promise<Scraped> {
  const text = await engine.metrics();
  const value = (name: string, given: string): number => {
    const line = text.split("\n").find((one) => one.startsWith(`millrace_${name}{${given}}`));
    assert.ok(line !== undefined, `no ${name}{${given}} in ${text}`);
    return Number(line.split(" ").at(-1));
  };
  const accounts = [..."exported setAside overwritten expired deleted damaged skipped rewound".split(" ")];
  const totals = (name: string, pending: string): Map<string, number> =>
    new Map([
      ...accounts.map((account) => [account, value(name, `${labels},account="${account}"`)] as const),
      ["pending", value(pending, labels)] as const,
    ]);
  return {
    appendedMessages: value("stream_newest_sequence", `stream="${STREAM}"`) + 1,
    messages: totals("export_messages_total", "export_pending_messages"),
    bytes: totals("export_bytes_total", "export_pending_bytes"),
  };
}

function sumOf(totals: ReadonlyMap<string, number>): number {
  let sum = 0;
  for (const [account, value] of totals) sum += account === "rewound" ? -value : value;
  return sum;
}

/** Message `n` of the stream is payload `n`: each append is awaited, and nothing is sent twice. */
function payloadBytes(messages: number): number {
  let bytes = 0;
  for (let counter = 0; counter < messages; counter += 1) bytes += exportedPayload(STREAM, counter).length;
  return bytes;
}

function assertBalanced({ appendedMessages, messages, bytes }: Scraped): void {
  assert.equal(sumOf(messages), appendedMessages);
  assert.equal(sumOf(bytes), payloadBytes(appendedMessages));
}

async function whileConnected<T>(
  engine: EngineProcess,
  use: (client: MillraceClient) => Promise<T>,
): Promise<T> {
  const client = await MillraceClient.connect({
    url: `ws://127.0.0.1:${engine.port}`,
    token: engine.token ?? "",
  });
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

test("what the metrics account for is what the cloud has and what was lost, over kills and overwriting", async (t) => {
  const { kinesis, kinesisEnv } = await startKinesis(t);
  const options = { env: kinesisEnv };
  let engine = await EngineProcess.start(t, options);
  await whileConnected(engine, (client) =>
    client.createMessageStream({
      name: STREAM,
      strategyOnFull: StrategyOnFull.OverwriteOldestData,
      maxSize: 16_384,
      streamSegmentSize: 2048,
      exportDefinition: {
        kinesis: [{ identifier: "cloud", kinesisStreamName: STREAM, batchSize: BATCH_SIZE }],
      },
    }),
  );
  let appended = 0;
  const rounds = 2;
  for (let round = 0; round < rounds; round += 1) {
    // Away for long enough that the stream overwrites what was not sent; then back, and killed in the middle of it.
    kinesis.answer = () => ({ kind: "error", status: 503 });
    await whileConnected(engine, async (client) => {
      await appendExported(client, STREAM, { from: appended, to: appended + 400 });
      appended += 400;
    });
    const away = await scrape(engine);
    assertBalanced(away);
    assert.equal(away.appendedMessages, appended);
    assert.ok(away.messages.get("overwritten")! > 0, "lost while the cloud is away, and told at once");
    const before = kinesis.requests.length;
    kinesis.answer = () => ({ kind: "accept" });
    await kinesis.until(() => kinesis.requests.length > before + 1);
    await engine.kill();
    engine = await EngineProcess.start(t, { ...options, storeDirectory: engine.storeDirectory });
    const restarted = await scrape(engine);
    assertBalanced(restarted);
    assert.equal(restarted.appendedMessages, appended, "a kill loses nothing");
  }
  let last = await scrape(engine);
  for (
    const deadlineMs = Date.now() + 30_000;
    last.messages.get("pending") !== 0;
    last = await scrape(engine)
  ) {
    assert.ok(Date.now() < deadlineMs, `pending: ${String(last.messages.get("pending"))}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assertBalanced(last);
  const arrived = new Set(arrivedCounters(kinesis, STREAM));
  const exported = last.messages.get("exported")!;
  const overwritten = last.messages.get("overwritten")!;
  assert.equal(exported + overwritten, appended);
  // A kill between the cloud's acceptance and the cursor: sent again, or overwritten before it could be.
  const slack = rounds * BATCH_SIZE;
  assert.ok(arrived.size >= exported && arrived.size - exported <= slack, `${arrived.size}, ${exported}`);
  const repeated = kinesis.storedIn(STREAM).length - arrived.size;
  assert.ok(repeated <= slack, `${repeated} messages were sent again`);
  let arrivedBytes = 0;
  for (const counter of arrived) arrivedBytes += exportedPayload(STREAM, counter).length;
  if (arrived.size === exported) assert.equal(last.bytes.get("exported"), arrivedBytes);
});
