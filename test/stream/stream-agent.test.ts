import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { compressSync } from "lz4-napi";
import { Persistence, StrategyOnFull } from "../../src/core/stream-definition.ts";
import { SharedMemoryStorage, type SharedFile } from "../../src/log/shared-memory-storage.ts";
import { openStoreDirectory } from "../../src/stream/store-directory.ts";
import { APPEND_FLAG_LZ4, type ControlReply } from "../../src/stream/stream-channel.ts";
import { SimStorage } from "../support/sim-storage.ts";
import {
  AgentFixture,
  EMPTY_STORE_OPERATIONS,
  directoryOf,
  emptyStore,
  framed,
  type UpEvent,
} from "./agent-fixture.ts";

function appended(token: number, firstSequence: number): UpEvent {
  return { kind: "appended", token, firstSequence };
}

function isFailure(event: UpEvent | undefined, token: number, code: string, text: RegExp): void {
  assert.ok(event?.kind === "failed", `a failure, not ${JSON.stringify(event)}`);
  assert.deepEqual([event.token, event.code], [token, code]);
  assert.match(event.text, text);
}

function openFixture(
  ...[changes]: Parameters<AgentFixture["open"]> extends [number, ...infer Rest] ? Rest : never
): AgentFixture {
  const fixture = new AgentFixture();
  assert.equal(fixture.open(0, changes).kind, "done");
  return fixture;
}

