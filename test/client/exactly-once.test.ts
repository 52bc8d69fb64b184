import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import type { ProducerOptions, Rejection } from "../../src/client/producer-options.ts";
import { MillraceError } from "../../src/core/errors.ts";
import { StatusCode } from "../../src/core/status-code.ts";
import { ProducerTable } from "../../src/log/producer-table.ts";
import { ManualEnvironment, settled } from "../support/manual-environment.ts";
import { seededRandom, testSeed } from "../support/seeded-random.ts";
import { WireEngine } from "../support/wire-engine.ts";

/** A producer whose messages are a batch each. */
async function open(options: ProducerOptions = {}, fraction?: () => number) {
  const engine = new WireEngine();
  engine.create("s");
  const environment = new ManualEnvironment(engine, fraction);
  const client = await MillraceClient.connect({}, environment);
  const opening = client.producer("s", { batchBytes: 64, ...options });
  await settled();
  return { engine, environment, client, producer: await opening };
}

const message = (text: string): string => text.padEnd(58, ".");
const messages = (...texts: string[]): string[] => texts.map(message);
const textsOf = ({ messages: payloads }: Rejection): string[] =>
  payloads.map((payload) => new TextDecoder().decode(payload));
const code = (expected: string) => (thrown: unknown) =>
  thrown instanceof MillraceError && thrown.code === expected;

/** Moves time on until a promise has settled. */
async function eventually(
  environment: ManualEnvironment,
  promise: Promise<void>,
  what: string,
): Promise<void> {
  const state = { isDone: false };
  const watched = promise.finally(() => (state.isDone = true));
  for (let step = 0; !state.isDone && step < 1000; step++) await environment.advance(1000);
  assert.ok(state.isDone, `${what} is stuck`);
  await watched;
}

describe("Producer, exactly once", () => {
  it("stores every message once and in order, or reports it, whatever the seeded faults", async () => {
    for (let round = 0; round < 40; round++) {
      const at = `SEED=${testSeed} round ${round}`;
      const random = seededRandom(testSeed + round);
      const rejected: string[] = [];
      const { engine, environment, client, producer } = await open(
        {
          batchBytes: 1024,
          inFlightMax: 1 + Math.floor(random.fraction() * 6),
          onRejected: (rejection) => {
            assert.equal(rejection.error.code, "STREAM_FULL", at);
            assert.equal(rejection.mayBeStored, false, at);
            rejected.push(...textsOf(rejection));
          },
        },
        () => random.fraction(),
      );
      engine.fateOf = () => {
        const dice = random.fraction();
        if (dice < 0.05) queueMicrotask(() => environment.cut());
        if (dice < 0.1) return "lose";
        if (dice < 0.15) return { status: StatusCode.UnknownOutcome, stores: dice < 0.12 };
        if (dice < 0.2) return { status: StatusCode.ServerBusy, isEarly: true };
        if (dice < 0.24) return { status: StatusCode.StreamFull };
        return "store";
      };
      const texts = Array.from(
        { length: 300 },
        (_, index) => `${index}:${"x".repeat(random.fraction() * 300)}`,
      );
      for (const text of texts) {
        const waiting = producer.append(text);
        if (waiting) await eventually(environment, waiting, `${at}: append`);
      }
      engine.fateOf = () => "store";
      await eventually(environment, producer.flush(), `${at}: flush`);
      const isRejected = new Set(rejected);
      assert.equal(isRejected.size, rejected.length, at);
      assert.deepEqual(
        engine.texts("s"),
        texts.filter((text) => !isRejected.has(text)),
        at,
      );
      const { acknowledged, appended } = producer.counters;
      assert.equal(acknowledged + rejected.length, appended, at);
      client.close();
      assert.equal(environment.timerCount, 0, `${at}: timers left`);
    }
  });

  it("sends what was behind a failed batch again, after it, when all was answered", async () => {
    for (const status of [StatusCode.UnknownOutcome, StatusCode.ServerBusy]) {
      const { engine, environment, producer } = await open();
      let batches = 0;
      engine.fateOf = () => (++batches === 2 ? { status } : "store");
      for (const text of messages("a", "b", "c", "d")) void producer.append(text);
      const flushed = producer.flush();
      await environment.advance(1000);
      await flushed;
      assert.deepEqual(engine.texts("s"), messages("a", "b", "c", "d"));
      assert.equal(batches, 7);
      assert.equal(producer.counters.resent, 3);
    }
  });

  it("gives the number of a refused batch to the next one, without waiting", async () => {
    const rejections: Rejection[] = [];
    const { engine, producer } = await open({ onRejected: (rejection) => void rejections.push(rejection) });
    let batches = 0;
    engine.fateOf = () => (++batches === 2 ? { status: StatusCode.StreamFull } : "store");
    for (const text of messages("a", "b", "c", "d")) void producer.append(text);
    await producer.flush();
    void producer.append(message("e"));
    await producer.flush();
    assert.deepEqual(engine.texts("s"), messages("a", "c", "d", "e"));
    assert.deepEqual(rejections.map(textsOf), [messages("b")]);
  });

  it("keeps the number of a batch in doubt that is refused without being judged", async () => {
    const rejections: Rejection[] = [];
    const { engine, environment, producer } = await open({
      onRejected: (rejection) => void rejections.push(rejection),
    });
    engine.fateOf = () => "lose";
    for (const text of messages("a", "b")) void producer.append(text);
    void producer.flush();
    await settled();
    // Stored they are both, and of the first nobody will ever be told so.
    let batches = 0;
    engine.fateOf = () => (++batches === 1 ? { status: StatusCode.StorageReadOnly, isEarly: true } : "store");
    environment.cut();
    await environment.advance(1000);
    void producer.append(message("c"));
    await producer.flush();
    assert.deepEqual(engine.texts("s"), messages("a", "b", "c"));
    assert.deepEqual(
      rejections.map((rejection) => [textsOf(rejection), rejection.mayBeStored]),
      [[messages("a"), true]],
    );
    assert.equal(producer.counters.acknowledged, 2);
  });
});

