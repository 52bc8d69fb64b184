import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SimStorage } from "../support/sim-storage.ts";
import { AgentFixture, type UpEvent } from "./agent-fixture.ts";

const FLUSHED = { flushOnWrite: true };
const KEPT = { create: false };

function opened(changes: Parameters<AgentFixture["open"]>[1]): AgentFixture {
  const fixture = new AgentFixture();
  assert.equal(fixture.open(0, changes).kind, "done");
  fixture.work();
  return fixture;
}

/** Sends batch `sequence` of a producer under the token 100 * producer + sequence. */
function send(fixture: AgentFixture, id: number, sequence: number, messages = [`${id}:${sequence}`]): void {
  fixture.append(100 * id + sequence, 0, { messages, producer: { id, sequence } });
}

/** `token@first sequence`, with `again` for a repeat; `token code`, with what was expected for a gap. */
function texts(events: readonly UpEvent[]): string[] {
  return events.flatMap((event) => {
    if (event.kind === "appended")
      return [`${event.token}@${event.firstSequence}${event.isRepeat === true ? " again" : ""}`];
    if (event.kind !== "failed") return [];
    const expected = event.expectedSequence === undefined ? "" : ` ${event.expectedSequence}`;
    return [`${event.token} ${event.code}${expected}`];
  });
}

function stored(fixture: AgentFixture): string[] {
  fixture.read(9999, 0, { min: 0, max: 1000 });
  return fixture.outcomes().flatMap((event) => (event.kind === "records" ? event.payloads : []));
}

describe("a batch that its producer sends again", () => {
  it("is stored once and gets its first answer, also before the first copy was written", () => {
    const fixture = opened({});
    send(fixture, 1, 0, ["a", "b"]);
    send(fixture, 1, 1);
    send(fixture, 1, 0, ["a", "b"]);
    send(fixture, 1, 1);
    send(fixture, 1, 2);
    assert.deepEqual(texts(fixture.outcomes()), ["100@0", "101@2", "100@0 again", "101@2 again", "102@3"]);
    send(fixture, 1, 1);
    assert.deepEqual(texts(fixture.outcomes()), ["101@2 again"]);
    assert.deepEqual(stored(fixture), ["a", "b", "1:1", "1:2"]);
  });

  it("is answered only behind a sync of the first copy", () => {
    const fixture = opened(FLUSHED);
    send(fixture, 1, 0);
    assert.deepEqual(fixture.outcomes(), []);
    send(fixture, 1, 0);
    assert.deepEqual(fixture.outcomes(), []);
    // The first copy's sync covers it, and the second answer waits for the next sync, which finds nothing to do.
    assert.deepEqual(texts(fixture.afterSync()), ["100@0", "100@0 again"]);
    const image = fixture.storage.durableImage(fixture.storage.operations.length);
    const after = new AgentFixture({ storage: new SimStorage({ image }) });
    assert.equal(after.open(0, FLUSHED, KEPT).kind, "done");
    assert.deepEqual(stored(after), ["1:0"]);
    send(after, 1, 0);
    assert.deepEqual(texts([...after.outcomes(), ...after.afterSync()]), ["100@0 again"]);
  });

  it("is not vouched for while its sync fails, and is there once when the storage works again", () => {
    const fixture = opened(FLUSHED);
    send(fixture, 1, 0);
    assert.deepEqual(texts([...fixture.outcomes(), ...fixture.afterSync()]), ["100@0"]);
    fixture.storage.plant([
      ["sync@+1", { code: "EIO" }],
      ["open@+1+", { code: "EIO" }],
    ]);
    for (let again = 0; again < 6; again++) {
      send(fixture, 1, 1);
      const [outcome] = texts([...fixture.outcomes(), ...fixture.afterSync()]);
      assert.equal(outcome, "101 UNKNOWN_OUTCOME", `try ${again}`);
    }
    fixture.storage.heal();
    fixture.clock.advance(60_000);
    fixture.work();
    fixture.afterSync();
    send(fixture, 1, 1);
    send(fixture, 1, 2);
    assert.deepEqual(texts([...fixture.outcomes(), ...fixture.afterSync()]), ["101@1 again", "102@2"]);
    assert.deepEqual(stored(fixture), ["1:0", "1:1", "1:2"]);
  });

  it("is stored if the write of the first copy failed, and what was sent behind it is refused until then", () => {
    const fixture = opened({});
    send(fixture, 1, 0);
    assert.deepEqual(texts(fixture.outcomes()), ["100@0"]);
    fixture.storage.plant([["write@+1", { writtenBytes: 20, code: "EIO" }]]);
    send(fixture, 1, 1);
    send(fixture, 1, 2);
    assert.deepEqual(texts(fixture.outcomes()), ["101 UNKNOWN_OUTCOME", "102 UNKNOWN_OUTCOME"]);
    send(fixture, 1, 2);
    send(fixture, 1, 1);
    send(fixture, 1, 2);
    assert.deepEqual(texts(fixture.outcomes()), ["102 SEQUENCE_GAP 1", "101@1", "102@2"]);
    assert.deepEqual(stored(fixture), ["1:0", "1:1", "1:2"]);
  });

  it("is judged by what became of the copy that was gathered before it", () => {
    const fixture = opened({});
    send(fixture, 1, 0);
    assert.deepEqual(texts(fixture.outcomes()), ["100@0"]);
    fixture.storage.plant([["write@+1", { writtenBytes: 20, code: "EIO" }]]);
    send(fixture, 1, 1);
    send(fixture, 1, 1);
    send(fixture, 1, 2);
    assert.deepEqual(texts(fixture.outcomes()), ["101 UNKNOWN_OUTCOME", "101@1", "102@2"]);
    assert.deepEqual(stored(fixture), ["1:0", "1:1", "1:2"]);
  });

  it("is answered by a full stream, which takes no new one", () => {
    const fixture = opened({ maxSize: 2000, streamSegmentSize: 1000 });
    const large = ["x".repeat(900)];
    send(fixture, 1, 0, large);
    send(fixture, 1, 1, large);
    send(fixture, 1, 2, large);
    send(fixture, 1, 1, large);
    send(fixture, 1, 3, large);
    const outcomes = ["100@0", "101@1", "102 STREAM_FULL", "101@1 again", "103 SEQUENCE_GAP 2"];
    assert.deepEqual(texts(fixture.outcomes()), outcomes);
  });

  it("keeps its place among batches that are held back while a sync lags", () => {
    const fixture = opened({ ...FLUSHED, streamSegmentSize: 4096, maxSize: 10 * 1024 * 1024 });
    const sent: [id: number, sequence: number][] = [];
    for (let round = 0; round < 30; round++) {
      for (const id of [1, 2]) {
        sent.push([id, round]);
        if (round % 3 === 2) sent.push([id, round - 1]);
      }
    }
    const filler = "x".repeat(400);
    for (const [id, sequence] of sent) {
      send(fixture, id, sequence, [`${id}:${sequence} ${filler}`]);
      assert.deepEqual(fixture.outcomes(), []);
    }
    const answered: string[] = [];
    for (let turn = 0; turn < 500 && answered.length < sent.length; turn++) {
      answered.push(...texts(fixture.afterSync()));
    }
    assert.deepEqual(
      answered.map((text) => Number(/^\d+/.exec(text)![0])),
      sent.map(([id, sequence]) => 100 * id + sequence),
    );
    assert.equal(answered.filter((text) => text.endsWith("again")).length, 20);
    assert.equal(stored(fixture).length, 60);
  });

  it("is known after a start, and to a worker that takes over a stream in memory", () => {
    const fixture = opened({ streamSegmentSize: 4096 });
    for (let sequence = 0; sequence < 50; sequence++) send(fixture, 1, sequence, [`${sequence}`.padEnd(700)]);
    assert.equal(texts(fixture.outcomes()).length, 50);
    const after = new AgentFixture({ storage: fixture.storage.copy() });
    assert.equal(after.open(0, { streamSegmentSize: 4096 }, KEPT).kind, "done");
    for (const sequence of [0, 49, 50, 52]) send(after, 1, sequence, [`${sequence}`.padEnd(700)]);
    const outcomes = ["100@0 again", "149@49 again", "150@50", "152 SEQUENCE_GAP 51"];
    assert.deepEqual(texts(after.outcomes()), outcomes);
  });
});