describe("StreamAgent, appending", () => {
  it("answers each batch with its first sequence number, in order", () => {
    const fixture = openFixture();
    fixture.append(7, 0, { messages: ["a", "b", "c"] });
    fixture.append(3, 0, { messages: ["d"] });
    fixture.append(9, 0, { messages: ["e", "f"] });
    assert.deepEqual(fixture.outcomes(), [appended(7, 0), appended(3, 3), appended(9, 4)]);
  });

  it("tells the stream's numbers before the outcomes of the same slice", () => {
    const fixture = openFixture();
    fixture.append(1, 0, { messages: ["a", "b"] });
    const [first, second] = fixture.work();
    assert.ok(first?.kind === "progress");
    assert.deepEqual([first.slot, first.progress.nextSequence, first.progress.totalBytes], [0, 2, 2 + 48]);
    assert.deepEqual(second, appended(1, 0));
  });

  it("tells the stream's numbers before the outcomes also when one of them is a refusal", () => {
    const fixture = openFixture();
    fixture.append(1, 0, { messages: ["a"] });
    fixture.append(2, 0, { messages: ["b"], count: 5 });
    const kinds = fixture.work().map((event) => event.kind);
    assert.deepEqual(kinds, ["progress", "appended", "failed"]);
  });

  it("keeps streams apart", () => {
    const fixture = openFixture();
    fixture.open(1, { name: "other" });
    fixture.append(1, 0, { messages: ["a"] });
    fixture.append(2, 1, { messages: ["b"] });
    fixture.append(3, 0, { messages: ["c"] });
    const outcomes = fixture.outcomes();
    assert.deepEqual(
      outcomes.sort((one, other) => one.token - other.token),
      [appended(1, 0), appended(2, 0), appended(3, 1)],
    );
  });

  it("takes a batch that its producer compressed", () => {
    const fixture = openFixture();
    const raw = framed(["one message".repeat(40), "another".repeat(50)]);
    // The first 4 bytes are the size before compression; a batch states it in its header.
    const bytes = compressSync(raw).subarray(4);
    fixture.append(1, 0, { bytes, flags: APPEND_FLAG_LZ4, rawBytes: raw.length, count: 2 });
    assert.deepEqual(fixture.outcomes(), [appended(1, 0)]);
    fixture.read(2, 0, { min: 2 });
    const [records] = fixture.outcomes();
    assert.ok(records?.kind === "records");
    assert.deepEqual(records.payloads, ["one message".repeat(40), "another".repeat(50)]);
  });

  const faults: readonly [string, Parameters<AgentFixture["append"]>[2], RegExp][] = [
    ["fewer messages than announced", { messages: ["a", "b"], count: 3 }, /3 messages/],
    ["more messages than announced", { messages: ["a", "b"], count: 1 }, /1 messages/],
    ["no messages", { bytes: Buffer.alloc(0), count: 0 }, /without messages/],
    ["a length that leads out of the batch", { bytes: Buffer.of(9, 0, 0, 0, 1), count: 1 }, /1 messages/],
    ["a length that nearly wraps", { bytes: Buffer.of(255, 255, 255, 255, 1), count: 1 }, /1 messages/],
    ["a torn length", { bytes: Buffer.of(1, 0, 0, 0, 1, 5, 0), count: 2 }, /2 messages/],
    ["another size than announced", { messages: ["a"], rawBytes: 99 }, /5 bytes: 99 announced/],
    [
      "what LZ4 cannot read",
      { bytes: Buffer.alloc(9, 255), flags: APPEND_FLAG_LZ4, rawBytes: 99, count: 1 },
      /./,
    ],
  ];
  for (const [fault, batch, text] of faults) {
    it(`refuses a batch with ${fault}, between others that it takes`, () => {
      const fixture = openFixture();
      fixture.append(1, 0, { messages: ["before"] });
      fixture.append(2, 0, batch);
      fixture.append(3, 0, { messages: ["after"] });
      const [before, refused, after, ...rest] = fixture.outcomes();
      assert.deepEqual([before, after, rest], [appended(1, 0), appended(3, 1), []]);
      assert.ok(refused?.kind === "failed");
      assert.deepEqual([refused.token, refused.code], [2, "INVALID_REQUEST"]);
      assert.match(refused.text, text);
    });
  }

  it("refuses what a full stream cannot hold, and takes less", () => {
    const fixture = openFixture({ maxSize: 1024, streamSegmentSize: 1024 });
    fixture.append(1, 0, { messages: ["x".repeat(900)] });
    fixture.append(2, 0, { messages: ["y".repeat(200)] });
    fixture.append(3, 0, { messages: ["z"] });
    const [first, refused, last] = fixture.outcomes();
    assert.deepEqual([first, last], [appended(1, 0), appended(3, 1)]);
    isFailure(refused, 2, "STREAM_FULL", /is full/);
  });

  it("overwrites the oldest messages where the stream says so", () => {
    const strategyOnFull = StrategyOnFull.OverwriteOldestData;
    const fixture = openFixture({ maxSize: 4096, streamSegmentSize: 1024, strategyOnFull });
    for (let token = 0; token < 50; token++) {
      fixture.append(token, 0, { messages: ["x".repeat(300)] });
      assert.deepEqual(fixture.outcomes(), [appended(token, token)]);
    }
    fixture.read(99, 0, { min: 1, max: 100 });
    const records = fixture.outcomes().filter((event) => event.kind === "records");
    const first = records[0]!.firstSequence;
    assert.ok(first > 30 && first < 50, `the oldest is ${first}`);
  });

  it("overwrites for each of many batches that come at once, refusing none", () => {
    const strategyOnFull = StrategyOnFull.OverwriteOldestData;
    const fixture = openFixture({ maxSize: 4096, streamSegmentSize: 1024, strategyOnFull });
    for (let token = 0; token < 30; token++) fixture.append(token, 0, { messages: ["x".repeat(1000)] });
    const answered: UpEvent[] = [];
    for (let turn = 0; turn < 30; turn++) {
      answered.push(...fixture.outcomes());
      fixture.storage.completeSyncs();
    }
    assert.deepEqual(
      answered,
      Array.from({ length: 30 }, (_, token) => appended(token, token)),
    );
  });

  it("refuses requests for a stream that is not there", () => {
    const fixture = openFixture();
    fixture.append(1, 5, { messages: ["a"] });
    fixture.read(2, 5);
    const [append, read] = fixture.outcomes();
    isFailure(append, 1, "STREAM_NOT_FOUND", /./);
    isFailure(read, 2, "STREAM_NOT_FOUND", /./);
  });

  it("takes a message larger than a fragment of the ring", () => {
    const fixture = openFixture();
    const message = "0123456789".repeat(20_000);
    fixture.append(1, 0, { messages: [message] });
    assert.deepEqual(fixture.outcomes(), [appended(1, 0)]);
    fixture.read(2, 0);
    const [records] = fixture.outcomes();
    assert.ok(records?.kind === "records");
    assert.equal(records.payloads[0], message);
  });
});

