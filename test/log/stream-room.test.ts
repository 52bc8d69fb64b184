import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { RELEASED_IDLE_MS } from "../../src/core/limits.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { LossReason } from "../../src/core/stream-ledger.ts";
import type { LogPolicy } from "../../src/log/log-policy.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { ManualClock } from "../support/deterministic.ts";
import {
  blockOf,
  costOf,
  logOptions,
  readAll,
  smallPolicy,
  STREAM_DIRECTORY,
} from "../support/log-fixture.ts";
import { type Fault, SimStorage } from "../support/sim-storage.ts";

const MESSAGE_BYTES = 9976;
const COST_BYTES = 10_000;

class Fixture {
  readonly storage: SimStorage;
  readonly clock = new ManualClock();
  log: StreamLog;
  readonly #policy: LogPolicy;

  constructor(policy: Partial<LogPolicy> = {}, faults: Record<string, Fault> = {}) {
    this.#policy = { ...smallPolicy, maxSize: 100_000, segmentSize: 20_000, commitAlignBytes: 0, ...policy };
    this.storage = new SimStorage({ faults: new Map(Object.entries(faults)) });
    this.storage.makeDirectory("/store");
    this.log = StreamLog.create(this.#options());
  }

  #options(): Parameters<typeof StreamLog.create>[0] {
    return logOptions(this.storage, { policy: this.#policy, clock: this.clock });
  }

  reopen(): void {
    this.log.close();
    this.log = StreamLog.open(this.#options()).log;
  }

  /** One message of COST_BYTES, durable. */
  append(): void {
    const block = blockOf([String(this.log.nextSequence).padEnd(MESSAGE_BYTES, "x")]);
    this.log.admit(costOf(block));
    this.log.append(block);
    this.log.sync((error) => assert.equal(error, undefined));
    this.storage.completeSyncs();
  }

  appendMany(count: number): void {
    for (let left = count; left > 0; left--) this.append();
  }

  tick(ms = 100): void {
    this.clock.advance(ms);
    this.log.tick();
    this.storage.completeSyncs();
  }

  /** What is gone, by reason, as [from, to]; neighbours of one reason are one range. */
  get dropped(): [string, number, number][] {
    const names = new Map<number, string>(Object.entries(LossReason).map(([name, reason]) => [reason, name]));
    return this.log.ledger.snapshot.drops.map((drop) => {
      return [names.get(drop.reason)!, drop.fromSequence, drop.toSequence];
    });
  }
}

const full = { code: "STREAM_FULL" };

describe("release", () => {
  it("deletes the complete segments below, at the next tick, and says why", () => {
    const fixture = new Fixture();
    fixture.appendMany(7);
    fixture.log.release(5);
    fixture.tick();
    // Segments of two messages: the third one holds number 5 too.
    assert.deepEqual(fixture.dropped, [["Deleted", 0, 4]]);
    assert.deepEqual([fixture.log.oldestSequence, fixture.log.totalBytes], [4, 3 * COST_BYTES]);
    const { deleted } = fixture.log.ledger.snapshot.accounts;
    assert.deepEqual(deleted, { messages: 4, payloadBytes: 4 * MESSAGE_BYTES });
    fixture.tick();
    assert.deepEqual(fixture.dropped, [["Deleted", 0, 4]]);
    assert.equal(readAll(fixture.log, 4, 7).messages.size, 3);
  });

  it("lets a full stream that rejects drain: an append makes the room it needs by itself", () => {
    const fixture = new Fixture();
    fixture.appendMany(10);
    assert.throws(() => fixture.append(), full);
    fixture.log.release(3);
    fixture.append();
    assert.deepEqual(fixture.dropped, [["Deleted", 0, 2]]);
    fixture.append();
    // Number 3 is released and number 2 went with its segment; the rest is not.
    assert.throws(() => fixture.append(), full);
    assert.equal(fixture.log.oldestSequence, 2);
  });

  it("lets a stream drain of which everything lies in the one segment that grows", () => {
    const fixture = new Fixture({ maxSize: 30_000, segmentSize: 30_000 });
    fixture.append();
    assert.equal(fixture.log.nextSequence, 1);
    const large = blockOf(["y".repeat(25_000)]);
    assert.throws(() => fixture.log.admit(costOf(large)), full);
    fixture.log.release(1);
    fixture.log.admit(costOf(large));
    assert.equal(fixture.log.append(large), 1);
    assert.deepEqual(fixture.dropped, [["Deleted", 0, 1]]);
    assert.equal(fixture.log.totalBytes, 25_024);
  });

  it("is taken back by a lower number: an exporter that was added holds messages again", () => {
    const fixture = new Fixture();
    fixture.appendMany(10);
    fixture.log.release(10);
    fixture.log.release(0);
    fixture.tick();
    fixture.tick(RELEASED_IDLE_MS);
    assert.throws(() => fixture.append(), full);
    assert.deepEqual(fixture.dropped, []);
    fixture.log.release(2);
    fixture.tick();
    assert.deepEqual(fixture.dropped, [["Deleted", 0, 2]]);
  });

  it("frees the newest segment too once the stream is idle, and its numbers go on, after a restart as well", () => {
    const fixture = new Fixture();
    fixture.appendMany(3);
    fixture.log.release(3);
    fixture.tick(RELEASED_IDLE_MS - 100);
    assert.deepEqual(fixture.dropped, [["Deleted", 0, 2]]);
    fixture.tick(100);
    assert.deepEqual(fixture.dropped, [["Deleted", 0, 3]]);
    assert.deepEqual(
      [fixture.log.oldestSequence, fixture.log.nextSequence, fixture.log.totalBytes],
      [3, 3, 0],
    );
    const operations = fixture.storage.operations.length;
    for (let ticks = 0; ticks < 3; ticks++) fixture.tick(RELEASED_IDLE_MS);
    assert.equal(fixture.storage.operations.length, operations, "an empty segment is left alone");
    fixture.reopen();
    assert.deepEqual([fixture.log.oldestSequence, fixture.log.nextSequence], [3, 3]);
    fixture.append();
    assert.equal(fixture.log.nextSequence, 4);
  });

  it("keeps a busy stream's newest segment, however far it is released", () => {
    const fixture = new Fixture();
    for (let round = 0; round < 20; round++) {
      fixture.append();
      fixture.log.release(fixture.log.syncedEndSequence);
      fixture.tick(RELEASED_IDLE_MS / 2);
    }
    assert.deepEqual(fixture.dropped, [["Deleted", 0, 18]]);
    assert.equal(fixture.log.totalBytes, 2 * COST_BYTES);
  });

  it("comes before overwriting: what was exported is not counted as lost", () => {
    const fixture = new Fixture({ strategyOnFull: StrategyOnFull.OverwriteOldestData });
    fixture.appendMany(10);
    fixture.log.release(2);
    fixture.append();
    fixture.append();
    fixture.append();
    assert.deepEqual(fixture.dropped, [
      ["Deleted", 0, 2],
      ["Overwritten", 2, 4],
    ]);
  });

  it("survives a file that cannot be deleted, and deletes it later", () => {
    // The first one makes way for the ledger's file.
    const fixture = new Fixture({}, { "unlink@2": { code: "EIO" } });
    fixture.appendMany(3);
    fixture.log.release(2);
    fixture.tick();
    // Once counted it is gone, whatever became of its file.
    assert.deepEqual(fixture.dropped, [["Deleted", 0, 2]]);
    const isThere = (): boolean => {
      return fixture.storage
        .list(STREAM_DIRECTORY)
        .some(({ name }) => name === "00000000000000000000-0000.lz4");
    };
    assert.equal(isThere(), true);
    fixture.appendMany(2);
    assert.equal(isThere(), false);
  });
});
