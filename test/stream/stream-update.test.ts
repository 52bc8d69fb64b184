import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Persistence, StrategyOnFull } from "../../src/core/stream-definition.ts";
import { STREAM_START } from "../../src/core/stream-ledger.ts";
import { streamOptionsDefault } from "../../src/core/stream-options.ts";
import { readDefinitionFile } from "../../src/stream/definition-file.ts";
import type { ControlReply } from "../../src/stream/stream-channel.ts";
import { SimStorage } from "../support/sim-storage.ts";
import {
  AgentFixture,
  directoryOf,
  EMPTY_STORE_OPERATIONS,
  emptyStore,
  streamDefinition,
} from "./agent-fixture.ts";

type Changes = Parameters<AgentFixture["open"]>[1];

function opened(changes: Changes = {}, storage?: SimStorage): AgentFixture {
  const fixture = new AgentFixture(storage === undefined ? {} : { storage });
  assert.equal(fixture.open(0, changes).kind, "done");
  return fixture;
}

/** One message of `bytes`, which costs 24 more. */
function append(fixture: AgentFixture, token: number, bytes: number): void {
  fixture.append(token, 0, { messages: ["x".repeat(bytes)] });
}

function appendedTokens(fixture: AgentFixture): number[] {
  return fixture.outcomes().map((event) => {
    assert.ok(event.kind === "appended", JSON.stringify(event));
    return event.token;
  });
}

function refusal(reply: ControlReply): string {
  assert.ok(reply.kind === "failed", `a refusal, not ${JSON.stringify(reply)}`);
  return `${reply.code} ${reply.text}`;
}

function maxSizeStored(fixture: AgentFixture): number {
  return readDefinitionFile(fixture.storage, directoryOf(0)).definition.maxSize;
}

describe("an update of maxSize", () => {
  it("below what the stream holds is refused and changes nothing; down to exactly that it is taken (PROTOCOL 5)", () => {
    const fixture = opened({ maxSize: 100_000 });
    append(fixture, 1, 4976);
    fixture.work();
    assert.match(
      refusal(fixture.update(0, { maxSize: 4999, streamSegmentSize: 1024 })),
      /^UPDATE_FAILED .* 4999 is below the 5000 bytes that it holds$/,
    );
    assert.equal(maxSizeStored(fixture), 100_000);
    append(fixture, 2, 100);
    assert.deepEqual(appendedTokens(fixture), [2]);

    assert.equal(fixture.update(0, { maxSize: 5124, streamSegmentSize: 1024 }).kind, "done");
    assert.equal(maxSizeStored(fixture), 5124);
    append(fixture, 3, 1);
    const [event] = fixture.outcomes();
    assert.ok(event?.kind === "failed" && event.code === "STREAM_FULL");
  });

  it("counts what was taken from the ring and is not written yet", () => {
    const fixture = opened({ maxSize: 100_000, flushOnWrite: true });
    append(fixture, 1, 4976);
    fixture.work();
    // It waits for its sync.
    append(fixture, 2, 4976);
    fixture.work();
    assert.match(refusal(fixture.update(0, { maxSize: 9999, streamSegmentSize: 1024 })), /10000 bytes/);
  });

  it("above what it was makes room at once", () => {
    const fixture = opened({ maxSize: 5000, streamSegmentSize: 1024 });
    append(fixture, 1, 4900);
    append(fixture, 2, 4900);
    const kinds = fixture.outcomes().map(({ kind }) => kind);
    assert.deepEqual(kinds, ["appended", "failed"]);
    assert.equal(fixture.update(0, { maxSize: 10_000 }).kind, "done");
    append(fixture, 3, 4900);
    assert.deepEqual(appendedTokens(fixture), [3]);
  });
});

describe("an update of streamSegmentSize", () => {
  it("holds for the segments to come (PROTOCOL 5)", () => {
    const fixture = opened({ streamSegmentSize: 64 * 1024 });
    const segments = (): number =>
      fixture.storage.list(directoryOf(0)).filter(({ name }) => name.endsWith(".lz4")).length;
    for (let token = 1; token <= 4; token++) {
      append(fixture, token, 4096);
      fixture.work();
      fixture.storage.completeSyncs();
    }
    assert.equal(segments(), 1);
    fixture.update(0, { streamSegmentSize: 4096 });
    for (let token = 5; token <= 8; token++) {
      append(fixture, token, 4096);
      fixture.work();
      fixture.storage.completeSyncs();
    }
    assert.equal(segments(), 5);
  });
});

