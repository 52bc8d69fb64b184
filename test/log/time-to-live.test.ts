import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { EXPIRED_SEGMENTS_PER_TICK_MAX } from "../../src/core/limits.ts";
import { decodeSegmentHeader, SEGMENT_HEADER_BYTES } from "../../src/log/segment-layout.ts";
import { blockOf, logOptions, readAll, smallPolicy, STREAM_DIRECTORY } from "../support/log-fixture.ts";
import { SimStorage } from "../support/sim-storage.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { ManualClock } from "../support/deterministic.ts";
import { ClockedLog, DAY, HOUR, MINUTE, SECOND, START_MS, YEAR } from "./clocked-log.ts";

const IN_2040 = 2_209_000_000_000;

function ingestTimes(log: StreamLog): number[] {
  const times: number[] = [];
  let sequence = log.oldestSequence;
  while (sequence < log.nextSequence) {
    for (const slice of log.read({ fromSequence: sequence, messageCountMax: 1000, bytesMax: 1_000_000 })) {
      assert.equal(slice.kind, "messages");
      sequence += slice.messageCount;
      for (const run of slice.runs)
        for (let left = run.messageCount; left > 0; left--) times.push(run.ingestMs);
    }
  }
  return times;
}

/** Of every segment: the clock era and the number of its first message. */
function eras(device: ClockedLog): { era: number; base: number }[] {
  const entries = device.storage.list(STREAM_DIRECTORY);
  const names = entries.map(({ name }) => name).filter((name) => name.endsWith(".lz4"));
  return names.sort().map((name) => {
    const file = device.storage.open(`${STREAM_DIRECTORY}/${name}`, "read");
    const area = Buffer.alloc(SEGMENT_HEADER_BYTES);
    file.read(area, 0);
    file.close();
    const header = decodeSegmentHeader(area);
    assert.ok(header !== undefined);
    return { era: header.clockEra, base: header.baseSequence };
  });
}

