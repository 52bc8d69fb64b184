import assert from "node:assert/strict";
import { chmodSync, writeFileSync } from "node:fs";
import { describe, it } from "node:test";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { AppendChecker } from "../simulation/append-checker.ts";
import { LoadProducer } from "../simulation/load-producer.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { seededRandom, testSeed } from "../support/seeded-random.ts";

const timeout = 60_000;

async function connectClient({ port, token }: EngineProcess): Promise<MillraceClient> {
  return MillraceClient.connect({ url: `ws://127.0.0.1:${port}`, ...(token !== undefined && { token }) });
}

describe("SIGTERM", () => {
  for (const flushOnWrite of [false, true]) {
    const name = `under load ends with 0 and keeps what was acknowledged, flushOnWrite ${flushOnWrite ? "on" : "off"}`;
    it(name, { timeout }, async (t) => {
      const engine = await EngineProcess.start(t);
      const client = await connectClient(engine);
      const checker = new AppendChecker({ stream: "raw", isOverwriting: false });
      await client.createMessageStream({
        name: "raw",
        strategyOnFull: StrategyOnFull.RejectNewData,
        streamSegmentSize: 256 * 1024,
        flushOnWrite,
      });
      client.close();
      const random = seededRandom(testSeed);
      const producers = (["websocket", "tcp", "websocket"] as const).map(
        (transport, index) =>
          new LoadProducer({
            name: `p${index}`,
            checker,
            transport,
            windowMax: 64,
            random,
            endsWith: /^rejected: The engine is stopping$/,
          }),
      );
      const { port, token } = engine;
      await Promise.all(producers.map((producer) => producer.start({ port, token })));
      while (checker.acknowledgedCount < 2000) await new Promise((resolve) => setImmediate(resolve));
      const finished = await engine.stop();
      assert.deepEqual([finished.code, finished.signal], [0, null], finished.stderr);
      await Promise.all(producers.map((producer) => producer.ended()));

      const again = await EngineProcess.start(t, { storeDirectory: engine.storeDirectory });
      const reader = await connectClient(again);
      t.after(() => reader.close());
      const { storageStatus } = await reader.describeMessageStream("raw");
      const nextSequence = storageStatus.newestSequenceNumber + 1;
      let next = 0;
      while (next < nextSequence) {
        const options = { desiredStartSequenceNumber: next, maxMessageCount: 20_000 };
        const messages = await reader.readMessages("raw", options);
        checker.walk(messages.map(({ sequenceNumber, payload }) => ({ sequence: sequenceNumber, payload })));
        next = messages.at(-1)!.sequenceNumber + 1;
      }
      checker.finish({ oldestSequence: 0, nextSequence });
      assert.deepEqual(checker.violations, []);
      assert.equal(checker.lostCount, 0);
      reader.close();
      const second = await again.stop();
      assert.deepEqual([second.code, second.stderr], [0, ""]);
    });
  }
});

describe("millrace serve, where it cannot start,", () => {
  it("ends with 1 and names the store that another engine has open", { timeout }, async (t) => {
    const { storeDirectory } = await EngineProcess.start(t);
    const { code, stderr } = await EngineProcess.spawn(t, { storeDirectory }).finished();
    assert.equal(code, 1);
    assert.match(stderr, /^millrace: [^\n]*store[^\n]*\n$/);
  });

  it("ends with 1 and names the port that is taken", { timeout }, async (t) => {
    const { port } = await EngineProcess.start(t);
    const storeDirectory = temporaryDirectory(t);
    const env = { STREAM_MANAGER_SERVER_PORT: String(port) };
    const { code, stderr } = await EngineProcess.spawn(t, { storeDirectory, env }).finished();
    assert.equal(code, 1);
    assert.match(stderr, new RegExp(`^millrace: [^\\n]*${port}[^\\n]*\\n$`));
  });

  it("ends with 1 and names a store that is a file", { timeout }, async (t) => {
    const storeDirectory = temporaryDirectory(t);
    writeFileSync(`${storeDirectory}/store`, "");
    const { code, stderr } = await EngineProcess.spawn(t, { storeDirectory }).finished();
    assert.equal(code, 1);
    assert.match(stderr, /^millrace: [^\n]*\/store[^\n]*\n$/);
  });

  it("ends with 1 and names a store that others may write to", { timeout }, async (t) => {
    const engine = await EngineProcess.start(t);
    await engine.stop();
    chmodSync(`${engine.storeDirectory}/store/token`, 0o644);
    const { code, stderr } = await EngineProcess.spawn(t, {
      storeDirectory: engine.storeDirectory,
    }).finished();
    assert.equal(code, 1);
    assert.match(stderr, /^millrace: [^\n]*token[^\n]*\n$/);
  });

  it("ends with 1 and names a setting with its value", { timeout }, async (t) => {
    const storeDirectory = temporaryDirectory(t);
    const env = { MILLRACE_RING_BYTES: "17" };
    const { code, stderr } = await EngineProcess.spawn(t, { storeDirectory, env }).finished();
    assert.equal(code, 1);
    assert.match(stderr, /^millrace: MILLRACE_RING_BYTES is "?17"?[^\n]*\n$/);
  });
});