describe("an update of timeToLiveMillis", () => {
  it("that lowers it deletes what is older already (PROTOCOL 5)", () => {
    const fixture = opened({ timeToLiveMillis: 3_600_000 });
    append(fixture, 1, 10);
    fixture.work();
    fixture.clock.advance(120_000);
    fixture.work();
    fixture.storage.completeSyncs();
    fixture.update(0, { timeToLiveMillis: 60_000 });
    fixture.clock.advance(200);
    fixture.work();
    fixture.read(2, 0, { from: 0 });
    const [event] = fixture.outcomes();
    assert.ok(event?.kind === "failed" && event.code === "NOT_ENOUGH_MESSAGES", JSON.stringify(event));
  });

  it("that leaves it out ends it: what is left out goes back to its default (PROTOCOL 5)", () => {
    const fixture = opened({ timeToLiveMillis: 60_000 });
    append(fixture, 1, 10);
    fixture.work();
    fixture.update(0, {});
    fixture.clock.advance(3_600_000);
    fixture.work();
    fixture.storage.completeSyncs();
    fixture.clock.advance(200);
    fixture.read(2, 0, { from: 0 });
    assert.equal(fixture.outcomes()[0]?.kind, "records");
  });
});

describe("an update of strategyOnFull", () => {
  it("to overwriting lets a full stream go on, at the cost of segments that were there before (PROTOCOL 5)", () => {
    const fixture = opened({ maxSize: 20_000, streamSegmentSize: 4096 });
    for (let token = 1; token <= 5; token++) append(fixture, token, 3900);
    fixture.work();
    append(fixture, 6, 3900);
    assert.equal(fixture.outcomes()[0]?.kind, "failed");
    fixture.update(0, { maxSize: 20_000, strategyOnFull: StrategyOnFull.OverwriteOldestData });
    append(fixture, 7, 3900);
    assert.deepEqual(appendedTokens(fixture), [7]);
    fixture.update(0, { maxSize: 20_000, strategyOnFull: StrategyOnFull.RejectNewData });
    for (let token = 8; token <= 12; token++) append(fixture, token, 3900);
    assert.equal(fixture.outcomes().at(-1)?.kind, "failed");
  });
});

describe("an update of flushOnWrite", () => {
  /** One append that waits for its sync, in a stream whose segment exists. */
  function waiting(): AgentFixture {
    const fixture = opened({ flushOnWrite: true });
    append(fixture, 1, 10);
    fixture.work();
    fixture.afterSync();
    append(fixture, 2, 10);
    assert.deepEqual(fixture.outcomes(), []);
    return fixture;
  }

  it("that ends it keeps what waits waiting, and what comes later behind it (PROTOCOL 5, RELIABILITY A1)", () => {
    const fixture = waiting();
    // Gathered while the sync runs: promised to be on the medium, and not covered by this sync.
    append(fixture, 3, 10);
    fixture.work();
    fixture.update(0, { flushOnWrite: false });
    append(fixture, 4, 10);
    assert.deepEqual(fixture.outcomes(), []);
    const syncsBefore = fixture.storage.count("sync");
    fixture.storage.completeSyncs();
    assert.deepEqual(appendedTokens(fixture), [2, 3, 4]);
    assert.equal(fixture.storage.count("sync") - syncsBefore, 2);
    // From here on nothing waits for a sync, however long it takes.
    append(fixture, 5, 10);
    assert.deepEqual(appendedTokens(fixture), [5]);
    assert.equal(fixture.storage.count("sync") - syncsBefore, 2);
  });

  it("that ends it lets nothing that came later go on waiting once what was promised is told", () => {
    const fixture = waiting();
    fixture.update(0, { flushOnWrite: false });
    append(fixture, 3, 10);
    const syncsBefore = fixture.storage.count("sync");
    assert.deepEqual(fixture.outcomes(), []);
    fixture.storage.completeSyncs();
    assert.deepEqual(appendedTokens(fixture), [2, 3]);
    assert.equal(fixture.storage.count("sync") - syncsBefore, 1);
  });

  it("that begins it makes what comes later wait for a sync (PROTOCOL 5)", () => {
    const fixture = opened();
    append(fixture, 1, 10);
    assert.deepEqual(appendedTokens(fixture), [1]);
    fixture.update(0, { flushOnWrite: true });
    append(fixture, 2, 10);
    assert.deepEqual(fixture.outcomes(), []);
    fixture.storage.completeSyncs();
    assert.deepEqual(appendedTokens(fixture), [2]);
    const end = fixture.storage.durableImage(fixture.storage.operations.length);
    const reply = new AgentFixture({ storage: new SimStorage({ image: end }) }).open(
      0,
      {},
      { create: false },
    );
    assert.ok(reply.kind === "done" && reply.progress?.nextSequence === 2);
  });

  it("means nothing for a Memory stream", () => {
    const fixture = opened({ persistence: Persistence.Memory });
    fixture.update(0, { persistence: Persistence.Memory, flushOnWrite: true });
    append(fixture, 1, 10);
    assert.deepEqual(appendedTokens(fixture), [1]);
  });
});