describe("time to live", () => {
  it("deletes segments when their newest message has expired, oldest first and a few at a time, and keeps counting", () => {
    const device = new ClockedLog({ timeToLiveMs: HOUR });
    for (let minute = 0; minute < 60; minute++) {
      device.append();
      device.pass(MINUTE);
    }
    assert.equal(device.goneCount, 0);
    for (let minute = 0; minute < 62; minute++) {
      const before = device.storage.count("unlink");
      device.pass(MINUTE, MINUTE);
      assert.ok(device.storage.count("unlink") - before <= EXPIRED_SEGMENTS_PER_TICK_MAX);
      const youngest = device.arrivedMs[device.goneCount - 1] ?? -Infinity;
      assert.ok(youngest <= device.trueMs - HOUR, `minute ${minute}: ${device.goneCount} gone`);
    }
    assert.equal(device.goneCount, 60);
    assert.equal(device.log.totalBytes, 0);
    device.restart({ offMs: MINUTE });
    device.append();
    assert.equal(device.log.nextSequence, 61);
    assert.equal(device.log.oldestSequence, 60);
  });

  it("holds up nothing for long when years have expired at once", () => {
    const device = new ClockedLog({ timeToLiveMs: YEAR });
    device.append(100);
    device.setTimeToLive(MINUTE);
    device.pass(MINUTE + 1, MINUTE + 1);
    const before = device.goneCount;
    assert.ok(before > 0 && before < 50, `${before} gone in one tick`);
    device.pass(10 * SECOND, 100);
    assert.equal(device.goneCount, 100);
  });

  it("takes effect for what is there when it is lowered, and protects what is there when it is raised", () => {
    const device = new ClockedLog({ timeToLiveMs: DAY });
    device.append(5);
    device.pass(2 * HOUR);
    device.append(5);
    const gone = [device.goneCount];
    device.setTimeToLive(HOUR);
    device.pass(SECOND, 100);
    gone.push(device.goneCount);
    device.setTimeToLive(DAY);
    device.pass(20 * HOUR);
    gone.push(device.goneCount);
    device.pass(5 * HOUR);
    gone.push(device.goneCount);
    assert.deepEqual(gone, [0, 5, 5, 10]);
  });

  const leaps = [
    { name: "forward to 2040", toMs: () => IN_2040 },
    { name: "back to 1970", toMs: () => 0 },
    { name: "two hours back", toMs: (nowMs: number) => nowMs - 2 * HOUR },
    { name: "59 minutes forward", toMs: (nowMs: number) => nowMs + 59 * MINUTE },
  ];
  for (const { name, toMs } of leaps) {
    for (const isPutRight of [true, false]) {
      const after = isPutRight ? "is put right again" : "stays there";
      it(`is exact when the clock leaps ${name} and ${after}`, () => {
        const device = new ClockedLog({ timeToLiveMs: HOUR });
        device.append(2);
        device.setWall(toMs(device.clock.nowMs()));
        device.pass(20 * MINUTE);
        device.append(2);
        if (isPutRight) device.setWall(device.trueMs);
        device.pass(39 * MINUTE);
        device.append();
        assert.equal(device.goneCount, 0);
        device.pass(2 * MINUTE);
        assert.equal(device.goneCount, 2);
        device.pass(20 * MINUTE);
        assert.equal(device.goneCount, 4);
      });
    }
  }

  it("begins a segment with each clock era, gives out ingest times that only grow within one, and starts again in it", () => {
    const device = new ClockedLog({ timeToLiveMs: YEAR, segmentSize: 1_000_000 });
    device.append(2);
    device.setWall(IN_2040);
    device.pass(9 * MINUTE);
    device.append(2);
    device.pass(2 * MINUTE);
    device.append(2);
    device.setWall(device.trueMs);
    device.append(2);
    device.pass(11 * MINUTE);
    device.append(2);
    const expected = [
      START_MS,
      START_MS,
      START_MS + 9 * MINUTE,
      START_MS + 9 * MINUTE,
      IN_2040 + 11 * MINUTE,
      IN_2040 + 11 * MINUTE,
      IN_2040 + 11 * MINUTE,
      IN_2040 + 11 * MINUTE,
      START_MS + 22 * MINUTE,
      START_MS + 22 * MINUTE,
    ];
    const segments = [
      { era: 0, base: 0 },
      { era: 1, base: 4 },
      { era: 2, base: 8 },
    ];
    assert.deepEqual(ingestTimes(device.log), expected);
    assert.deepEqual(eras(device), segments);
    device.restart({ offMs: MINUTE });
    device.append();
    assert.deepEqual(ingestTimes(device.log), [...expected, START_MS + 23 * MINUTE]);
    assert.deepEqual(eras(device), segments);
  });

  it("makes no segment for an era without messages", () => {
    const device = new ClockedLog({ timeToLiveMs: YEAR });
    device.append();
    for (let round = 0; round < 5; round++) {
      device.setWall(round % 2 === 0 ? 0 : device.trueMs);
      device.pass(11 * MINUTE);
    }
    device.append();
    assert.deepEqual(eras(device), [
      { era: 0, base: 0 },
      { era: 5, base: 1 },
    ]);
  });

  it("writes what a failed sync leaves into a segment of its own era", () => {
    const clock = new ManualClock();
    const storage = new SimStorage({ faults: new Map([["sync@3", { code: "EIO" }]]) });
    storage.makeDirectory("/store");
    const policy = { ...smallPolicy, syncIntervalMs: DAY };
    const log = StreamLog.create(logOptions(storage, { clock, policy }));
    const append = (text: string): number => log.append(blockOf([text], log.ingestMs));
    log.tick();
    append("old");
    log.sync(() => undefined);
    storage.completeSyncs();
    clock.setWall(0);
    append("older still");
    for (let minute = 0; minute < 10; minute++) {
      clock.advance(MINUTE);
      log.tick();
    }
    append("new");
    log.sync(() => undefined);
    storage.completeSyncs();
    assert.equal(log.syncedEndSequence, 3);
    log.close();
    const opened = StreamLog.open(logOptions(storage, { clock, epoch: 2 })).log;
    assert.deepEqual([...readAll(opened, 0, 3).messages.values()], ["old", "older still", "new"]);
    assert.deepEqual(ingestTimes(opened), [START_MS, START_MS, 10 * MINUTE]);
  });

  it("counts the time that the machine was off, once the clock has proven itself", () => {
    const device = new ClockedLog({ timeToLiveMs: DAY });
    device.pass(11 * MINUTE);
    device.append(2);
    device.restart({ offMs: 2 * DAY });
    device.append();
    device.pass(9 * MINUTE);
    assert.equal(device.goneCount, 0);
    device.pass(2 * MINUTE);
    assert.equal(device.goneCount, 2);
    device.pass(DAY - 12 * MINUTE);
    assert.equal(device.goneCount, 2);
    device.pass(2 * MINUTE);
    assert.equal(device.goneCount, 3);
  });

  const bootClocks = [
    { name: "in 1970", wallMs: () => 0 },
    { name: "in 2040", wallMs: () => IN_2040 },
    { name: "eight hours late", wallMs: (trueMs: number) => trueMs + 8 * HOUR },
    { name: "five hours early", wallMs: (trueMs: number) => trueMs - 5 * HOUR },
  ];
  for (const { name, wallMs } of bootClocks) {
    it(`is exact for messages before and after a boot ${name}, and those that came before NTP, in this run and the next`, () => {
      for (const isRestarted of [false, true]) {
        const device = new ClockedLog({ timeToLiveMs: DAY });
        device.pass(11 * MINUTE);
        device.append(2);
        device.restart({ offMs: 10 * HOUR, wallMs });
        device.append(2);
        device.pass(MINUTE);
        device.setWall(device.trueMs);
        device.append(2);
        device.pass(11 * MINUTE);
        if (isRestarted) device.restart({ offMs: MINUTE });
        // Ten steady minutes are lost to the restart, which only makes messages younger until they are over.
        device.pass(14 * HOUR - 13 * MINUTE);
        assert.equal(device.goneCount, 0);
        device.pass(2 * MINUTE);
        assert.equal(device.goneCount, 2);
        device.pass(9 * HOUR + 57 * MINUTE);
        assert.equal(device.goneCount, 2);
        device.pass(15 * MINUTE);
        assert.equal(device.goneCount, 6);
      }
    });
  }

  it("counts at least the time that the machine runs where no run is long enough to prove its clock", () => {
    const device = new ClockedLog({ timeToLiveMs: HOUR });
    device.append(2);
    for (let start = 0; start < 12; start++) {
      assert.equal(device.goneCount, 0);
      device.pass(5 * MINUTE);
      device.append();
      device.restart({ offMs: HOUR, wallMs: (trueMs) => trueMs - 2 * HOUR });
    }
    device.pass(2 * MINUTE);
    assert.equal(device.goneCount, 2);
  });

  it("does not count an absence for what came after it, when a clock in 1970 could not tell", () => {
    const device = new ClockedLog({ timeToLiveMs: 2 * HOUR });
    device.pass(11 * MINUTE);
    device.append();
    device.restart({ offMs: 10 * MINUTE, wallMs: () => 0 });
    device.append();
    device.pass(20 * MINUTE);
    device.restart({ offMs: 39 * MINUTE, wallMs: (trueMs) => trueMs });
    device.pass(50 * MINUTE);
    assert.equal(device.goneCount, 0);
    device.pass(2 * MINUTE);
    assert.equal(device.goneCount, 1);
    // The second one is known to have lived through two hours of run time.
    device.pass(47 * MINUTE);
    assert.equal(device.goneCount, 1);
    device.pass(2 * MINUTE);
    assert.equal(device.goneCount, 2);
  });

  it("loses an absence that a clock in 1970 hid for good, and counts the later ones", () => {
    const device = new ClockedLog({ timeToLiveMs: 2 * HOUR });
    device.pass(11 * MINUTE);
    device.append();
    device.restart({ offMs: 10 * MINUTE, wallMs: () => 0 });
    device.pass(20 * MINUTE);
    // In a segment that refers to a time in 1970.
    device.append();
    device.restart({ offMs: 10 * MINUTE, wallMs: (trueMs) => trueMs });
    device.pass(20 * MINUTE);
    device.append();
    device.restart({ offMs: 10 * MINUTE, wallMs: (trueMs) => trueMs });
    device.pass(69 * MINUTE);
    assert.equal(device.goneCount, 0);
    device.pass(2 * MINUTE);
    assert.equal(device.goneCount, 1);
    device.pass(20 * MINUTE);
    assert.equal(device.goneCount, 2);
    device.pass(20 * MINUTE);
    assert.equal(device.goneCount, 3);
  });

  it("goes on over any number of starts in 1970, though nothing arrives any more", () => {
    const device = new ClockedLog({ timeToLiveMs: 10 * DAY });
    device.append(2);
    for (let day = 0; day < 10; day++) {
      device.pass(DAY - HOUR, 5 * MINUTE);
      device.restart({ offMs: 0, wallMs: () => 5 * SECOND, isKilled: day % 2 === 0 });
    }
    assert.equal(device.goneCount, 0);
    // At most an hour is lost to each kill.
    device.pass(15 * HOUR + 11 * MINUTE);
    assert.equal(device.goneCount, 2);
  });

  it("is not stopped by a segment of which nothing is known, and does not delete it before the next one", () => {
    const device = new ClockedLog({ timeToLiveMs: HOUR });
    device.pass(11 * MINUTE);
    device.append();
    device.pass(30 * MINUTE);
    device.append(8);
    const [first] = device.storage
      .list(STREAM_DIRECTORY)
      .map(({ name }) => `${STREAM_DIRECTORY}/${name}`)
      .sort();
    device.log.close();
    const file = device.storage.open(first!, "append");
    file.write([Buffer.alloc(file.sizeBytes() - SEGMENT_HEADER_BYTES, 0xee)], SEGMENT_HEADER_BYTES);
    file.close();
    device.restart({ offMs: 0, isKilled: true });
    device.pass(59 * MINUTE);
    assert.equal(device.goneCount, 0);
    device.pass(3 * MINUTE);
    assert.equal(device.goneCount, 9);
  });

  it("deletes nothing while the storage takes no writes", () => {
    const device = new ClockedLog(
      { timeToLiveMs: HOUR },
      START_MS,
      new Map([["write@20+", { code: "EROFS" }]]),
    );
    assert.throws(() => device.append(20));
    assert.equal(device.log.state, "read-only");
    const before = device.storage.count("open");
    device.pass(3 * HOUR);
    assert.equal(device.goneCount, 0);
    // A probe a minute, and nothing for the sake of expiry.
    const tries = device.storage.count("open") - before;
    assert.ok(tries > 100 && tries <= 190, `${tries} tries`);
    device.storage.heal();
    device.pass(2 * MINUTE);
    assert.equal(device.goneCount, device.arrivedMs.length);
  });
});
