import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { BatchPacker } from "../../src/client/batch-packer.ts";
import { Batch } from "../../src/client/batch.ts";
import {
  MillraceClient,
  Persistence,
  type ProducerOptions,
  type Rejection,
  StrategyOnFull,
} from "../../src/client/index.ts";
import { nodeLz4 } from "../../src/client/node-lz4.ts";
import { systemEnvironment } from "../../src/client/system-environment.ts";
import { COMPRESSION_PROBE_BLOCKS, INCOMPRESSIBLE_BLOCKS_MAX } from "../../src/core/compression-limits.ts";
import { MillraceError } from "../../src/core/errors.ts";
import { StatusCode } from "../../src/core/status-code.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { ManualEnvironment, settled } from "../support/manual-environment.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { WireEngine } from "../support/wire-engine.ts";

const KIB = 1024;

function readings(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `{"sensor":"motor-7","value":${(index * 7919) % 997}}`);
}

/** The engine is on another machine, unless `url` says otherwise. */
async function open(options: ProducerOptions, url = "wss://engine.example") {
  const engine = new WireEngine();
  engine.create("s");
  const environment = new ManualEnvironment(engine);
  const client = await MillraceClient.connect({ url }, environment);
  return { engine, environment, client, producer: await client.producer("s", options) };
}

const isInvalid = (text: RegExp) => (thrown: unknown) =>
  thrown instanceof MillraceError && thrown.code === "INVALID_SETTING" && text.test(thrown.message);

describe("a producer that compresses", () => {
  it("sends fewer bytes, and the same messages", async () => {
    const { engine, producer } = await open({ compression: "lz4", batchBytes: 16 * KIB });
    const texts = readings(2000);
    for (const text of texts) await producer.append(text);
    await producer.flush();
    assert.deepEqual(engine.texts("s"), texts);
    const { batches, sentBytes } = producer.counters;
    assert.equal(engine.compressedBatches, batches);
    assert.ok(sentBytes < texts.join("").length / 2, `${sentBytes} bytes`);
  });

  it("sends as it is what hardly shrinks, and what is small", async () => {
    const { engine, producer } = await open({ compression: "lz4" });
    const random = seededRandom(3);
    await producer.send(Array.from({ length: 8 }, () => random.bytes(4000)));
    await producer.send(["a".repeat(500)]);
    assert.equal(engine.compressedBatches, 0);
    await producer.send(["a".repeat(2000)]);
    assert.equal(engine.compressedBatches, 1);
    assert.equal(engine.streams.get("s")!.payloads.length, 10);
  });

  it("compresses for an engine on the same machine only what becomes a block as it comes", async () => {
    for (const url of ["ws://127.0.0.1:8088", "ws+unix:///run/millrace.sock", "wss://localhost"]) {
      const { engine, producer } = await open({ compression: "lz4" }, url);
      await producer.send(["a".repeat(40_000)]);
      assert.equal(engine.compressedBatches, 0, url);
      await producer.send(["a".repeat(50_000)]);
      assert.equal(engine.compressedBatches, 1, url);
    }
  });

  it("gathers blocks of the store's size where nothing else is said", async () => {
    const { engine, producer } = await open({ compression: "lz4", lingerMs: 60_000 });
    const payload = new Uint8Array(1000);
    for (let index = 0; index < 300; index++) await producer.append(payload);
    await producer.flush();
    // 261 of 1004 bytes fit into 256 KiB.
    assert.equal(producer.counters.batches, 2);
    assert.equal(engine.compressedBatches, 2);
  });

  it("sends a batch again as it was, and reports what is refused message by message", async () => {
    const rejections: Rejection[] = [];
    const { engine, environment, producer } = await open({
      compression: "lz4",
      batchBytes: 4 * KIB,
      onRejected: (rejection) => void rejections.push(rejection),
    });
    const texts = readings(400);
    let batch = 0;
    // The first is lost on the way back, the third is refused for good.
    engine.fateOf = () => {
      batch += 1;
      if (batch === 1) return "lose";
      return batch === 3 ? { status: StatusCode.StreamFull } : "store";
    };
    for (const text of texts) void producer.append(text);
    await settled();
    environment.cut();
    for (let turn = 0; turn < 20; turn++) await environment.advance(1000);
    await producer.flush();
    const refused = rejections.flatMap(({ messages }) =>
      messages.map((bytes) => Buffer.from(bytes).toString()),
    );
    assert.ok(refused.length > 0, "a batch is refused");
    assert.deepEqual(
      engine.texts("s"),
      texts.filter((text) => !refused.includes(text)),
    );
    assert.ok(engine.compressedBatches > producer.counters.batches, "one was sent twice");
  });

  it("refuses another compression by name", async () => {
    await assert.rejects(
      open({ compression: "zstd" as "lz4" }),
      isInvalid(/compression is "zstd", must be "none" or "lz4"$/),
    );
  });

  it("says what is missing where there is no LZ4", async (t) => {
    const { client } = await open({});
    t.mock.method(systemEnvironment, "loadLz4", () => {
      throw new MillraceError("INVALID_SETTING", "no lz4 here");
    });
    await assert.rejects(client.producer("s", { compression: "lz4" }), isInvalid(/no lz4 here/));
    t.mock.restoreAll();
    const { versions } = process;
    t.after(() => Object.defineProperty(process, "versions", { value: versions }));
    Object.defineProperty(process, "versions", { value: {}, configurable: true });
    await assert.rejects(systemEnvironment.loadLz4(), isInvalid(/a browser has none/));
  });
});