describe("StreamAgent, reading", () => {
  function filled(count: number): AgentFixture {
    const fixture = openFixture();
    fixture.append(0, 0, { messages: Array.from({ length: count }, (_, index) => `message ${index}`) });
    fixture.work();
    return fixture;
  }

  function payloads(events: readonly UpEvent[]): string[] {
    return events.flatMap((event) => (event.kind === "records" ? event.payloads : []));
  }

  it("answers with at most the maximum, from the number asked for", () => {
    const fixture = filled(10);
    fixture.read(1, 0, { from: 4, min: 1, max: 3 });
    const events = fixture.outcomes();
    assert.deepEqual(payloads(events), ["message 4", "message 5", "message 6"]);
    assert.ok(events.at(-1)?.kind === "records" && events.at(-1)?.token === 1);
  });

  it("refuses at once when there are fewer than the minimum, and says which of the two reasons it is", () => {
    const fixture = filled(10);
    fixture.read(1, 0, { from: 0, min: 50 });
    fixture.read(2, 0, { from: 10 });
    const [few, beyond] = fixture.outcomes();
    isFailure(few, 1, "NOT_ENOUGH_MESSAGES", /10 messages, at least 50 asked for/);
    isFailure(beyond, 2, "NOT_ENOUGH_MESSAGES", /10 is greater than the last sequence number 9/);
  });

  it("waits for the minimum while there is time", () => {
    const fixture = filled(1);
    fixture.read(1, 0, { from: 0, min: 3, max: 3, timeoutMs: 5000 });
    assert.deepEqual(fixture.outcomes(), []);
    fixture.append(2, 0, { messages: ["second"] });
    fixture.clock.advance(4999);
    assert.deepEqual(fixture.outcomes(), [appended(2, 1)]);
    fixture.append(3, 0, { messages: ["third"] });
    assert.deepEqual(payloads(fixture.outcomes()), ["message 0", "second", "third"]);
  });

  it("gives up waiting when the time is over", () => {
    const fixture = filled(1);
    fixture.read(1, 0, { from: 0, min: 3, timeoutMs: 5000 });
    assert.deepEqual(fixture.outcomes(), []);
    assert.ok(fixture.agent.idleMs() <= 5000);
    fixture.clock.advance(5000);
    const [failure, ...rest] = fixture.outcomes();
    isFailure(failure, 1, "NOT_ENOUGH_MESSAGES", /1 messages, at least 3/);
    assert.deepEqual(rest, []);
  });

  it("ends a waiting read that is cancelled, once", () => {
    const fixture = filled(1);
    fixture.read(1, 0, { from: 5, timeoutMs: 5000 });
    fixture.work();
    fixture.cancel(1);
    fixture.cancel(1);
    const [failure, ...rest] = fixture.outcomes();
    isFailure(failure, 1, "CONNECTION_CLOSED", /./);
    assert.deepEqual(rest, []);
    fixture.clock.advance(10_000);
    assert.deepEqual(fixture.outcomes(), []);
  });

  it("pushes to a subscriber as far as its credit goes, one piece beyond it at most", () => {
    const fixture = openFixture();
    const message = "x".repeat(996);
    for (let token = 0; token < 20; token++) {
      fixture.append(token, 0, { messages: [message] });
      fixture.work();
    }
    fixture.subscribe(1, 0, { from: 0, creditBytes: 2500 });
    assert.equal(payloads(fixture.outcomes()).length, 3);
    assert.deepEqual(fixture.outcomes(), []);
    fixture.credit(1, 500);
    assert.deepEqual(fixture.outcomes(), [], "the piece beyond the credit is paid first");
    fixture.credit(1, 1000);
    assert.equal(payloads(fixture.outcomes()).length, 1);
    fixture.credit(1, 1_000_000);
    assert.equal(payloads(fixture.outcomes()).length, 16);
    fixture.append(99, 0, { messages: ["new"] });
    assert.deepEqual(payloads(fixture.outcomes()), ["new"]);
  });

  it("ends a subscription that is cancelled, and gives its token back", () => {
    const fixture = filled(1);
    fixture.subscribe(1, 0, { from: 0, creditBytes: 1000 });
    assert.deepEqual(payloads(fixture.outcomes()), ["message 0"]);
    fixture.cancel(1);
    isFailure(fixture.outcomes()[0], 1, "CONNECTION_CLOSED", /./);
    fixture.append(2, 0, { messages: ["later"] });
    assert.deepEqual(fixture.outcomes(), [appended(2, 1)]);
  });

  it("takes no more requests while nobody takes its answers, and loses none", () => {
    const fixture = filled(1);
    const answers: UpEvent[] = [];
    // More answers than the ring up holds, none taken meanwhile.
    fixture.append(0, 0, { messages: ["x".repeat(40_000)] });
    fixture.work();
    for (let token = 1; token <= 10; token++) fixture.read(token, 0, { from: 1 });
    for (let turn = 0; turn < 20; turn++) fixture.agent.doWork();
    for (let turn = 0; turn < 50; turn++) {
      answers.push(...fixture.takeUp());
      fixture.agent.doWork();
    }
    assert.deepEqual(
      answers.filter((event) => event.kind === "records").map((event) => event.token),
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    );
  });
});

