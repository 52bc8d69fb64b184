import assert from "node:assert/strict";
import { setTimeout as after } from "node:timers/promises";
import { describe, it, type TestContext } from "node:test";
import { MillraceClient, type Producer, StrategyOnFull } from "../../src/client/index.ts";
import { type Cut, CuttingProxy } from "../support/cutting-proxy.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { seededRandom, testSeed } from "../support/seeded-random.ts";
import { byLength } from "../support/test-length.ts";

/** `CUT_ROUNDS=500` for a long run. */
const rounds = Number(process.env["CUT_ROUNDS"] ?? byLength({ everyday: 7, long: 14 }));
const cuts: readonly Cut[] = ["both", "answers", "late"];
const env = { STREAM_MANAGER_AUTHENTICATE_CLIENT: "false", MILLRACE_BLOCK_BYTES: "16384" };

const streams = [
  { name: "plain", flushOnWrite: false, batchBytes: 2048, inFlightMax: 64 },
  { name: "flushed", flushOnWrite: true, batchBytes: 512, inFlightMax: 16 },
] as const;

/** Appends numbered messages until it is told to stop, then waits for the answers. @returns how many it sent */
async function produce(producer: Producer, isOver: () => boolean): Promise<number> {
  let count = 0;
  for (; !isOver(); count++) {
    const waiting = producer.append(`${count} ${"x".repeat(count % 97)}`);
    if (waiting) await waiting;
    // A program does not append all it has in one turn.
    if (count % 50 === 0) await after(1);
  }
  await producer.flush();
  return count;
}

async function stored(client: MillraceClient, stream: string): Promise<number[]> {
  const { storageStatus } = await client.describeMessageStream(stream);
  const numbers: number[] = [];
  while (numbers.length <= storageStatus.newestSequenceNumber) {
    const options = { desiredStartSequenceNumber: numbers.length, maxMessageCount: 10_000 };
    for (const { payload } of await client.readMessages(stream, options)) {
      numbers.push(Number.parseInt(Buffer.from(payload).toString("latin1")));
    }
  }
  return numbers;
}

async function repeatedCount(engine: EngineProcess): Promise<number> {
  const metrics = await engine.metrics();
  const values = metrics.matchAll(/^millrace_stream_messages_repeated_total\{.*\} (\d+)/gm);
  return [...values].reduce((sum, [, value]) => sum + Number(value), 0);
}

describe("Producer and an engine behind a line that breaks", { timeout: 60_000 + rounds * 2000 }, () => {
  it("stores everything once and in order, though connections are cut and the engine is killed", async (t: TestContext) => {
    const random = seededRandom(testSeed);
    const storeDirectory = temporaryDirectory(t);
    let engine = await EngineProcess.start(t, { env, storeDirectory });
    const proxy = await CuttingProxy.start(t, engine.port);
    const direct = await MillraceClient.connect({ url: `ws://127.0.0.1:${engine.port}` });
    t.after(() => direct.close());
    for (const { name, flushOnWrite } of streams) {
      const definition = { name, flushOnWrite, streamSegmentSize: 256 * 1024 };
      await direct.createMessageStream({ ...definition, strategyOnFull: StrategyOnFull.RejectNewData });
    }
    direct.close();
    let isOver = false;
    const clients = await Promise.all(
      streams.map(() => MillraceClient.connect({ url: `ws://127.0.0.1:${proxy.port}` })),
    );
    t.after(() => {
      isOver = true;
      for (const client of clients) client.close();
    });
    const producers = await Promise.all(
      streams.map(({ name, batchBytes, inFlightMax }, index) =>
        clients[index]!.producer(name, { batchBytes, inFlightMax }),
      ),
    );
    const producing = Promise.all(producers.map((producer) => produce(producer, () => isOver)));
    let repeated = 0;
    for (let round = 0; round < rounds; round++) {
      await after(40 + random.fraction() * 120);
      proxy.cut(cuts[Math.floor(random.fraction() * cuts.length)]!);
      if (round % 8 !== 5) continue;
      await after(random.fraction() * 60);
      repeated += await repeatedCount(engine);
      await engine.kill();
      engine = await EngineProcess.start(t, { env, storeDirectory });
      proxy.targetPort = engine.port;
    }
    isOver = true;
    const sent = await producing;
    repeated += await repeatedCount(engine);
    const reader = await MillraceClient.connect({ url: `ws://127.0.0.1:${engine.port}` });
    t.after(() => reader.close());
    for (const [index, { name }] of streams.entries()) {
      const numbers = await stored(reader, name);
      const wrong = numbers.findIndex((number, at) => number !== at);
      const at = `SEED=${testSeed} ${name}: ${numbers[wrong]} at ${wrong} of ${numbers.length}`;
      assert.equal(wrong, -1, at);
      assert.equal(numbers.length, sent[index], `SEED=${testSeed} ${name}`);
      assert.equal(producers[index]!.counters.acknowledged, sent[index]);
      assert.ok(producers[index]!.counters.resent > 0, `${name}: nothing was sent again`);
    }
    for (const client of clients) client.close();
    // Without its memory for producers the engine would hold these twice.
    assert.ok(repeated > 0, "nothing that was stored was sent again");
    assert.ok(proxy.cutCount >= rounds / 2, `only ${proxy.cutCount} cuts`);
    const resent = producers.map(({ counters }) => counters.resent);
    t.diagnostic(
      `${sent.join(" and ")} messages, ${resent.join(" and ")} sent again, ${repeated} of them known, ${proxy.cutCount} cuts`,
    );
  });
});
