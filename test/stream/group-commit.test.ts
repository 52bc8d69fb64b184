import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SimStorage } from "../support/sim-storage.ts";
import { AgentFixture, emptyStore } from "./agent-fixture.ts";

function openFlushed(storage?: SimStorage, changes: Parameters<AgentFixture["open"]>[1] = {}): AgentFixture {
  const fixture = new AgentFixture(storage === undefined ? {} : { storage });
  assert.equal(fixture.open(0, { flushOnWrite: true, ...changes }).kind, "done");
  fixture.storage.completeSyncs();
  fixture.work();
  return fixture;
}

/** What the medium holds now, opened by another agent. */
function durableEnd(storage: SimStorage): number {
  const image = storage.durableImage(storage.operations.length);
  const reply = new AgentFixture({ storage: new SimStorage({ image }) }).open(
    0,
    { flushOnWrite: true },
    { create: false },
  );
  assert.ok(reply.kind === "done");
  return reply.progress!.nextSequence;
}

describe("flushOnWrite", () => {
  it("tells no outcome before the sync that covers it, and then it is on the medium", () => {
    const fixture = openFlushed();
    fixture.append(1, 0, { messages: ["a", "b"] });
    assert.deepEqual(fixture.outcomes(), []);
    assert.equal(durableEnd(fixture.storage), 0);
    assert.deepEqual(fixture.afterSync(), [{ kind: "appended", token: 1, firstSequence: 0 }]);
    assert.equal(durableEnd(fixture.storage), 2);
  });

  it("covers everything that arrives while a sync runs by the next one", () => {
    const fixture = openFlushed();
    // The first append makes the segment, with syncs of its own.
    fixture.append(0, 0, { messages: ["zeroth"] });
    fixture.work();
    fixture.afterSync();
    const syncsBefore = fixture.storage.count("sync");
    fixture.append(1, 0, { messages: ["first"] });
    fixture.work();
    for (let token = 2; token <= 100; token++) {
      fixture.append(token, 0, { messages: [`message ${token}`] });
      assert.deepEqual(fixture.outcomes(), []);
    }
    const outcomes = fixture.afterSync();
    assert.deepEqual(
      outcomes.map((event) => (event.kind === "appended" ? [event.token, event.firstSequence] : [])),
      Array.from({ length: 100 }, (_, index) => [index + 1, index + 1]),
    );
    assert.equal(fixture.storage.count("sync") - syncsBefore, 2);
  });

  it("does not make a stream without flushOnWrite wait for the sync of another", () => {
    const fixture = openFlushed();
    fixture.open(1, { name: "quick" });
    fixture.append(1, 0, { messages: ["slow"] });
    fixture.append(2, 1, { messages: ["quick"] });
    assert.deepEqual(fixture.outcomes(), [{ kind: "appended", token: 2, firstSequence: 0 }]);
    assert.deepEqual(fixture.afterSync(), [{ kind: "appended", token: 1, firstSequence: 0 }]);
  });

  it("keeps the order of a stream's outcomes, failures between successes too", () => {
    const fixture = openFlushed();
    fixture.append(1, 0, { messages: ["a"] });
    fixture.work();
    fixture.append(2, 0, { messages: ["b"], count: 9 });
    fixture.append(3, 0, { messages: ["c"] });
    fixture.append(4, 0, { messages: ["d"], rawBytes: 1 });
    assert.deepEqual(fixture.outcomes(), []);
    assert.deepEqual(
      fixture.afterSync().map((event) => [event.kind, event.kind === "gap" ? 0 : event.token]),
      [
        ["appended", 1],
        ["failed", 2],
        ["appended", 3],
        ["failed", 4],
      ],
    );
  });

  it("tells the stream's numbers before the outcomes of a sync", () => {
    const fixture = openFlushed();
    fixture.append(1, 0, { messages: ["a"] });
    fixture.work();
    fixture.storage.completeSyncs();
    const events = fixture.work();
    const outcomeAt = events.findIndex((event) => event.kind === "appended");
    const durable = events
      .slice(0, outcomeAt)
      .find((event) => event.kind === "progress" && event.progress.syncedEndSequence === 1);
    assert.ok(durable !== undefined, JSON.stringify(events));
  });

  it("writes what a failed sync did not cover into a new segment, and only then answers", () => {
    // Each sync by its turn; the first two belong to the definition and to the new segment's header.
    for (let failing = 3; failing <= 12; failing++) {
      const storage = emptyStore({ faults: new Map([[`sync@${failing}`, { code: "EIO" }]]) });
      const fixture = new AgentFixture({ storage });
      assert.equal(fixture.open(0, { flushOnWrite: true }).kind, "done");
      const answered: number[] = [];
      for (let token = 1; token <= 8; token++) {
        fixture.append(token, 0, { messages: [`message ${token}`] });
        const outcomes = [...fixture.outcomes(), ...fixture.afterSync()];
        for (const event of outcomes) {
          if (event.kind !== "appended") continue;
          answered.push(event.token);
          assert.ok(durableEnd(storage) > event.firstSequence, `sync ${failing}, message ${token}`);
        }
      }
      assert.deepEqual(answered, [1, 2, 3, 4, 5, 6, 7, 8], `sync ${failing} failed`);
    }
  });

  it("refuses an append whose segment could not be made, stores nothing of it, and takes the next", () => {
    const storage = emptyStore({ faults: new Map([["sync@2", { code: "EIO" }]]) });
    const fixture = openFlushed(storage);
    fixture.append(1, 0, { messages: ["refused"] });
    const [refused, ...rest] = fixture.outcomes();
    assert.ok(refused?.kind === "failed" && refused.code === "STORAGE_READ_ONLY");
    assert.deepEqual(rest, []);
    fixture.append(2, 0, { messages: ["taken"] });
    assert.deepEqual(
      [...fixture.outcomes(), ...fixture.afterSync()],
      [{ kind: "appended", token: 2, firstSequence: 0 }],
    );
    assert.equal(durableEnd(storage), 1);
  });

  it("holds batches back while a sync lags, in order and refusing none", () => {
    const fixture = openFlushed(undefined, { streamSegmentSize: 4096, maxSize: 10 * 1024 * 1024 });
    const tokens = Array.from({ length: 200 }, (_, index) => index + 1);
    for (const token of tokens) {
      fixture.append(token, 0, { messages: ["x".repeat(500)] });
      assert.deepEqual(fixture.outcomes(), []);
    }
    const answered: number[] = [];
    for (let turn = 0; turn < 500 && answered.length < tokens.length; turn++) {
      for (const event of fixture.afterSync()) {
        assert.ok(event.kind === "appended");
        answered.push(event.token);
      }
    }
    assert.deepEqual(answered, tokens);
  });

  it("is closed only when everything held back and unsynced was answered", () => {
    const fixture = openFlushed(undefined, { streamSegmentSize: 4096, maxSize: 10 * 1024 * 1024 });
    const tokens = Array.from({ length: 100 }, (_, index) => index + 1);
    for (const token of tokens) fixture.append(token, 0, { messages: ["x".repeat(500)] });
    fixture.agent.onControl({ kind: "close", id: 77 });
    const answered: number[] = [];
    for (let turn = 0; turn < 500 && !fixture.agent.isClosed; turn++) {
      for (const event of [...fixture.outcomes(), ...fixture.afterSync()]) {
        assert.ok(event.kind === "appended");
        answered.push(event.token);
      }
    }
    assert.ok(fixture.agent.isClosed);
    assert.deepEqual(answered, tokens);
    assert.equal(durableEnd(fixture.storage), tokens.length);
  });
});
