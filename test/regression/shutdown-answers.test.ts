import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Persistence, StrategyOnFull } from "../../src/core/stream-definition.ts";
import { encodeCreateMessageStream } from "../../src/wire/create-message-stream.ts";
import { checkStreamDefinition } from "../../src/wire/stream-definition-codec.ts";
import { TestSession, startTestEngine } from "../engine/engine-fixture.ts";
import { AgentFixture } from "../stream/agent-fixture.ts";

describe("StreamAgent, when it closes", () => {
  it("answers the group that gathered while a sync ran", () => {
    const fixture = new AgentFixture();
    fixture.open(0, { flushOnWrite: true });
    fixture.append(1, 0, { messages: ["a"] });
    assert.deepEqual(fixture.outcomes(), []);
    fixture.append(2, 0, { messages: ["b"] });
    fixture.agent.onControl({ kind: "close", id: 77 });
    fixture.storage.completeSyncs();
    fixture.agent.doWork();
    assert.deepEqual(
      fixture.takeUp().flatMap((event) => (event.kind === "appended" ? [event.token] : [])),
      [1, 2],
    );
    assert.equal(fixture.agent.isClosed, true);
  });

  it("waits until the main thread has taken every outcome", () => {
    const fixture = new AgentFixture({ ringBytes: 4096 });
    fixture.open(0);
    fixture.append(1, 0, { messages: ["x".repeat(800)] });
    assert.equal(fixture.outcomes().length, 1);
    for (let token = 100; token < 110; token++) fixture.read(token, 0);
    fixture.agent.doWork();
    fixture.append(2, 0, { messages: ["b"] });
    fixture.agent.onControl({ kind: "close", id: 77 });
    fixture.storage.completeSyncs();
    const events = fixture.takeUp();
    for (let turn = 0; turn < 20 && !fixture.agent.isClosed; turn++) {
      fixture.agent.doWork();
      fixture.storage.completeSyncs();
      events.push(...fixture.takeUp());
    }
    assert.equal(fixture.agent.isClosed, true);
    assert.ok(events.some((event) => event.kind === "appended" && event.token === 2));
  });
});

describe("StreamAgent, before it sleeps", () => {
  it("sees that a sync has left outcomes to tell", () => {
    const fixture = new AgentFixture();
    fixture.open(0, { flushOnWrite: true });
    fixture.append(1, 0, { messages: ["a"] });
    fixture.work();
    assert.equal(fixture.agent.hasInput(), false);
    fixture.storage.completeSyncs();
    assert.equal(fixture.agent.hasInput(), true);
  });

  it("sees that a failed sync has left refusals of which the main thread does not know", () => {
    // Nothing can be written any more when the sync has failed, so the window finds no new segment.
    const fixture = new AgentFixture();
    fixture.open(0, { flushOnWrite: true });
    fixture.append(1, 0, { messages: ["a"] });
    fixture.work();
    assert.equal(fixture.agent.hasInput(), false);
    fixture.storage.plant([
      ["sync@+1", { code: "EIO" }],
      ["write@+1+", { code: "EIO" }],
    ]);
    fixture.storage.completeSyncs();
    assert.equal(fixture.agent.hasInput(), true);
    const [refused] = fixture.outcomes();
    assert.ok(refused?.kind === "failed" && refused.token === 1);
  });
});

describe("Engine.close", () => {
  it("commits and answers what does not fit the ring yet", { timeout: 60_000 }, async (t) => {
    const { engine } = await startTestEngine(t, { ringBytes: 2 * 1024 * 1024 });
    const session = new TestSession(engine);
    for (const [name, changes] of [
      ["flushed", { flushOnWrite: true }],
      ["plain", {}],
      ["memory", { persistence: Persistence.Memory }],
    ] as const) {
      const definition = checkStreamDefinition({
        name,
        strategyOnFull: StrategyOnFull.RejectNewData,
        ...changes,
      });
      await session.request((requestId) => encodeCreateMessageStream({ requestId, definition }));
    }
    const answers = [];
    for (const name of ["flushed", "plain", "memory"]) {
      const handle = await session.openStream(name);
      for (let batch = 0; batch < 30; batch++) {
        answers.push(
          session.append(
            handle,
            Array.from({ length: 10 }, () => "x".repeat(20_000)),
          ),
        );
      }
    }
    await engine.close();
    const failed = (await Promise.all(answers)).filter(({ status }) => status !== 0);
    assert.deepEqual(failed, []);
  });
});
