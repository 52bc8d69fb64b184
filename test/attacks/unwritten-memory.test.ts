import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import { Persistence, StrategyOnFull } from "../../src/core/stream-definition.ts";
import { encodeAppendMessage } from "../../src/wire/append-message.ts";
import { Operation } from "../../src/wire/operation.ts";
import { encodeReadMessages } from "../../src/wire/read-messages.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { openTcpLink, openWebSocketLink } from "../support/frame-link.ts";
import { Inbox } from "../support/inbox.ts";
import { seededRandom, testSeed } from "../support/seeded-random.ts";

const timeout = 60_000;
/** Eight bytes, so that each place of what was never written shows at least one whole copy of it or most of one. */
const CANARY = "C4N4RY!!";
const ROUNDS = 20;

/** In every thread of the engine, memory that is handed out without being cleared holds what others are to believe a secret. */
const poison = `
for (const name of ["allocUnsafe", "allocUnsafeSlow"]) {
  const allocate = Buffer[name];
  Buffer[name] = (size) => allocate(size).fill("${CANARY}");
}
`;

function filesOf(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .map((name) => path.join(directory, name))
    .filter((file) => statSync(file).isFile());
}

describe("memory that was handed out uncleared", () => {
  it("gets neither into a file nor to a client, in any thread", { timeout }, async (t) => {
    const preloaded = path.join(temporaryDirectory(t), "poison.cjs");
    writeFileSync(preloaded, poison);
    const engine = await EngineProcess.start(t, {
      env: { NODE_OPTIONS: `--require=${preloaded}`, MILLRACE_SYNC_INTERVAL_MS: "10" },
    });
    const { port, token } = engine;
    const client = await MillraceClient.connect({ url: `ws://127.0.0.1:${port}`, token: token! });
    t.after(() => client.close());
    const streams = [
      { name: "flushed", flushOnWrite: true },
      { name: "plain", flushOnWrite: false },
      { name: "memory", persistence: Persistence.Memory },
    ];
    const kinesis = [{ identifier: "cloud", kinesisStreamName: "k" }];
    const received: Buffer[] = [];
    const frames = new Inbox<Buffer>();
    const onFrame = (frame: Buffer): void => {
      received.push(frame);
      frames.put(frame);
    };
    const links = [
      await openTcpLink({ port, token, onFrame }),
      await openWebSocketLink({ port, token, onFrame }),
    ];
    const random = seededRandom(testSeed);
    for (const stream of streams) {
      const sizes = { streamSegmentSize: 16 * 1024, maxSize: 16 * 1024 * 1024 };
      const strategyOnFull = StrategyOnFull.RejectNewData;
      await client.createMessageStream({
        ...stream,
        ...sizes,
        strategyOnFull,
        exportDefinition: { kinesis },
      });
      const producer = await client.producer(stream.name, { batchBytes: 4096 });
      for (let count = 0; count < ROUNDS; count++) {
        // What shrinks and what does not, of odd sizes: paddings everywhere.
        await producer.append("a reading ".repeat(1 + count));
        await producer.append(random.bytes(1 + 67 * count));
        for (const link of links) {
          const payload = random.bytes(3 + count);
          link.send(encodeAppendMessage({ requestId: "append", name: stream.name, payload }));
          assert.equal((await frames.take())[0], Operation.AppendMessageResponse);
        }
      }
      await producer.close();
      for (const link of links) {
        const options = { maxMessageCount: 1000 };
        link.send(encodeReadMessages({ requestId: "read", streamName: stream.name, options }));
        assert.equal((await frames.take())[0], Operation.ReadMessagesResponse);
      }
      const subscription = await client.subscribe(stream.name, { from: 0 });
      let count = 0;
      for await (const { payload } of subscription) {
        assert.ok(!Buffer.from(payload).includes(CANARY));
        if (++count === ROUNDS * 4) break;
      }
      received.push(Buffer.from(JSON.stringify(await client.describeStream(stream.name))));
    }
    assert.equal((await engine.run(["store", "verify"])).code, 0, "what was stored is whole");
    client.close();
    for (const link of links) link.destroy();
    assert.equal((await engine.stop()).code, 0);
    const files = filesOf(path.join(engine.storeDirectory, "store"));
    assert.ok(files.length > 12, `${files.length} files`);
    assert.ok(received.length > ROUNDS * 4);
    const half = CANARY.slice(0, 4);
    for (const file of files) assert.equal(readFileSync(file).indexOf(half), -1, file);
    for (const bytes of received) assert.equal(bytes.indexOf(half), -1, `operation ${bytes[0] ?? ""}`);
  });
});
