import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import type { ProducerOptions, Rejection } from "../../src/client/producer-options.ts";
import { MillraceError } from "../../src/core/errors.ts";
import {
  CLIENT_IN_FLIGHT_BYTES_MAX,
  CLIENT_REQUEST_TIMEOUT_MS,
  CLIENT_WAITING_APPENDS_MAX,
} from "../../src/core/limits.ts";
import { StatusCode } from "../../src/core/status-code.ts";
import { Operation } from "../../src/wire/operation.ts";
import { ManualEnvironment, settled } from "../support/manual-environment.ts";
import { WireEngine } from "../support/wire-engine.ts";

async function open(options: ProducerOptions = {}, fraction?: () => number) {
  const engine = new WireEngine();
  engine.create("s");
  const environment = new ManualEnvironment(engine, fraction);
  const client = await MillraceClient.connect({}, environment);
  const opening = client.producer("s", options);
  await settled();
  const batchesSent = (): number =>
    engine.operations.filter((operation) => operation === Operation.AppendBatch).length;
  return { engine, environment, client, producer: await opening, batchesSent };
}

const code = (expected: string) => (thrown: unknown) =>
  thrown instanceof MillraceError && thrown.code === expected;

describe("Producer", () => {
  it("stores what was appended, in order and in few batches, and flush waits for it", async () => {
    const { engine, producer, batchesSent } = await open({ batchBytes: 4096 });
    const texts = Array.from({ length: 1000 }, (_, index) => `message ${index}`);
    for (const text of texts) await producer.append(text);
    await producer.flush();
    assert.deepEqual(engine.texts("s"), texts);
    assert.ok(batchesSent() < 10, `${batchesSent()} batches`);
    assert.deepEqual(producer.counters, {
      appended: 1000,
      acknowledged: 1000,
      rejected: 0,
      resent: 0,
      batches: batchesSent(),
      // 1000 messages with 4 bytes for each length, and a header of 36 for each batch.
      sentBytes: Buffer.byteLength(texts.join("")) + 4 * texts.length + 36 * batchesSent(),
    });
  });

  it("sends a batch that is not full after lingerMs and not before", async () => {
    const { engine, environment, producer } = await open({ lingerMs: 10 });
    assert.equal(producer.append("a"), undefined);
    await environment.advance(9);
    assert.deepEqual(engine.texts("s"), []);
    await environment.advance(1);
    assert.deepEqual(engine.texts("s"), ["a"]);
  });

  it("sends at the end of the turn with lingerMs 0", async () => {
    const { engine, producer, batchesSent } = await open({ lingerMs: 0 });
    for (const text of ["a", "b", "c"]) void producer.append(text);
    await settled();
    assert.deepEqual(engine.texts("s"), ["a", "b", "c"]);
    assert.equal(batchesSent(), 1);
  });

  it("returns a promise only when the window is full, and keeps it bounded until the engine answers", async () => {
    const { engine, producer, batchesSent } = await open({ batchBytes: 1024, inFlightMax: 3 });
    engine.isHoldingAnswers = true;
    const payload = "x".repeat(1000);
    let taken = 0;
    let waiting: Promise<void> | undefined;
    while (!(waiting = producer.append(payload))) taken++;
    assert.equal(taken, 3);
    let isTaken = false;
    const waited = waiting.then(() => (isTaken = true));
    await settled();
    assert.equal(isTaken, false);
    assert.equal(batchesSent(), 3);
    engine.releaseAnswers();
    await waited;
    await producer.flush();
    assert.equal(engine.texts("s").length, 4);
  });

  it("bounds the bytes on their way as well", async () => {
    const { engine, producer } = await open({ batchBytes: 1024 * 1024, inFlightMax: 64 });
    engine.isHoldingAnswers = true;
    const payload = new Uint8Array(256 * 1024);
    let bytes = 0;
    while (!producer.append(payload)) bytes += payload.length;
    assert.ok(bytes <= CLIENT_IN_FLIGHT_BYTES_MAX + 1024 * 1024, `${bytes} bytes taken`);
    assert.ok(bytes >= CLIENT_IN_FLIGHT_BYTES_MAX / 2, `${bytes} bytes taken`);
  });

  it("refuses one more append than may wait, and takes those that wait in order", async () => {
    const { engine, producer } = await open({ batchBytes: 1024, inFlightMax: 1 });
    engine.isHoldingAnswers = true;
    void producer.append("first");
    void producer.flush();
    const waits = Array.from({ length: CLIENT_WAITING_APPENDS_MAX }, (_, index) =>
      producer.append(`${index}`),
    );
    assert.ok(waits.every((wait) => wait !== undefined));
    await assert.rejects(async () => producer.append("too many"), code("SERVER_BUSY"));
    engine.releaseAnswers();
    await Promise.all(waits);
    await producer.flush();
    assert.deepEqual(engine.texts("s").slice(0, 3), ["first", "0", "1"]);
    assert.equal(engine.texts("s").length, CLIENT_WAITING_APPENDS_MAX + 1);
  });

  it("appendAwaited resolves with sequence numbers; appends of one turn share a batch", async () => {
    const { engine, producer, batchesSent } = await open();
    const sequences = await Promise.all(["a", "b", "c"].map((text) => producer.appendAwaited(text)));
    assert.deepEqual(sequences, [0, 1, 2]);
    assert.equal(batchesSent(), 1);
    assert.equal(await producer.appendAwaited("d"), 3);
    assert.deepEqual(engine.texts("s"), ["a", "b", "c", "d"]);
  });

  it("send makes one batch of its own, after what was appended before", async () => {
    const { engine, producer, batchesSent } = await open();
    void producer.append("a");
    assert.equal(await producer.send(["b", "c"]), 1);
    assert.equal(batchesSent(), 2);
    assert.deepEqual(engine.texts("s"), ["a", "b", "c"]);
    await assert.rejects(producer.send([]), code("INVALID_REQUEST"));
    await assert.rejects(producer.send([""]), code("INVALID_REQUEST"));
    const half = new Uint8Array(600_000);
    await assert.rejects(producer.send([half, half]), code("MESSAGE_TOO_LARGE"));
  });

  it("refuses empty and too large messages", async () => {
    const { producer } = await open();
    assert.throws(() => producer.append(""), code("INVALID_REQUEST"));
    assert.throws(() => producer.append(new Uint8Array(16 * 1024 * 1024 + 1)), code("MESSAGE_TOO_LARGE"));
    const large = new Uint8Array(2 * 1024 * 1024);
    assert.equal(await producer.appendAwaited(large), 0);
  });

  it("refuses options out of range by name", async () => {
    const { client } = await open();
    await assert.rejects(client.producer("s", { batchBytes: 1 }), /batchBytes is 1, must be 64 to 1048576/);
    await assert.rejects(client.producer("s", { inFlightMax: 0 }), /inFlightMax is 0/);
    await assert.rejects(client.producer("s", { inFlightMax: 65 }), /inFlightMax is 65, must be 1 to 64/);
    await assert.rejects(client.producer("s", { lingerMs: -1 }), /lingerMs is -1/);
    const missing = client.producer("missing");
    await assert.rejects(missing, code("STREAM_NOT_FOUND"));
  });
});

