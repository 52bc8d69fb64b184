import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import type { SubscribeOptions, Subscription, SubscriptionGap } from "../../src/client/subscription.ts";
import { MillraceError } from "../../src/core/errors.ts";
import { StatusCode } from "../../src/core/status-code.ts";
import { GapReason } from "../../src/wire/messages-layout.ts";
import { ManualEnvironment, settled } from "../support/manual-environment.ts";
import { seededRandom, testSeed } from "../support/seeded-random.ts";
import { WireEngine } from "../support/wire-engine.ts";

async function open() {
  const engine = new WireEngine();
  const stream = engine.create("s");
  const environment = new ManualEnvironment(engine);
  const client = await MillraceClient.connect({}, environment);
  const store = (count: number): void => {
    const first = stream.payloads.length;
    for (let index = 0; index < count; index++) {
      engine.store(stream, [new TextEncoder().encode(`m${first + index}`)]);
    }
  };
  const subscribe = (options?: SubscribeOptions): Promise<Subscription> => client.subscribe("s", options);
  return { engine, stream, environment, client, store, subscribe };
}

async function take(subscription: Subscription, count: number): Promise<string[]> {
  const texts: string[] = [];
  while (texts.length < count) {
    const { value } = await subscription.next();
    assert.ok(value);
    const text = new TextDecoder().decode(value.payload);
    assert.equal(text, `m${value.sequence}`);
    texts.push(text);
  }
  return texts;
}

const numbered = (first: number, end: number): string[] =>
  Array.from({ length: end - first }, (_, index) => `m${first + index}`);

