import assert from "node:assert/strict";
import { setTimeout as after } from "node:timers/promises";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import { Persistence, StrategyOnFull } from "../../src/core/stream-definition.ts";
import type { EngineProcess } from "../support/engine-process.ts";
import type { FakeKinesisServer } from "../support/fake-kinesis-server.ts";

const MIB = 1024 * 1024;
/** Small, so that whole segments make room many times in a run. */
const STREAM_BYTES_MAX = 32 * MIB;
const SEGMENT_BYTES = 2 * MIB;
const PAYLOAD_BYTES = 160;
const READ_MESSAGES = 200;
const UP_MS = 3000;
const DOWN_MS = 1500;

/** What each part of the load has done, for the record and against doing nothing. */
export interface EnduranceCounts {
  batched: number;
  single: number;
  read: number;
  pushed: number;
  exported: number;
  visits: number;
  outages: number;
}

interface Load {
  readonly engine: EngineProcess;
  readonly kinesis: FakeKinesisServer;
  readonly signal: AbortSignal;
  readonly counts: EnduranceCounts;
}

function connect({ port, token }: EngineProcess): Promise<MillraceClient> {
  return MillraceClient.connect({ url: `ws://127.0.0.1:${port}`, token: token ?? "" });
}

/** Everything at once until `signal` aborts: appends, reads, pushes, exports through outages, clients that come and go. */
export async function runEnduranceLoad(load: Load): Promise<void> {
  const owner = await connect(load.engine);
  try {
    await createStreams(owner);
    const parts = [appendBatches, appendSingles, readBack, follow, cutExports, visit];
    await Promise.all(parts.map((part) => part(load)));
    await checkExported(owner, load);
  } finally {
    owner.close();
  }
}

async function createStreams(owner: MillraceClient): Promise<void> {
  const sizes = { maxSize: STREAM_BYTES_MAX, streamSegmentSize: SEGMENT_BYTES };
  const common = {
    ...sizes,
    strategyOnFull: StrategyOnFull.OverwriteOldestData,
    persistence: Persistence.File,
  };
  await owner.createMessageStream({ ...common, name: "batches" });
  const kinesis = [{ identifier: "cloud", kinesisStreamName: "target" }];
  await owner.createMessageStream({
    ...common,
    name: "singles",
    flushOnWrite: true,
    exportDefinition: { kinesis },
  });
}

function payloadOf(counter: number): Buffer {
  const payload = Buffer.alloc(PAYLOAD_BYTES, "reading ");
  payload.writeDoubleLE(counter, 0);
  return payload;
}

/** About 20,000 messages a second. */
async function appendBatches({ engine, signal, counts }: Load): Promise<void> {
  const client = await connect(engine);
  const producer = await client.producer("batches");
  while (!signal.aborted) {
    for (let count = 0; count < 1000; count += 1) {
      const waiting = producer.append(payloadOf(counts.batched));
      if (waiting) await waiting;
      counts.batched += 1;
    }
    await after(50);
  }
  await producer.close();
  const { acknowledged, appended } = producer.counters;
  assert.equal(acknowledged, appended);
  client.close();
}

/** One flushed message after the other; these are exported. */
async function appendSingles({ engine, signal, counts }: Load): Promise<void> {
  const client = await connect(engine);
  while (!signal.aborted) {
    const sequence = await client.appendMessage("singles", payloadOf(counts.single));
    assert.equal(sequence, counts.single);
    counts.single += 1;
    await after(5);
  }
  client.close();
}

/** Reads of the oldest and of the newest messages: from closed segments and from the one that grows. */
async function readBack({ engine, signal, counts }: Load): Promise<void> {
  const client = await connect(engine);
  for (let isOldest = true; !signal.aborted; isOldest = !isOldest) {
    await after(200);
    const { storageStatus } = await client.describeMessageStream("batches");
    const { oldestSequenceNumber, newestSequenceNumber } = storageStatus;
    if (newestSequenceNumber < READ_MESSAGES) continue;
    const desiredStartSequenceNumber = isOldest ? oldestSequenceNumber : newestSequenceNumber - READ_MESSAGES;
    const options = { desiredStartSequenceNumber, minMessageCount: 1, maxMessageCount: READ_MESSAGES };
    const messages = await client.readMessages("batches", options);
    for (const { sequenceNumber, payload } of messages) {
      assert.equal(Buffer.from(payload).readDoubleLE(0), sequenceNumber);
      counts.read += 1;
    }
  }
  client.close();
}

/** All that is appended in batches, in order; what made room before it was pushed is told as a gap. */
async function follow({ engine, signal, counts }: Load): Promise<void> {
  const client = await connect(engine);
  const subscription = await client.subscribe("batches", { from: "newest" });
  signal.addEventListener("abort", () => void subscription.return(), { once: true });
  for await (const { sequence, payload } of subscription) {
    assert.equal(Buffer.from(payload).readDoubleLE(0), sequence);
    counts.pushed += 1;
    if (signal.aborted) break;
  }
  client.close();
}

/** The link is away a third of the time. */
async function cutExports({ kinesis, signal, counts }: Load): Promise<void> {
  const untilAborted = async (ms: number): Promise<void> => {
    await after(ms, undefined, { signal }).catch(() => undefined);
  };
  while (!signal.aborted) {
    await untilAborted(UP_MS);
    await kinesis.close();
    counts.outages += 1;
    await untilAborted(DOWN_MS);
    await kinesis.listen();
  }
}

/** Clients that come, make a stream, fill it, read it, and remove it. */
async function visit({ engine, signal, counts }: Load): Promise<void> {
  while (!signal.aborted) {
    const client = await connect(engine);
    const name = `visit ${counts.visits}`;
    await client.createMessageStream({ name, strategyOnFull: StrategyOnFull.RejectNewData });
    const sent = Array.from({ length: 10 }, (_, index) => payloadOf(index));
    await Promise.all(sent.map((payload) => client.appendMessage(name, payload)));
    const options = { desiredStartSequenceNumber: 0, minMessageCount: 10, maxMessageCount: 10 };
    const read = await client.readMessages(name, options);
    assert.deepEqual(
      read.map(({ payload }) => Buffer.from(payload)),
      sent,
    );
    await client.deleteMessageStream(name);
    client.close();
    counts.visits += 1;
    await after(500);
  }
}

/** Every message of its stream was exported. */
async function checkExported(owner: MillraceClient, { counts }: Load): Promise<void> {
  for (;;) {
    const [exporter] = (await owner.describeStream("singles")).exporters;
    assert.ok(exporter);
    if (exporter.pending.messages === 0) {
      assert.equal(exporter.exported.messages, counts.single);
      return;
    }
    await owner.retryExports("singles");
    await after(200);
  }
}