describe("Producer that the engine does not know any more", () => {
  it("stores nothing twice, and reports what it cannot tell, whatever the seeded faults", async () => {
    let reported = 0;
    for (let round = 0; round < 30; round++) {
      const at = `SEED=${testSeed} round ${round}`;
      const random = seededRandom(testSeed + round);
      const inDoubt = new Set<string>();
      const { engine, environment, client, producer } = await open(
        {
          onRejected: (rejection) => {
            assert.equal(rejection.error.code, "SEQUENCE_GAP", at);
            assert.equal(rejection.mayBeStored, true, at);
            for (const text of textsOf(rejection)) inDoubt.add(text);
          },
        },
        () => random.fraction(),
      );
      engine.fateOf = () => {
        const dice = random.fraction();
        if (dice < 0.1) queueMicrotask(() => environment.cut());
        if (dice < 0.3) return "lose";
        if (dice < 0.4) return { status: StatusCode.UnknownOutcome, stores: dice < 0.35 };
        return "store";
      };
      const texts = messages(...Array.from({ length: 100 }, (_, index) => `${index}`));
      for (const [index, text] of texts.entries()) {
        const waiting = producer.append(text);
        if (waiting) await eventually(environment, waiting, `${at}: append`);
        if (index === 60) engine.streams.get("s")!.producers = new ProducerTable();
      }
      engine.fateOf = () => "store";
      await eventually(environment, producer.flush(), `${at}: flush`);
      const stored = engine.texts("s");
      const isStored = new Set(stored);
      assert.deepEqual(
        stored,
        texts.filter((text) => isStored.has(text)),
        at,
      );
      for (const text of texts) assert.ok(isStored.has(text) || inDoubt.has(text), `${at}: lost ${text}`);
      reported += inDoubt.size;
      client.close();
    }
    assert.ok(reported > 50, `only ${reported} in doubt`);
  });

  it("goes on under another id when nothing is in doubt", async () => {
    const { engine, producer } = await open();
    void producer.append(message("a"));
    await producer.flush();
    engine.streams.get("s")!.producers = new ProducerTable();
    for (const text of messages("b", "c")) void producer.append(text);
    await producer.flush();
    assert.deepEqual(engine.texts("s"), messages("a", "b", "c"));
    assert.equal(engine.streams.get("s")!.producers.producerCount, 1);
  });

  it("reports what is in doubt, which it neither doubles nor drops unsaid, and goes on", async () => {
    const rejections: Rejection[] = [];
    const { engine, environment, producer } = await open({
      onRejected: (rejection) => void rejections.push(rejection),
    });
    void producer.append(message("a"));
    await producer.flush();
    engine.fateOf = () => "lose";
    void producer.append(message("b"));
    const inDoubt = assert.rejects(producer.appendAwaited(message("c")), code("SEQUENCE_GAP"));
    await settled();
    engine.fateOf = () => "store";
    engine.streams.get("s")!.producers = new ProducerTable();
    environment.cut();
    void producer.append(message("d"));
    const flushed = producer.flush();
    await environment.advance(1000);
    await flushed;
    await inDoubt;
    assert.deepEqual(engine.texts("s"), messages("a", "b", "c", "d"));
    assert.equal(rejections.length, 1);
    assert.match(rejections[0]!.error.message, /does not know their producer any more/);
    assert.deepEqual([textsOf(rejections[0]!), rejections[0]!.mayBeStored], [messages("b"), true]);
  });

  it("stops with it when nobody listens", async () => {
    const { engine, environment, producer } = await open();
    void producer.append(message("a"));
    await producer.flush();
    engine.fateOf = () => "lose";
    void producer.append(message("b"));
    const flushed = assert.rejects(producer.flush(), code("SEQUENCE_GAP"));
    await settled();
    engine.streams.get("s")!.producers = new ProducerTable();
    environment.cut();
    engine.fateOf = () => "store";
    await environment.advance(1000);
    await flushed;
    assert.throws(() => producer.append(message("c")), code("SEQUENCE_GAP"));
  });

  it("sends what is in doubt to a stream that has begun anew, where it cannot be", async () => {
    const { engine, environment, producer } = await open();
    for (const text of messages("a", "b")) void producer.append(text);
    await producer.flush();
    engine.fateOf = () => "lose";
    void producer.append(message("c"));
    await environment.advance(10);
    assert.equal(engine.texts("s").length, 3);
    // A stream in memory after a restart, or one of the same name.
    engine.streams.delete("s");
    engine.create("s");
    engine.fateOf = () => "store";
    environment.cut();
    await environment.advance(1000);
    await producer.flush();
    assert.deepEqual(engine.texts("s"), messages("c"));
  });

  it("does not double what comes late over the old connection, after the stream was opened on the new one", async () => {
    const rejections: Rejection[] = [];
    const { engine, environment, producer } = await open({
      onRejected: (rejection) => void rejections.push(rejection),
    });
    void producer.append(message("a"));
    await producer.flush();
    // Lies in the connection, unread, when that is given up.
    engine.fateOf = () => ({ status: StatusCode.UnknownOutcome, stores: false });
    void producer.append(message("b"));
    await environment.advance(5);
    let batches = 0;
    engine.fateOf = () => {
      if (++batches > 1) return "store";
      // The stream is open again and ends behind "a". Now the old copy is read, and then 1,000 other producers come.
      const stream = engine.streams.get("s")!;
      stream.payloads.push(Buffer.from(message("b")));
      stream.producers = new ProducerTable();
      return "store";
    };
    environment.cut();
    void producer.append(message("c"));
    const flushed = producer.flush();
    await environment.advance(5000);
    await flushed;
    assert.deepEqual(engine.texts("s"), messages("a", "b", "c"));
    assert.deepEqual(
      rejections.map((rejection) => [textsOf(rejection), rejection.mayBeStored]),
      [[messages("b"), true]],
    );
  });

  it("goes on behind acknowledged batches that a power cut took from the engine", async () => {
    const { engine, producer } = await open();
    for (const text of messages("a", "b", "c")) void producer.append(text);
    await producer.flush();
    const stream = engine.streams.get("s")!;
    const [state] = stream.producers.statesBelow(1);
    stream.producers = new ProducerTable();
    stream.producers.restore(state!);
    stream.payloads.length = 1;
    void producer.append(message("d"));
    await producer.flush();
    assert.deepEqual(engine.texts("s"), messages("a", "d"));
  });

  it("gives up a batch that an engine calls a gap for ever", async () => {
    const rejections: Rejection[] = [];
    const { engine, environment, producer } = await open({
      onRejected: (rejection) => void rejections.push(rejection),
    });
    engine.fateOf = () => ({ status: StatusCode.SequenceGap, isEarly: true });
    for (const text of messages("a", "b")) void producer.append(text);
    const flushed = producer.flush();
    await environment.advance(1000);
    await flushed;
    assert.deepEqual(
      rejections.map(({ error }) => error.code),
      ["SEQUENCE_GAP", "SEQUENCE_GAP"],
    );
    assert.ok(producer.counters.resent <= 12, `${producer.counters.resent} sent again`);
  });
});