describe("a batch that is not the next one of its producer", () => {
  it("is refused with the one that is, in the order of the requests, and changes nothing", () => {
    const fixture = opened(FLUSHED);
    send(fixture, 1, 1);
    send(fixture, 2, 0);
    send(fixture, 1, 0);
    send(fixture, 1, 3);
    send(fixture, 1, 1);
    assert.deepEqual(texts([...fixture.outcomes(), ...fixture.afterSync()]), [
      "101 SEQUENCE_GAP 0",
      "200@0",
      "100@1",
      "103 SEQUENCE_GAP 1",
      "101@2",
    ]);
    assert.deepEqual(stored(fixture), ["2:0", "1:0", "1:1"]);
  });

  it("is what follows a batch whose block it did not fit, and which could not be written", () => {
    const fixture = opened({});
    send(fixture, 1, 0);
    fixture.work();
    fixture.storage.plant([["write@+1", { writtenBytes: 20, code: "EIO" }]]);
    const large = ["x".repeat(9000)];
    send(fixture, 1, 1, large);
    send(fixture, 1, 2, large);
    assert.deepEqual(texts(fixture.outcomes()), ["101 UNKNOWN_OUTCOME", "102 SEQUENCE_GAP 1"]);
  });

  it("follows only what was taken: one that is malformed does not count", () => {
    const fixture = opened({});
    send(fixture, 1, 0);
    fixture.append(7, 0, { messages: ["bad"], count: 9, producer: { id: 1, sequence: 1 } });
    send(fixture, 1, 2);
    send(fixture, 1, 1);
    const outcomes = ["100@0", "7 INVALID_REQUEST", "102 SEQUENCE_GAP 1", "101@1"];
    assert.deepEqual(texts(fixture.outcomes()), outcomes);
  });
});
