import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { StatusCode } from "../../src/core/status-code.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { encodeCreateMessageStream } from "../../src/wire/create-message-stream.ts";
import { Operation } from "../../src/wire/operation.ts";
import { encodeReadMessages } from "../../src/wire/read-messages.ts";
import { checkStreamDefinition } from "../../src/wire/stream-definition-codec.ts";
import { encodeSubscribe } from "../../src/wire/subscribe-layout.ts";
import { TestSession, startTestEngine } from "../engine/engine-fixture.ts";
import { AgentFixture } from "../stream/agent-fixture.ts";

const MIB = 1024 * 1024;

/** A peer that takes nothing until it is told to: what is sent to it stays in the session's buffer. */
class StuckSession extends TestSession {
  readonly sentBytesByOperation = new Map<number, number>();

  override send(frame: Uint8Array): void {
    const operation = frame[0]!;
    this.bufferedBytes += frame.length;
    this.sentBytesByOperation.set(operation, this.sentBytes(operation) + frame.length);
    super.send(frame);
  }

  sentBytes(operation: number): number {
    return this.sentBytesByOperation.get(operation) ?? 0;
  }
}

async function startWithMessages(
  t: TestContext,
): Promise<{ engine: Awaited<ReturnType<typeof startTestEngine>>["engine"]; session: TestSession }> {
  const { engine } = await startTestEngine(t);
  const session = new TestSession(engine);
  const definition = checkStreamDefinition({ name: "raw", strategyOnFull: StrategyOnFull.RejectNewData });
  await session.request((requestId) => encodeCreateMessageStream({ requestId, definition }));
  const handle = await session.openStream("raw");
  for (let batch = 0; batch < 16; batch++) {
    const { status } = await session.append(
      handle,
      Array.from({ length: 10 }, () => "x".repeat(90_000)),
    );
    assert.equal(status, StatusCode.Success);
  }
  return { engine, session };
}

/** Enough round trips through the worker for anything that it still does. */
async function settle(session: TestSession): Promise<void> {
  const handle = await session.openStream("raw");
  for (let round = 0; round < 50; round++) await session.append(handle, ["tick"]);
}

describe("a client that does not read", () => {
  it("is not sent all that it gave credit for", { timeout: 60_000 }, async (t) => {
    const { engine, session } = await startWithMessages(t);
    const stuck = new StuckSession(engine);
    const handle = await stuck.openStream("raw");
    for (let subscriptionId = 0; subscriptionId < 8; subscriptionId++) {
      const creditBytes = 16 * MIB;
      engine.onFrame(stuck, encodeSubscribe({ handle, subscriptionId, fromSequence: 0, creditBytes }));
    }
    await settle(session);
    const heldBytes = stuck.bufferedBytes;
    assert.ok(heldBytes <= 8 * 2 * MIB, `${heldBytes} bytes wait`);
    // It goes on when the client reads, to the end.
    const goal = 8 * 16 * 900_000;
    while (stuck.sentBytes(Operation.Messages) < goal) {
      stuck.bufferedBytes = 0;
      engine.onDrain(stuck);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await engine.close();
  });

  it("has its reads answered one after the other", { timeout: 60_000 }, async (t) => {
    const { engine, session } = await startWithMessages(t);
    const stuck = new StuckSession(engine);
    const options = { maxMessageCount: 1000 };
    const replies = Array.from({ length: 300 }, () =>
      stuck.request((requestId) => encodeReadMessages({ requestId, streamName: "raw", options })),
    );
    await settle(session);
    assert.ok(stuck.bufferedBytes < 64 * MIB, `${stuck.bufferedBytes} bytes wait`);
    const answered = Promise.all(replies);
    let answeredCount = 0;
    for (const reply of replies) void reply.then(() => (answeredCount += 1));
    while (answeredCount < replies.length) {
      stuck.bufferedBytes = 0;
      engine.onDrain(stuck);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.deepEqual(new Set((await answered).map(({ status }) => status)), new Set([StatusCode.Success]));
    await engine.close();
  });

  it("cannot have more reads wait than a bound", { timeout: 60_000 }, async (t) => {
    const { engine } = await startWithMessages(t);
    const session = new TestSession(engine);
    let refusedCount = 0;
    for (let index = 0; index < 2000; index++) {
      const options = { minMessageCount: 1_000_000, maxMessageCount: 1_000_000, readTimeoutMillis: 50_000 };
      void session
        .request((requestId) => encodeReadMessages({ requestId, streamName: "raw", options }))
        .then(({ errorMessage }) => {
          if (/reads of this connection wait/.test(errorMessage)) refusedCount += 1;
        });
    }
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(refusedCount, 2000 - 64 - 1024);
    engine.onClose(session);
    await engine.close();
  });
});

describe("a subscription", () => {
  it("is told of messages that were overwritten before it came to them", () => {
    const fixture = new AgentFixture();
    const maxSize = 4096;
    const strategyOnFull = StrategyOnFull.OverwriteOldestData;
    fixture.open(0, { maxSize, streamSegmentSize: 1024, strategyOnFull });
    fixture.subscribe(1, 0, { from: 0, creditBytes: 1 });
    fixture.append(100, 0, { messages: ["x".repeat(100)] });
    fixture.work();
    for (let token = 101; token < 180; token++) {
      fixture.append(token, 0, { messages: ["x".repeat(100)] });
      fixture.storage.completeSyncs();
      fixture.work();
    }
    fixture.credit(1, 1_000_000);
    const pushed = fixture
      .outcomes()
      .filter((event) => (event.kind === "gap" || event.kind === "records") && event.token === 1);
    const [gap] = pushed;
    assert.ok(gap?.kind === "gap", JSON.stringify(gap));
    let next = 1;
    for (const event of pushed) {
      assert.ok(event.kind === "gap" || event.kind === "records");
      assert.equal(event.kind === "gap" ? event.fromSequence : event.firstSequence, next);
      next = event.kind === "gap" ? event.toSequence : next + event.payloads.length;
    }
    assert.equal(next, 80);
  });

  it("gets its turn where others keep the ring full", () => {
    const fixture = new AgentFixture({ ringBytes: 4096 });
    fixture.open(0);
    for (let token = 100; token < 160; token++) {
      fixture.append(token, 0, { messages: ["x".repeat(2000)] });
      fixture.work();
    }
    for (let token = 1; token <= 12; token++) fixture.subscribe(token, 0, { from: 0, creditBytes: 1 });
    const seen = new Set<number>();
    for (let turn = 0; turn < 48; turn++) {
      fixture.agent.doWork();
      for (const event of fixture.takeUp()) {
        if (event.kind !== "records") continue;
        seen.add(event.token);
        fixture.credit(event.token, 2004);
      }
    }
    assert.equal(seen.size, 12);
  });
});