describe("Subscription", () => {
  it("gives what is stored and then what is appended, each once and in order", async () => {
    const { store, subscribe } = await open();
    store(25);
    const subscription = await subscribe();
    assert.deepEqual(await take(subscription, 25), numbered(0, 25));
    const next = take(subscription, 3);
    await settled();
    store(3);
    assert.deepEqual(await next, numbered(25, 28));
  });

  it("begins where it is told, or with the newest", async () => {
    const { store, subscribe } = await open();
    store(20);
    assert.deepEqual(await take(await subscribe({ from: 15 }), 5), numbered(15, 20));
    const newest = await subscribe({ from: "newest" });
    store(1);
    assert.deepEqual(await take(newest, 1), ["m20"]);
  });

  it("lets the engine send no more than the credit ahead, and gives credit back as it is read", async () => {
    const { engine, stream, store, subscribe } = await open();
    store(2000);
    const creditBytes = 2048;
    const subscription = await subscribe({ creditBytes });
    await settled();
    assert.equal(engine.creditGiven, 0);
    assert.deepEqual(await take(subscription, 2000), numbered(0, 2000));
    await settled();
    const wireBytes = stream.payloads.reduce((sum, payload) => sum + payload.length + 4, 0) + 200 * 44;
    assert.ok(engine.creditGiven <= wireBytes, `${engine.creditGiven} of credit for ${wireBytes} bytes`);
    assert.ok(engine.creditGiven >= wireBytes - 2 * creditBytes);
  });

  it("goes on after a reconnect without a repeat or a hole, whatever the seeded breaks", async () => {
    for (let round = 0; round < 20; round++) {
      const random = seededRandom(testSeed + round);
      const { environment, client, store, subscribe } = await open();
      const subscription = await subscribe({ creditBytes: 1024 });
      const total = 500;
      const received: string[] = [];
      const reading = (async () => {
        for await (const { sequence, payload } of subscription) {
          received.push(new TextDecoder().decode(payload));
          if (sequence === total - 1) break;
          if (random.fraction() < 0.05) await settled();
        }
      })();
      for (let stored = 0; stored < total; stored += 10) {
        store(10);
        if (random.fraction() < 0.3) environment.cut();
        await environment.advance(random.fraction() * 200);
      }
      await environment.advance(10_000);
      await reading;
      assert.deepEqual(received, numbered(0, total), `SEED=${testSeed} round ${round}`);
      assert.ok(client.reconnects > 0);
      client.close();
      assert.equal(environment.timerCount, 0);
    }
  });

  it("gives each message to one of several calls of next that wait together", async () => {
    const { store, subscribe } = await open();
    const subscription = await subscribe();
    const nexts = Array.from({ length: 4 }, () => subscription.next());
    await settled();
    for (let message = 0; message < 4; message++) {
      store(1);
      await settled();
    }
    const sequences = (await Promise.all(nexts)).map(({ value }) => value?.sequence);
    assert.deepEqual(sequences.sort(), [0, 1, 2, 3]);
  });

  it("gives the messages of a frame at once to nextBatch, also in turns with next", async () => {
    const { store, subscribe } = await open();
    store(25);
    const subscription = await subscribe();
    const sequences = [(await subscription.next()).value?.sequence];
    while (sequences.length < 25) {
      const batch = await subscription.nextBatch();
      assert.ok(batch && batch.length > 1);
      sequences.push(...batch.map(({ sequence }) => sequence));
    }
    assert.deepEqual(
      sequences,
      Array.from({ length: 25 }, (_, sequence) => sequence),
    );
    const last = subscription.nextBatch();
    subscription.close();
    assert.equal(await last, undefined);
  });

  it("tells of messages that are gone", async () => {
    const { stream, store, subscribe } = await open();
    store(10);
    stream.oldest = 4;
    const gaps: SubscriptionGap[] = [];
    const subscription = await subscribe({ from: 1, onGap: (gap) => gaps.push(gap) });
    assert.deepEqual(await take(subscription, 6), numbered(4, 10));
    assert.deepEqual(gaps, [{ firstSequence: 1, missingCount: 3, reason: GapReason.Overwritten }]);
  });

  it("ends with the engine's reason, after what was received", async () => {
    const { environment, store, subscribe } = await open();
    store(3);
    const subscription = await subscribe();
    await settled();
    environment.session.endSubscriptions(StatusCode.ResourceNotFound, "the stream was deleted");
    await settled();
    assert.deepEqual(await take(subscription, 3), numbered(0, 3));
    await assert.rejects(
      subscription.next(),
      (thrown) => thrown instanceof MillraceError && thrown.code === "STREAM_NOT_FOUND",
    );
  });

  it("subscribes again when the engine was busy", async () => {
    const { environment, store, subscribe } = await open();
    const subscription = await subscribe();
    await settled();
    environment.session.endSubscriptions(StatusCode.ServerBusy, "busy");
    await settled();
    store(2);
    await environment.advance(1000);
    assert.deepEqual(await take(subscription, 2), numbered(0, 2));
  });

  it("is ended by leaving the loop, by close, and by closing the client", async () => {
    const { engine, client, store, subscribe } = await open();
    store(5);
    for await (const { sequence } of await subscribe()) if (sequence === 2) break;
    await settled();
    assert.equal(engine.unsubscribed, 1);

    const closed = await subscribe({ from: "newest" });
    const nexts = [closed.next(), closed.next()];
    closed.close();
    assert.deepEqual(await Promise.all(nexts), [
      { done: true, value: undefined },
      { done: true, value: undefined },
    ]);

    const cut = await subscribe({ from: "newest" });
    const next = cut.next();
    client.close();
    await assert.rejects(
      next,
      (thrown) => thrown instanceof MillraceError && thrown.code === "CONNECTION_CLOSED",
    );
  });

  it("gives nothing more once it is closed in the middle of a frame", async () => {
    const { store, subscribe } = await open();
    store(10);
    const subscription = await subscribe();
    assert.deepEqual(await take(subscription, 3), numbered(0, 3));
    subscription.close();
    assert.deepEqual(await subscription.next(), { done: true, value: undefined });
    assert.equal(await subscription.nextBatch(), undefined);
  });

  it("refuses options out of range and streams that are not there", async () => {
    const { client, subscribe } = await open();
    await assert.rejects(subscribe({ from: -1 }), /from is -1, must be an integer from 0/);
    await assert.rejects(subscribe({ creditBytes: 1 }), /creditBytes is 1, must be 1024 to 16777216/);
    await assert.rejects(client.subscribe("missing"), /no stream "missing"/);
  });
});
