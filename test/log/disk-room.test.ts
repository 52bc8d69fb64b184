import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { MillraceError } from "../../src/core/errors.ts";
import { DISK_ROOM_ASK_MS, DISK_ROOM_CONFIRM_MS, DISK_ROOM_DELETIONS_MAX } from "../../src/core/limits.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { LossReason } from "../../src/core/stream-ledger.ts";
import { DiskRoom } from "../../src/log/disk-room.ts";
import type { Storage } from "../../src/log/storage.ts";
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
import { SimStorage } from "../support/sim-storage.ts";
import { smallDisk, type SmallDisk } from "../support/small-disk.ts";

const KEPT_BYTES = 100_000;

class Fixture {
  readonly clock = new ManualClock();
  readonly sim = new SimStorage();
  readonly disk: SmallDisk;
  readonly log: StreamLog;
  asked = 0;
  /** What the system answers, where it is not what the files leave. */
  answer: (() => number) | undefined;

  constructor(options: { isOverwriting: boolean; capacityBytes: number }) {
    const { sim, clock } = this;
    sim.makeDirectory("/store");
    this.disk = smallDisk(sim, options.capacityBytes);
    const freeBytes = (): number => {
      this.asked += 1;
      return this.answer?.() ?? this.disk.freeBytes();
    };
    const storage = { freeBytes } as unknown as Storage;
    const diskRoom = new DiskRoom({ storage, directory: "/store", clock, freeBytesMin: KEPT_BYTES });
    const { RejectNewData, OverwriteOldestData } = StrategyOnFull;
    const strategyOnFull = options.isOverwriting ? OverwriteOldestData : RejectNewData;
    const policy = { ...smallPolicy, segmentSize: 20_000, commitAlignBytes: 0, strategyOnFull };
    this.log = StreamLog.create(logOptions(this.disk, { clock, policy, diskRoom }));
  }

  /** About a thousand bytes on the disk, which do not compress. */
  append(): void {
    const noise = Array.from(
      { length: 500 },
      (_, at) => Math.imul(at + this.log.nextSequence, 2654435761) >>> 24,
    );
    const block = blockOf([Buffer.from(noise).toString("hex")]);
    this.log.admit(costOf(block));
    this.log.append(block);
    this.log.sync(() => undefined);
    this.sim.completeSyncs();
  }

  appendMany(count: number): void {
    for (let left = count; left > 0; left--) this.append();
  }

  /** Appends until one is refused. @returns the refusal */
  fill(): MillraceError {
    for (let count = 0; count < 2000; count++) {
      try {
        this.append();
      } catch (error) {
        assert.ok(error instanceof MillraceError);
        return error;
      }
    }
    throw new Error("nothing was refused");
  }

  pass(): void {
    this.clock.advance(DISK_ROOM_ASK_MS);
    this.log.tick();
  }
}