describe("Producer over a connection that breaks", () => {
  it("sends what was on its way again, in order, and counts it", async () => {
    const { engine, environment, client, producer } = await open({ batchBytes: 1024, inFlightMax: 4 });
    engine.fateOf = () => "lose";
    const texts = Array.from({ length: 3 }, (_, index) => String(index).repeat(900));
    for (const text of texts) void producer.append(text);
    const flushed = producer.flush();
    await settled();
    assert.deepEqual(engine.texts("s"), texts);
    engine.fateOf = () => "store";
    environment.cut();
    await environment.advance(1000);
    await flushed;
    assert.deepEqual(engine.texts("s"), texts);
    assert.equal(producer.counters.resent, 3);
    assert.equal(producer.counters.acknowledged, 3);
    assert.equal(client.reconnects, 1);
  });

  it("takes messages while there is no connection, until the window is full", async () => {
    const { engine, environment, producer } = await open({ batchBytes: 1024, inFlightMax: 2 });
    environment.cut();
    let taken = 0;
    let waiting: Promise<void> | undefined;
    while (!(waiting = producer.append("x".repeat(1000)))) taken++;
    assert.equal(taken, 2);
    await environment.advance(1000);
    await waiting;
    await producer.flush();
    assert.equal(engine.texts("s").length, 3);
    assert.equal(producer.counters.resent, 0);
  });

  it("tries to connect again with growing pauses until it succeeds", async () => {
    const { engine, environment, client, producer } = await open({}, () => 1);
    for (let attempt = 0; attempt < 6; attempt++) {
      environment.connectErrors.push(new MillraceError("CONNECT_FAILED", "refused"));
    }
    environment.cut();
    void producer.append("a");
    const flushed = producer.flush();
    await environment.advance(75 + 125 + 225 + 425 + 825 + 1625);
    assert.equal(client.reconnects, 0);
    assert.equal(environment.opened.length, 7);
    await environment.advance(3225);
    await flushed;
    assert.deepEqual(engine.texts("s"), ["a"]);
    assert.equal(client.reconnects, 1);
  });

  it("gives up a connection on which nothing is answered, and only such a one", async () => {
    const { engine, environment, client, producer } = await open();
    engine.isHoldingAnswers = true;
    void producer.append("a");
    const flushed = producer.flush();
    await environment.advance(CLIENT_REQUEST_TIMEOUT_MS - 1);
    assert.equal(client.reconnects, 0);
    engine.isHoldingAnswers = false;
    await environment.advance(1 + 1000);
    await flushed;
    assert.equal(client.reconnects, 1);
    assert.deepEqual(engine.texts("s"), ["a"]);
    assert.equal(producer.counters.resent, 1);
    await environment.advance(3 * CLIENT_REQUEST_TIMEOUT_MS);
    assert.equal(client.reconnects, 1);
  });

  it("sends a batch again whose outcome is unknown or for which the engine was busy", async () => {
    for (const status of [StatusCode.UnknownOutcome, StatusCode.ServerBusy]) {
      const { engine, environment, producer } = await open({ lingerMs: 0 });
      let refusals = 3;
      engine.fateOf = () => (refusals-- > 0 ? { status } : "store");
      const sequence = producer.appendAwaited("a");
      await environment.advance(1000);
      assert.equal(await sequence, 0);
      assert.deepEqual(engine.texts("s"), ["a"]);
      assert.equal(producer.counters.resent, 3);
    }
  });

  it("opens the stream again when the engine has forgotten its handle", async () => {
    const { engine, environment, producer } = await open();
    environment.session.forgetHandles();
    const sequence = producer.appendAwaited("a");
    await environment.advance(1000);
    assert.equal(await sequence, 0);
    assert.deepEqual(engine.texts("s"), ["a"]);
  });
});

