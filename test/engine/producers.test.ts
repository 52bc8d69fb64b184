import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MillraceError } from "../../src/core/errors.ts";
import { PRODUCERS_PER_STREAM_MAX } from "../../src/core/limits.ts";
import { StatusCode } from "../../src/core/status-code.ts";
import { Persistence, StrategyOnFull } from "../../src/core/stream-definition.ts";
import { ProducerSessions } from "../../src/engine/producer-sessions.ts";
import { encodeCreateMessageStream } from "../../src/wire/create-message-stream.ts";
import { checkStreamDefinition } from "../../src/wire/stream-definition-codec.ts";
import { type AppendAnswer, startTestEngine, TestSession } from "./engine-fixture.ts";

const timeout = 60_000;

async function create(session: TestSession, name: string, changes: object = {}): Promise<number> {
  const definition = checkStreamDefinition({
    name,
    strategyOnFull: StrategyOnFull.OverwriteOldestData,
    streamSegmentSize: 64 * 1024,
    maxSize: 256 * 1024,
    ...changes,
  });
  const reply = await session.request((requestId) => encodeCreateMessageStream({ requestId, definition }));
  assert.equal(reply.status, 0, reply.errorMessage);
  return session.openStream(name);
}

async function appendUntilTaken(
  ...[session, ...batch]: [TestSession, ...Parameters<TestSession["append"]>]
): Promise<AppendAnswer> {
  for (;;) {
    const answer = await session.append(...batch);
    if (answer.status !== StatusCode.ServerBusy) return answer;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe("a producer that names itself", () => {
  it("is answered once for all, over connections and over the death of a worker", { timeout }, async (t) => {
    const { engine, workers } = await startTestEngine(t);
    const first = new TestSession(engine);
    const kinds = [{}, { flushOnWrite: true }, { persistence: Persistence.Memory }];
    const filler = "x".repeat(40 * 1024);
    for (const [kind, changes] of kinds.entries()) {
      const name = `stream ${kind}`;
      const handle = await create(first, name, changes);
      // More than the stream keeps.
      for (let sequence = 0; sequence < 20; sequence++) {
        const answer = await first.append(handle, [`${sequence}`, filler], { id: 7, sequence });
        assert.deepEqual(answer, { status: 0, firstSequence: 2 * sequence, text: "" }, name);
      }
      await workers.at(-1)!.terminate();
      const second = new TestSession(engine);
      const again = await second.openStream(name);
      for (const sequence of [0, 19]) {
        const answer = await appendUntilTaken(second, again, [`${sequence}`, filler], { id: 7, sequence });
        assert.deepEqual(answer, { status: 0, firstSequence: 2 * sequence, text: "" }, name);
      }
      const gap = await second.append(again, ["gap"], { id: 7, sequence: 21 });
      assert.equal(gap.status, StatusCode.SequenceGap);
      assert.equal(gap.firstSequence, 20);
      assert.match(gap.text, /batch 20 is next/);
      const next = await second.append(again, ["next"], { id: 7, sequence: 20 });
      assert.equal(next.firstSequence, 40);
    }
  });

  it("is counted apart where a batch had been stored before", { timeout }, async (t) => {
    const { engine } = await startTestEngine(t);
    const session = new TestSession(engine);
    const handle = await create(session, "s");
    for (let copy = 0; copy < 3; copy++) await session.append(handle, ["a", "b"], { id: 7, sequence: 0 });
    const entry = engine.catalog.get("s");
    assert.deepEqual(
      [entry.appendedMessageCount, entry.repeatedMessageCount, entry.appendedBytes],
      [2, 4, 2],
    );
  });

  it("is no longer taken from a connection that it has given up", { timeout }, async (t) => {
    const { engine } = await startTestEngine(t);
    const [old, late] = [new TestSession(engine), new TestSession(engine)];
    const handle = await create(old, "s");
    const again = await late.openStream("s");
    assert.equal((await old.append(handle, ["a"], { id: 7, sequence: 0 })).status, 0);
    assert.equal((await late.append(again, ["b"], { id: 7, sequence: 1 })).status, 0);
    // What lay in the old connection: batch 2 of the producer is another one by now.
    const refused = await old.append(handle, ["given up"], { id: 7, sequence: 2 });
    assert.equal(refused.status, StatusCode.InvalidRequest);
    assert.match(refused.text, /over a later connection/);
    assert.equal((await late.append(again, ["c"], { id: 7, sequence: 2 })).firstSequence, 2);
    // Others on it are not concerned, nor is the same producer in another stream.
    assert.equal((await old.append(handle, ["d"], { id: 8, sequence: 0 })).firstSequence, 3);
    const other = await create(old, "other");
    assert.equal((await old.append(other, ["a"], { id: 7, sequence: 0 })).status, 0);
  });
});

describe("ProducerSessions", () => {
  it("forgets the producer whose batch is longest ago, as the stream does", () => {
    const sessions = new ProducerSessions();
    for (let producerId = 1; producerId <= PRODUCERS_PER_STREAM_MAX; producerId++)
      sessions.claim(producerId, 2);
    sessions.claim(1, 3);
    sessions.claim(5000, 2);
    const refused = (thrown: unknown) => thrown instanceof MillraceError && thrown.code === "INVALID_REQUEST";
    assert.throws(() => sessions.claim(1, 2), refused);
    assert.throws(() => sessions.claim(3, 1), refused);
    sessions.claim(2, 1);
  });
});