describe("an update", () => {
  it("of a Memory stream is stored, and the stream keeps its messages", () => {
    const fixture = opened({ persistence: Persistence.Memory });
    append(fixture, 1, 10);
    fixture.work();
    const update = { persistence: Persistence.Memory, maxSize: 2048, streamSegmentSize: 1024 };
    assert.equal(fixture.update(0, update).kind, "done");
    assert.equal(maxSizeStored(fixture), 2048);
    fixture.read(2, 0);
    assert.equal(fixture.outcomes()[0]?.kind, "records");
  });

  it("takes back what was released: the exporters may be others now", () => {
    const fixture = opened({ maxSize: 20_000, streamSegmentSize: 4096 });
    for (let token = 1; token <= 5; token++) {
      append(fixture, token, 3900);
      fixture.work();
      fixture.storage.completeSyncs();
    }
    const release = (): void => void fixture.control({ kind: "release", slot: 0, endSequence: 3 });
    release();
    assert.equal(fixture.update(0, { maxSize: 20_000 }, { freeExported: true }).kind, "done");
    append(fixture, 6, 3900);
    assert.equal(fixture.outcomes()[0]?.kind, "failed");
    release();
    append(fixture, 7, 3900);
    assert.deepEqual(appendedTokens(fixture), [7]);
  });

  it("stores the options, and keeps nothing in force that could not be stored", () => {
    const operations = ((): number => {
      const fixture = opened({ maxSize: 100_000 });
      return fixture.storage.operations.length - EMPTY_STORE_OPERATIONS;
    })();
    const faults = new Map([[`any@${EMPTY_STORE_OPERATIONS + operations + 2}`, { code: "EIO" }]]);
    const fixture = opened({ maxSize: 100_000 }, emptyStore({ faults }));
    const text = refusal(
      fixture.update(0, { maxSize: 2048, streamSegmentSize: 1024 }, { freeExported: true }),
    );
    assert.match(text, /^STORAGE_READ_ONLY Cannot store the new definition of stream "raw": EIO/);
    append(fixture, 1, 4000);
    assert.deepEqual(appendedTokens(fixture), [1]);
    assert.deepEqual(readDefinitionFile(fixture.storage, directoryOf(0)).options, streamOptionsDefault);

    assert.equal(fixture.update(0, { maxSize: 100_000 }, { freeExported: true }).kind, "done");
    const { definition, options } = readDefinitionFile(fixture.storage, directoryOf(0));
    assert.deepEqual([definition.maxSize, options], [100_000, { freeExported: true }]);
  });
});

describe("a stream whose definition is in doubt", () => {
  it("is opened as what is stored says, and tells it", () => {
    const before = opened({ maxSize: 100_000 });
    before.update(0, { maxSize: 2048, streamSegmentSize: 1024, flushOnWrite: true }, { freeExported: true });
    const fixture = new AgentFixture({ storage: before.storage });
    const reply = fixture.control({
      kind: "open",
      slot: 0,
      streamId: "0".repeat(32),
      directory: directoryOf(0),
      definition: streamDefinition({ maxSize: 100_000 }),
      options: streamOptionsDefault,
      create: false,
      isDefinitionInDoubt: true,
      memory: [],
      knownEnd: STREAM_START,
    });
    assert.ok(reply.kind === "done");
    assert.equal(reply.stored?.definition.maxSize, 2048);
    assert.deepEqual(reply.stored.options, { freeExported: true });
    append(fixture, 1, 10);
    assert.deepEqual(fixture.outcomes(), [], "flushOnWrite holds");
    append(fixture, 2, 4000);
    const [event] = fixture.afterSync().slice(-1);
    assert.ok(event?.kind === "failed" && event.code === "MESSAGE_TOO_LARGE");
  });
});
