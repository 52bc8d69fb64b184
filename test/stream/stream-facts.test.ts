import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { LedgerChangeKind, LossReason, type LedgerChange } from "../../src/core/stream-ledger.ts";
import { StreamAccount } from "../../src/engine/stream-account.ts";
import { decodeLoss, emptyProgress, encodeLoss, type StreamFacts } from "../../src/stream/stream-channel.ts";
import { AgentFixture, emptyStore } from "./agent-fixture.ts";

const overwriting = {
  maxSize: 4000,
  streamSegmentSize: 1024,
  strategyOnFull: StrategyOnFull.OverwriteOldestData,
};

function drop(fromSequence: number, toSequence: number): LedgerChange {
  const [fromPayloadOffset, toPayloadOffset] = [fromSequence * 10, toSequence * 10];
  const loss = { fromSequence, toSequence, fromPayloadOffset, toPayloadOffset, timeMs: 1_700_000_000_123 };
  return { kind: LedgerChangeKind.Drop, loss: { ...loss, reason: LossReason.Overwritten } };
}

describe("what the main thread knows of a stream", () => {
  it("follows the worker's ledger, each change before the numbers that include it", () => {
    const fixture = new AgentFixture();
    const account = new StreamAccount();
    account.opening();
    const reply = fixture.open(0, overwriting);
    assert.ok(reply.kind === "done");
    account.opened(reply);
    let losses = 0;
    for (let round = 0; round < 40; round++) {
      fixture.append(round, 0, { messages: ["x".repeat(200), "y"] });
      for (const event of fixture.work()) {
        if (event.kind === "loss") account.onLoss(event.change);
        if (event.kind === "progress") account.onProgress(event.progress);
        if (event.kind === "loss") losses += 1;
        if (event.kind !== "progress") continue;
        const { oldestSequence, oldestPayloadOffset, nextSequence, nextPayloadOffset } = account.progress;
        assert.equal(account.ledger.droppedEnd.sequence, oldestSequence);
        const appended = { messages: nextSequence, payloadBytes: nextPayloadOffset };
        const stored = {
          messages: nextSequence - oldestSequence,
          payloadBytes: nextPayloadOffset - oldestPayloadOffset,
        };
        assert.deepEqual(account.ledger.stored(appended), stored);
      }
    }
    assert.ok(losses > 3, `${losses} losses`);
    assert.equal(account.progress.nextPayloadOffset, 40 * 201);
  });

  it("takes the answer to an opening as older than what came up the ring before it was seen", () => {
    const account = new StreamAccount();
    account.opening();
    account.onLoss(drop(5, 8));
    account.onProgress({ ...emptyProgress, oldestSequence: 8 });
    const found = new StreamAccount();
    found.opened({});
    found.onLoss(drop(0, 5));
    account.opened({
      progress: { ...emptyProgress, oldestSequence: 5 },
      ledger: found.ledger.snapshot,
      facts: { lastFault: "EIO" },
    });
    assert.equal(account.progress.oldestSequence, 8);
    assert.equal(account.ledger.droppedEnd.sequence, 8);
    assert.equal(account.facts.lastFault, "EIO");
    // What a new worker finds replaces all of it.
    account.opening();
    account.opened({ progress: emptyProgress, ledger: found.ledger.snapshot, facts: {} });
    assert.equal(account.ledger.droppedEnd.sequence, 5);
    assert.equal(account.progress.oldestSequence, 0);
    assert.deepEqual(account.facts, {});
  });

  it("gives a change back as it was encoded", () => {
    const change = drop(7, 2 ** 40);
    const record = encodeLoss(3, change);
    assert.equal(record.readUInt32LE(0), 3);
    assert.deepEqual(decodeLoss(record, 0), change);
  });

  it("hears where the stream ended uncleanly, until it does so again", () => {
    const storage = emptyStore();
    const open = (isEndUnclean: boolean): { fixture: AgentFixture; facts: StreamFacts } => {
      const fixture = new AgentFixture({ storage });
      const reply = fixture.open(
        0,
        {},
        { create: storage.list("/store/streams").length === 0, isEndUnclean },
      );
      assert.ok(reply.kind === "done", JSON.stringify(reply));
      return { fixture, facts: reply.facts! };
    };
    const append = (fixture: AgentFixture): void => {
      fixture.append(1, 0, { messages: ["a", "b"] });
      fixture.outcomes();
    };
    const first = open(false);
    assert.deepEqual(first.facts, {});
    append(first.fixture);
    // Killed: nothing was closed.
    const second = open(true);
    const { timeMs } = second.facts.lastUncleanEnd!;
    assert.deepEqual(second.facts, { lastUncleanEnd: { sequence: 2, epoch: 1, timeMs } });
    append(second.fixture);
    second.fixture.close();
    const third = open(false);
    assert.deepEqual(third.facts, second.facts);
    append(third.fixture);
    const fourth = open(true);
    assert.equal(fourth.facts.lastUncleanEnd?.sequence, 6);
  });

  it("hears of a storage that fails, once", () => {
    const storage = emptyStore({ faults: new Map([["write@3", { code: "EIO" }]]) });
    const fixture = new AgentFixture({ storage });
    assert.equal(fixture.open(0).kind, "done");
    fixture.append(1, 0, { messages: ["a"] });
    fixture.work();
    for (let tick = 0; tick < 3; tick++) {
      fixture.clock.advance(100);
      fixture.work();
    }
    const facts = fixture.replies.filter(({ kind }) => kind === "facts");
    assert.equal(facts.length, 1);
    assert.match(JSON.stringify(facts), /EIO/);
  });
});