describe("StreamAgent, control", () => {
  it("finds a stream again as another agent left it, without a clean end", () => {
    const fixture = openFixture();
    fixture.append(1, 0, { messages: ["a", "b"] });
    fixture.work();
    const again = new AgentFixture({ storage: fixture.storage.copy() });
    const reply = again.open(0, {}, { create: false });
    assert.ok(reply.kind === "done");
    assert.equal(reply.progress?.nextSequence, 2);
    again.append(1, 0, { messages: ["c"] });
    assert.deepEqual(again.outcomes(), [appended(1, 2)]);
  });

  it("destroys a stream: what waits for it is answered, and its directory is gone", () => {
    const fixture = openFixture();
    fixture.read(1, 0, { from: 0, timeoutMs: 9000 });
    fixture.subscribe(2, 0, { from: 0, creditBytes: 100 });
    fixture.work();
    assert.equal(fixture.control({ kind: "destroy", slot: 0 }).kind, "done");
    const [read, subscription] = fixture.outcomes();
    isFailure(read, 1, "STREAM_NOT_FOUND", /was deleted/);
    isFailure(subscription, 2, "STREAM_NOT_FOUND", /was deleted/);
    assert.deepEqual(fixture.storage.list("/store/streams"), []);
    fixture.append(3, 0, { messages: ["a"] });
    isFailure(fixture.outcomes()[0], 3, "STREAM_NOT_FOUND", /./);
  });

  it("makes every stream durable before it is closed", () => {
    const fixture = openFixture();
    fixture.append(1, 0, { messages: ["a"] });
    fixture.agent.onControl({ kind: "close", id: 77 });
    assert.deepEqual(fixture.outcomes(), [appended(1, 0)]);
    assert.equal(fixture.agent.isClosed, false);
    fixture.storage.completeSyncs();
    assert.equal(fixture.agent.isClosed, true);
    const image = fixture.storage.durableImage(fixture.storage.operations.length);
    const cut = new AgentFixture({ storage: new SimStorage({ image }) });
    const reply = cut.open(0, {}, { create: false });
    assert.ok(reply.kind === "done");
    assert.equal(reply.progress?.nextSequence, 1);
  });

  it("keeps a Memory stream in the memory it was handed, over the end of an agent", () => {
    const chunks = new Map<string, SharedArrayBuffer[]>();
    const fixture = new AgentFixture();
    const opened = fixture.open(0, { persistence: Persistence.Memory });
    assert.equal(opened.kind, "done");
    fixture.append(1, 0, { messages: ["a"] });
    assert.deepEqual(fixture.outcomes(), [appended(1, 0)]);
    assert.equal(chunks.size, 0);
    // Its definition is on the medium, its messages are not.
    const names = fixture.storage.list(directoryOf(0)).map((entry) => entry.name);
    assert.ok(
      names.every((name) => name.startsWith("definition")),
      names.join(),
    );
  });

  it("keeps what a Memory stream holds when its deletion fails", () => {
    const storage = emptyStore();
    const memories: SharedMemoryStorage[] = [];
    const memoryStorage = (files: readonly SharedFile[]): SharedMemoryStorage => {
      const memory = new SharedMemoryStorage({ files });
      memories.push(memory);
      return memory;
    };
    const fixture = new AgentFixture({ storage, memoryStorage });
    fixture.open(0, { persistence: Persistence.Memory });
    fixture.append(1, 0, { messages: ["a"] });
    assert.deepEqual(fixture.outcomes(), [appended(1, 0)]);
    const held = memories[0]!.list(directoryOf(0));
    assert.equal(held.length, 1);
    storage.plant([["rename@+1", { code: "EIO" }]]);
    assert.equal(fixture.control({ kind: "destroy", slot: 0 }).kind, "failed");
    assert.deepEqual(memories[0]!.list(directoryOf(0)), held);
  });

  it("answers a failed creation with the reason", () => {
    const faults = new Map([["write@*", { code: "ENOSPC" }]]);
    const storage = emptyStore({ faults });
    const fixture = new AgentFixture({ storage });
    const reply = fixture.open(0);
    assert.ok(reply.kind === "failed");
    assert.match(reply.text, /ENOSPC|space|full/i);
  });
});