describe("BatchPacker", () => {
  it("tries now and then what did not shrink, and every time once it does again", () => {
    const random = seededRandom(9);
    let tries = 0;
    const compress = (raw: Uint8Array): Uint8Array => {
      tries += 1;
      return nodeLz4.compress(raw);
    };
    const packer = new BatchPacker({ ...nodeLz4, compress }, { isLocal: false });
    const pack = (payload: Uint8Array): Batch => {
      const batch = Batch.of({ onResult: () => undefined }, [payload]);
      packer.pack(batch);
      return batch;
    };
    const noise = random.bytes(2000);
    for (let index = 0; index < INCOMPRESSIBLE_BLOCKS_MAX; index++) pack(noise);
    assert.equal(tries, INCOMPRESSIBLE_BLOCKS_MAX);
    for (let index = 0; index < 2 * COMPRESSION_PROBE_BLOCKS; index++) pack(noise);
    assert.equal(tries, INCOMPRESSIBLE_BLOCKS_MAX + 2);
    for (let index = 0; index < COMPRESSION_PROBE_BLOCKS; index++) pack(new Uint8Array(2000));
    assert.equal(tries, INCOMPRESSIBLE_BLOCKS_MAX + 3);
    assert.ok(pack(new Uint8Array(2000)).frameBytes < 100);
    assert.equal(tries, INCOMPRESSIBLE_BLOCKS_MAX + 4);
  });
});

/** An engine that may export to files in `exported`. */
async function startEngine(t: TestContext) {
  const exported = temporaryDirectory(t);
  const env = { STREAM_MANAGER_AUTHENTICATE_CLIENT: "false", MILLRACE_EXPORT_FILE_DIRS: exported };
  const engine = await EngineProcess.start(t, { env });
  const client = await MillraceClient.connect({ url: `ws://127.0.0.1:${engine.port}` });
  t.after(() => client.close());
  return { engine, client, exported };
}

async function receivedBytes(engine: EngineProcess): Promise<number> {
  const page = await engine.metrics();
  return Number(/^millrace_received_bytes_total\{transport="websocket"\} (\d+)$/m.exec(page)![1]);
}

/** What the exporter has written, once it has so many lines. */
async function exportedLines(directory: string, count: number): Promise<string[]> {
  for (;;) {
    const names = readdirSync(directory).filter((name) => /^[^.].*\.raw/.test(name));
    const lines = names
      .sort()
      .flatMap((name) => readFileSync(path.join(directory, name), "utf8").split("\n"));
    const whole = lines.filter((line) => line !== "");
    if (whole.length >= count) return whole;
    await delay(20);
  }
}

async function pushedTexts(client: MillraceClient, count: number): Promise<string[]> {
  const pushed: string[] = [];
  for await (const { payload } of await client.subscribe("s", { from: 0 })) {
    pushed.push(Buffer.from(payload).toString());
    if (pushed.length === count) break;
  }
  return pushed;
}

describe("compressed batches and a running engine", { timeout: 60_000 }, () => {
  for (const [kind, persistence] of Object.entries(Persistence)) {
    it(`reach readers, subscribers and exporters of a ${kind} stream as plain ones do`, async (t) => {
      const { engine, client, exported } = await startEngine(t);
      const files = [
        { identifier: "files", directory: exported, format: "raw", batchIntervalMillis: 1 } as const,
      ];
      await client.createMessageStream(
        { name: "s", strategyOnFull: StrategyOnFull.RejectNewData, persistence },
        { files },
      );
      const plain = await client.producer("s");
      const packed = await client.producer("s", { compression: "lz4" });
      const texts = readings(30_000);
      const before = await receivedBytes(engine);
      // Large ones, small ones and plain ones, in turn.
      const cuts = [0, 6000, 6100, 12_000, 12_050, 18_000, 24_000, 24_300, texts.length];
      for (const [index, from] of cuts.slice(0, -1).entries()) {
        const producer = index % 4 === 1 ? plain : packed;
        assert.equal(await producer.send(texts.slice(from, cuts[index + 1])), from);
      }
      const sent = plain.counters.sentBytes + packed.counters.sentBytes;
      assert.equal((await receivedBytes(engine)) - before, sent);
      assert.ok(packed.counters.sentBytes < texts.join("").length / 2);
      const read = await client.readMessages("s", {
        desiredStartSequenceNumber: 11_990,
        minMessageCount: 100,
      });
      assert.deepEqual(
        read.slice(0, 100).map(({ payload }) => Buffer.from(payload).toString()),
        texts.slice(11_990, 12_090),
      );
      assert.deepEqual(await pushedTexts(client, texts.length), texts);
      assert.deepEqual(await exportedLines(exported, texts.length), texts);
    });
  }
});