describe("Producer whose batch is refused", () => {
  it("stops and throws the refusal when nobody listens for it, after the rest was answered", async () => {
    const { engine, producer } = await open({ batchBytes: 1024 });
    let batch = 0;
    engine.fateOf = () => (batch++ === 0 ? { status: StatusCode.StreamFull } : "store");
    void producer.append("x".repeat(1020));
    void producer.append("b");
    await assert.rejects(producer.flush(), code("STREAM_FULL"));
    assert.deepEqual(engine.texts("s"), ["b"]);
    assert.throws(() => producer.append("c"), code("STREAM_FULL"));
    await assert.rejects(producer.appendAwaited("c"), code("STREAM_FULL"));
    assert.equal(producer.counters.rejected, 1);
    await assert.rejects(producer.close(), code("STREAM_FULL"));
  });

  it("hands refused messages to onRejected and goes on", async () => {
    const rejections: Rejection[] = [];
    const { engine, producer } = await open({ onRejected: (rejection) => rejections.push(rejection) });
    engine.fateOf = () => ({ status: StatusCode.StreamFull });
    void producer.append("a");
    void producer.append("b");
    await producer.flush();
    engine.fateOf = () => "store";
    void producer.append("c");
    await producer.flush();
    assert.deepEqual(engine.texts("s"), ["c"]);
    assert.equal(rejections.length, 1);
    assert.equal(rejections[0]!.error.code, "STREAM_FULL");
    assert.deepEqual(
      rejections[0]!.messages.map((message) => new TextDecoder().decode(message)),
      ["a", "b"],
    );
  });

  it("rejects the promise of an awaited append, and reports it nowhere else", async () => {
    const { engine, producer } = await open();
    engine.fateOf = () => ({ status: StatusCode.InvalidRequest });
    await assert.rejects(producer.appendAwaited("a"), code("INVALID_REQUEST"));
    await assert.rejects(producer.send(["b", "c"]), code("INVALID_REQUEST"));
    engine.fateOf = () => "store";
    assert.equal(await producer.appendAwaited("d"), 0);
    await producer.flush();
  });

  it("reports everything it holds when the stream is gone after a reconnect", async () => {
    const rejections: Rejection[] = [];
    const { engine, environment, producer } = await open({
      onRejected: (rejection) => rejections.push(rejection),
    });
    engine.streams.delete("s");
    environment.cut();
    void producer.append("a");
    const awaited = assert.rejects(producer.appendAwaited("b"), code("STREAM_NOT_FOUND"));
    await environment.advance(1000);
    await awaited;
    assert.deepEqual(
      rejections.map(({ messages }) => messages.length),
      [1],
    );
    assert.throws(() => producer.append("c"), code("STREAM_NOT_FOUND"));
  });

  it("reports everything it holds when the client is closed", async () => {
    const { engine, client, producer } = await open({ batchBytes: 1024, inFlightMax: 1 });
    engine.isHoldingAnswers = true;
    void producer.append("x".repeat(1020));
    const waiting = producer.append("b")!;
    const flushed = assert.rejects(producer.flush(), code("CONNECTION_CLOSED"));
    const rejected = assert.rejects(waiting, code("CONNECTION_CLOSED"));
    client.close();
    await flushed;
    await rejected;
    assert.equal(producer.counters.rejected, 1);
  });

  it("takes nothing after close, which flushes", async () => {
    const { engine, environment, producer } = await open();
    void producer.append("a");
    await producer.close();
    assert.deepEqual(engine.texts("s"), ["a"]);
    assert.throws(() => producer.append("b"), /the producer was closed/);
    assert.equal(environment.timerCount, 0);
  });
});