describe("the creation of a stream", () => {
  for (const persistence of [Persistence.File, Persistence.Memory]) {
    it(`that fails at any step says whether there may be a stream (persistence ${persistence})`, () => {
      const whole = openFixture({ persistence });
      const steps = whole.storage.operations.slice(EMPTY_STORE_OPERATIONS);
      const codes = steps.map((_, index) => {
        const faults = new Map([[`any@${EMPTY_STORE_OPERATIONS + index + 1}`, { code: "EIO" }]]);
        const storage = emptyStore({ faults });
        const fixture = new AgentFixture({ storage });
        const reply = fixture.open(0, { persistence });
        assert.ok(reply.kind === "failed", JSON.stringify(reply));
        const { streams, fenced } = openStoreDirectory({ storage, storeDirectory: "/store" });
        assert.deepEqual(fenced, []);
        assert.equal(streams.length, reply.code === "UNKNOWN_OUTCOME" ? 1 : 0, reply.code);
        return reply.code;
      });
      assert.equal(codes.pop(), "UNKNOWN_OUTCOME");
      assert.ok(codes.length >= 5 && codes.every((code) => code === "STORAGE_READ_ONLY"), String(codes));
    });
  }
});

describe("a stream directory that a crash left half made", () => {
  it("is found complete or not at all, after every operation of a creation", () => {
    const whole = openFixture();
    const operationCount = whole.storage.operations.length;
    let foundCount = 0;
    for (let operation = EMPTY_STORE_OPERATIONS; operation <= operationCount; operation++) {
      const afterPowerCut = new SimStorage({ image: whole.storage.durableImage(operation) });
      for (const storage of [afterPowerCut, whole.storage.killedAt(operation)]) {
        const contents = openStoreDirectory({ storage, storeDirectory: "/store" });
        assert.deepEqual(contents.fenced, [], `after operation ${operation}`);
        if (contents.streams.length === 0) {
          assert.deepEqual(storage.list("/store/streams"), [], `after operation ${operation}`);
          continue;
        }
        foundCount += 1;
        const again = new AgentFixture({ storage });
        const reply: ControlReply = again.open(0, {}, { create: false });
        assert.equal(reply.kind, "done", JSON.stringify(reply));
        again.append(1, 0, { messages: ["a"] });
        assert.deepEqual(again.outcomes(), [appended(1, 0)]);
      }
    }
    assert.ok(foundCount > 0);
  });
});
