// Makes the golden store of this version's format: `node dist/test/golden/make-store.js`. Once a release has written a format, its
// store is never made again.
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Persistence, StrategyOnFull } from "../../src/core/stream-definition.ts";
import { STORE_FORMAT } from "../../src/stream/store-format.ts";
import { EngineProcess } from "../support/engine-process.ts";
import { FakeKinesisServer } from "../support/fake-kinesis-server.ts";
import { connect, copyStore, goldenDirectory, readContents, sendNamed } from "./golden-store.ts";

const cleanUps: (() => unknown)[] = [];
const t = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) };
const kinesis = await FakeKinesisServer.start();
const env = {
  MILLRACE_WORKERS: "1",
  MILLRACE_BLOCK_BYTES: "4096",
  MILLRACE_SYNC_INTERVAL_MS: "50",
  AWS_REGION: "us-east-1",
  AWS_ACCESS_KEY_ID: "test",
  AWS_SECRET_ACCESS_KEY: "test",
  AWS_ENDPOINT_URL_KINESIS: kinesis.url,
};
const reject = { strategyOnFull: StrategyOnFull.RejectNewData };
const kinesisConfig = [{ identifier: "up", kinesisStreamName: "cloud", batchSize: 20 }];

const first = await EngineProcess.start(t, { env });
const client = await connect(first);
await client.createMessageStream({ name: "plain", ...reject, streamSegmentSize: 6000 });
await client.createMessageStream({ name: "flushed", ...reject, flushOnWrite: true });
await client.createMessageStream({
  name: "overwritten",
  strategyOnFull: StrategyOnFull.OverwriteOldestData,
  maxSize: 12_000,
  streamSegmentSize: 3000,
});
await client.createMessageStream({ name: "memory", ...reject, persistence: Persistence.Memory });
await client.createMessageStream({ name: "named", ...reject, streamSegmentSize: 3000 });
await client.createMessageStream({
  name: "exported and named so that no file could be",
  ...reject,
  timeToLiveMillis: 3_155_760_000_000,
  exportDefinition: { kinesis: kinesisConfig },
});
// One at a time: small blocks, which become large ones when their segment is complete.
for (let index = 0; index < 150; index++) await client.appendMessage("plain", payload("plain", index));
for (let index = 0; index < 30; index++) await client.appendMessage("flushed", payload("flushed", index));
for (let index = 0; index < 200; index++) await client.appendMessage("overwritten", payload("overwritten", index));
const exported = await client.producer("exported and named so that no file could be");
for (let index = 0; index < 90; index++) {
  const taken = exported.append(payload("exported", index));
  if (taken) await taken;
}
await exported.close();
for (let sequence = 0; sequence < 4; sequence++) {
  // The last batch is in the newest segment; of those before it the file of producers tells.
  if (sequence === 3)
    for (let index = 0; index < 30; index++) await client.appendMessage("named", payload("named", index));
  await sendNamed(first, { sequence, messages: [`batch ${sequence}`, "and more of it"] });
}
await waitUntil(async () => {
  const { exportStatuses } = await client.describeMessageStream("exported and named so that no file could be");
  return exportStatuses[0]?.lastExportedSequenceNumber === 89;
});
client.close();
await first.stop();

// A second start: another epoch, and a tail behind what the first one left.
const second = await EngineProcess.start(t, { env, storeDirectory: first.storeDirectory });
const again = await connect(second);
for (let index = 150; index < 170; index++) await again.appendMessage("plain", payload("plain", index));
// Time for what happens when nothing else does: watermarks, and the rewriting of complete segments.
await new Promise((resolve) => setTimeout(resolve, 4000));
again.close();
const contents = await readContents(second);
await second.stop();
await kinesis.close();

const target = goldenDirectory(STORE_FORMAT);
mkdirSync(path.dirname(target), { recursive: true });
copyStore(path.join(first.storeDirectory, "store"), target);
delete (contents as Record<string, unknown>)["memory"];
writeFileSync(path.join(target, "contents.json"), `${JSON.stringify(contents, null, 2)}\n`);
for (const cleanUp of cleanUps) await cleanUp();
process.stdout.write(`made ${target}\n`);

function payload(kind: string, index: number): Buffer {
  return Buffer.from(`${kind} ${index} ${"measured ".repeat(index % 13)}${(index * 7919) % 1000}`);
}

async function waitUntil(isMet: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await isMet()); tries++) {
    if (tries > 200) throw new Error("not exported in time");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