describe("a disk of which some is kept free", () => {
  it("makes a rejecting stream full, which says why, is read on, and takes appends again by itself", () => {
    const fixture = new Fixture({ isOverwriting: false, capacityBytes: 300_000 });
    const { log, disk } = fixture;
    const error = fixture.fill();
    assert.equal(error.code, "STREAM_FULL");
    const [, free, kept] =
      /the stream is full, the disk has (\d+) bytes free, MILLRACE_DISK_FREE_MIN_BYTES keeps (\d+)$/.exec(
        error.message,
      )!;
    assert.ok(Number(free) < KEPT_BYTES && Number(kept) === KEPT_BYTES, error.message);
    assert.equal(log.isDiskShort, true);
    assert.equal(log.state, "ok");
    assert.ok(disk.freeBytes() > KEPT_BYTES - 30_000, `${disk.freeBytes()} bytes are left`);
    assert.equal(readAll(log, 0, log.nextSequence).messages.size, log.nextSequence);
    disk.capacityBytes += 50_000;
    fixture.pass();
    assert.equal(log.isDiskShort, false);
    fixture.append();
    assert.equal(log.oldestSequence, 0);
  });

  it("makes an overwriting stream delete its own oldest segments, and counts what goes", () => {
    const fixture = new Fixture({ isOverwriting: true, capacityBytes: 500_000 });
    const { log, disk } = fixture;
    fixture.appendMany(300);
    assert.equal(log.oldestSequence, 0);
    // Somebody else takes some of the disk.
    disk.capacityBytes -= 150_000;
    fixture.pass();
    fixture.append();
    assert.notEqual(fixture.log.oldestSequence, 0);
    assert.ok(disk.freeBytes() >= KEPT_BYTES - 5000, `${disk.freeBytes()} bytes are left`);
    const { accounts } = log.ledger.snapshot;
    assert.equal(accounts.overwritten.messages, log.oldestSequence);
    fixture.appendMany(200);
    assert.equal(log.nextSequence, 501);
    assert.ok(disk.freeBytes() >= KEPT_BYTES - 30_000);
    assert.equal(readAll(log, log.oldestSequence, 501).messages.size, 501 - log.oldestSequence);
    assert.ok(log.ledger.snapshot.drops.every(({ reason }) => reason === LossReason.Overwritten));
  });

  it("leaves an overwriting stream its newest segment and then refuses, without asking or deleting for each append", () => {
    const fixture = new Fixture({ isOverwriting: true, capacityBytes: 300_000 });
    const { log, disk, sim } = fixture;
    fixture.appendMany(60);
    disk.capacityBytes -= 250_000;
    fixture.pass();
    assert.match(fixture.fill().message, /is full.*MILLRACE_DISK_FREE_MIN_BYTES/);
    const segments = sim.list(STREAM_DIRECTORY).filter(({ name }) => name.endsWith(".lz4"));
    assert.equal(segments.length, 1);
    assert.ok(log.nextSequence > log.oldestSequence);
    const asked = fixture.asked;
    const operations = sim.operations.length;
    for (let tries = 0; tries < 1000; tries++) assert.throws(() => fixture.append(), { code: "STREAM_FULL" });
    assert.equal(fixture.asked, asked);
    assert.equal(sim.operations.length, operations);
  });

  it("stops at its bound in one append when what is deleted frees nothing", () => {
    const fixture = new Fixture({ isOverwriting: true, capacityBytes: 1_000_000 });
    fixture.appendMany(300);
    fixture.answer = () => KEPT_BYTES - 1;
    fixture.pass();
    const before = fixture.sim.count("unlink");
    fixture.append();
    const deleted = fixture.sim.count("unlink") - before;
    assert.ok(deleted > 0 && deleted <= DISK_ROOM_DELETIONS_MAX, `${deleted} segments went`);
    assert.match(fixture.fill().message, /is full/);
  });

  it("takes what is released first", () => {
    const fixture = new Fixture({ isOverwriting: false, capacityBytes: 300_000 });
    const { log } = fixture;
    fixture.fill();
    log.release(log.nextSequence);
    fixture.append();
    assert.ok(log.oldestSequence > 0);
    assert.ok(log.ledger.snapshot.drops.every(({ reason }) => reason === LossReason.Deleted));
  });

  it("is asked about once in an interval, and not for each append that is refused", () => {
    const fixture = new Fixture({ isOverwriting: false, capacityBytes: 300_000 });
    const refuse = (count: number): number => {
      for (let left = count; left > 0; left--) assert.throws(() => fixture.append(), { code: "STREAM_FULL" });
      return fixture.asked;
    };
    fixture.fill();
    const asked = [fixture.asked];
    fixture.pass();
    // Beside the interval: the mark of an idle segment has been written, so that the sum is held against the answer.
    asked.push(refuse(1));
    fixture.clock.advance(DISK_ROOM_ASK_MS / 2);
    asked.push(refuse(100));
    fixture.clock.advance(DISK_ROOM_ASK_MS);
    asked.push(refuse(100));
    assert.equal(asked[0], 1);
    assert.ok(asked[3]! <= 5, asked.join(", "));
  });

  it("is asked again before our own sum refuses anything, and not for each append", () => {
    const fixture = new Fixture({ isOverwriting: false, capacityBytes: 300_000 });
    fixture.append();
    // Somebody has freed as much as we wrote since.
    fixture.disk.capacityBytes += 300_000;
    fixture.clock.advance(DISK_ROOM_CONFIRM_MS);
    fixture.appendMany(200);
    assert.equal(fixture.asked, 2);
  });

  it("is believed to be as it was while it does not answer", () => {
    const fixture = new Fixture({ isOverwriting: false, capacityBytes: 300_000 });
    fixture.append();
    fixture.answer = () => {
      throw new Error("no answer");
    };
    fixture.pass();
    fixture.append();
    assert.equal(fixture.log.isDiskShort, false);
  });
});
