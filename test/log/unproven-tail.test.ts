import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { UNPROVEN_BYTES_HELD_MAX } from "../../src/core/limits.ts";
import { BlockEncoder } from "../../src/log/block-encoder.ts";
import { BlockKind } from "../../src/log/block-layout.ts";
import type { LogPolicy } from "../../src/log/log-policy.ts";
import { recoverLog } from "../../src/log/recovered-log.ts";
import { formatSegmentName, SEGMENT_HEADER_BYTES, type SegmentHeader } from "../../src/log/segment-layout.ts";
import { SegmentWriter } from "../../src/log/segment-writer.ts";
import type { Storage } from "../../src/log/storage.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { ManualClock, SeededRandom } from "../support/deterministic.ts";
import {
  blockOf,
  logOptions,
  readAll,
  segmentNames,
  smallPolicy,
  startTime,
  STREAM_DIRECTORY,
  STREAM_ID,
} from "../support/log-fixture.ts";
import { patchStorage } from "../support/patch-storage.ts";
import { crashStates, SimStorage } from "../support/sim-storage.ts";
import { systemError } from "../support/system-error.ts";

const policy: LogPolicy = { ...smallPolicy, segmentSize: 100_000 };

function message(sequence: number): string {
  return `message ${sequence} ${"x".repeat(200)}`;
}

function newStream(storage: SimStorage): StreamLog {
  storage.makeDirectory("/store");
  storage.syncDirectory("/");
  return StreamLog.create(logOptions(storage, { policy }));
}

function reopen(storage: Storage, epoch: number, clock = new ManualClock()): StreamLog {
  const random = new SeededRandom(100 + epoch);
  return StreamLog.open(logOptions(storage, { policy, epoch, clock, random })).log;
}

function append(log: StreamLog, count: number): void {
  for (let left = count; left > 0; left--) log.append(blockOf([message(log.nextSequence)]));
}

function sync(log: StreamLog, storage: SimStorage): boolean {
  const outcomes: boolean[] = [];
  log.sync((error) => outcomes.push(error === undefined));
  storage.completeSyncs();
  return outcomes[0] === true;
}

function expectMessages(log: StreamLog, count: number): void {
  assert.equal(log.nextSequence, count);
  const { messages, gaps } = readAll(log, 0, count);
  assert.deepEqual(gaps, []);
  for (let sequence = 0; sequence < count; sequence++)
    assert.equal(messages.get(sequence), message(sequence));
}

function killed(storage: SimStorage): SimStorage {
  return storage.killedAt(storage.operations.length - 1);
}

/** The power goes, and nothing that was not synced is there. */
function withoutPower(storage: SimStorage): SimStorage {
  const options = { random: () => 0, randomSubsets: 0, garbleBytes: 0 };
  for (const state of crashStates(storage, storage.operations.length - 1, options))
    if (state.label.startsWith("nothing pending")) return state.storage;
  throw new Error("no such state");
}

/** A medium that takes no more bytes, or nothing at all, for as long as `refusal` says so. */
function refusing(storage: SimStorage, refusal: () => string | undefined): Storage {
  const check = (call: string): void => {
    const code = refusal();
    if (code !== undefined) throw systemError(code, call);
  };
  return patchStorage(
    storage,
    (file) => ({
      write: (buffers, position) => {
        check("write");
        return file.write(buffers, position);
      },
      truncate: (sizeBytes) => {
        if (refusal() === "EROFS") check("ftruncate");
        file.truncate(sizeBytes);
      },
    }),
    {
      syncDirectory: (directory) => {
        if (refusal() === "EROFS") check("fsync");
        storage.syncDirectory(directory);
      },
    },
  );
}

describe("blocks that nothing proves to be durable", () => {
  it("are not trusted to a second sync of their file: a power cut behind the next start loses none", () => {
    const storage = new SimStorage();
    const log = newStream(storage);
    append(log, 2);
    assert.ok(sync(log, storage));
    append(log, 3);
    storage.plant([["sync@+1", { code: "EIO" }]]);
    const begunAt = storage.operations.length;
    sync(log, storage);
    const failedAt = storage.operations.findIndex(({ kind }, at) => at >= begunAt && kind === "sync");
    // Killed behind the failed sync: the kernel goes on showing what it dropped.
    const next = storage.killedAt(failedAt);
    const recovered = reopen(next, 2);
    assert.equal(recovered.syncedEndSequence, 5);
    expectMessages(recovered, 5);
    const cut = withoutPower(next);
    expectMessages(reopen(cut, 3), 5);
    append(recovered, 1);
    assert.ok(sync(recovered, next));
    expectMessages(reopen(withoutPower(next), 3), 6);
  });

  it("are none after a clean stop: the stream goes on in the segment that it has", () => {
    const storage = new SimStorage();
    let log = newStream(storage);
    for (let epoch = 2; epoch < 8; epoch++) {
      append(log, 2);
      log.close();
      const names = segmentNames(storage);
      log = reopen(storage, epoch);
      assert.deepEqual(segmentNames(storage), names);
      assert.equal(names.length, 1);
    }
    expectMessages(log, 12);
  });

  it("are written again once: the next start finds that they are durable", () => {
    let storage = new SimStorage();
    append(newStream(storage), 3);
    storage = killed(storage);
    reopen(storage, 2);
    const names = segmentNames(storage);
    assert.deepEqual(names, ["00000000000000000000-0001.lz4"]);
    for (let epoch = 3; epoch < 6; epoch++) {
      storage = killed(storage);
      expectMessages(reopen(storage, epoch), 3);
      assert.deepEqual(segmentNames(storage), names);
    }
  });

  it("do not cost the segment before them, though all that was durable in it is damaged", () => {
    const before = new SimStorage();
    const log = newStream(before);
    for (let block = 0; block < 2; block++) {
      append(log, 1);
      assert.ok(sync(log, before));
    }
    const storage = killed(before);
    const [name] = segmentNames(storage);
    const headerPosition = SEGMENT_HEADER_BYTES + 20;
    storage.flip(`${STREAM_DIRECTORY}/${name!}`, headerPosition);
    const recovered = reopen(storage, 2);
    assert.deepEqual([recovered.oldestSequence, recovered.nextSequence], [0, 2]);
    assert.deepEqual(readAll(recovered, 0, 2).gaps, [{ from: 0, to: 1, reason: "CORRUPT" }]);
    assert.equal(readAll(recovered, 1, 2).messages.get(1), message(1));
    storage.flip(`${STREAM_DIRECTORY}/${name!}`, headerPosition);
    expectMessages(recovered, 2);
    expectMessages(reopen(storage, 3), 2);
  });

  it("are written again in their place where there is no room for a new segment", () => {
    const before = new SimStorage();
    const log = newStream(before);
    append(log, 2);
    assert.ok(sync(log, before));
    append(log, 3);
    before.plant([["sync@+1", { code: "EIO" }]]);
    const begunAt = before.operations.length;
    sync(log, before);
    const failedAt = before.operations.findIndex(({ kind }, at) => at >= begunAt && kind === "sync");
    const storage = before.killedAt(failedAt);
    const names = segmentNames(storage);
    const recovered = reopen(
      patchStorage(storage, () => ({}), { freeBytes: () => 100 }),
      2,
    );
    assert.deepEqual(segmentNames(storage), names);
    assert.equal(recovered.syncedEndSequence, 5);
    expectMessages(recovered, 5);
    const cut = withoutPower(storage);
    expectMessages(reopen(cut, 3), 5);
  });

  it("wait in memory while the medium is full, can be read, and no try leaves anything behind", () => {
    const before = new SimStorage();
    append(newStream(before), 3);
    const storage = killed(before);
    let isFull = true;
    const clock = new ManualClock();
    const log = reopen(
      refusing(storage, () => (isFull ? "ENOSPC" : undefined)),
      2,
      clock,
    );
    const names = segmentNames(storage);
    assert.equal(log.syncedEndSequence, 0);
    assert.deepEqual(log.atRisk, { fromSequence: 0, toSequence: 3 });
    expectMessages(log, 3);
    for (let tick = 0; tick < 300; tick++) {
      clock.advance(1000);
      log.tick();
      assert.throws(() => append(log, 1), { code: "STREAM_FULL" });
    }
    assert.deepEqual(segmentNames(storage), names);
    expectMessages(log, 3);
    isFull = false;
    clock.advance(60_000);
    log.tick();
    assert.equal(log.atRisk, undefined);
    assert.deepEqual(segmentNames(storage), ["00000000000000000000-0001.lz4"]);
    expectMessages(reopen(withoutPower(storage), 3), 3);
  });

  it("wait in memory on a medium that takes no writes, and the stream says so", () => {
    const before = new SimStorage();
    append(newStream(before), 3);
    const storage = killed(before);
    const log = reopen(
      refusing(storage, () => "EROFS"),
      2,
    );
    assert.equal(log.state, "read-only");
    assert.deepEqual(log.atRisk, { fromSequence: 0, toSequence: 3 });
    expectMessages(log, 3);
    // It changed nothing.
    expectMessages(reopen(storage, 3), 3);
  });

  it("are held in memory up to a bound, and the rest is read again from where it stands", () => {
    const sizeBytes = 12 * 2 ** 20;
    const heldCount = Math.floor(UNPROVEN_BYTES_HELD_MAX / sizeBytes);
    const count = heldCount + 2;
    const wide = { ...policy, segmentSize: 2 ** 30, maxSize: 2 ** 30, syncBytesMax: 2 ** 30 };
    const before = new SimStorage();
    before.makeDirectory("/store");
    // Too far apart for LZ4 to see that they repeat.
    const part = Buffer.from(new SeededRandom(4).bytes(2 ** 20)).toString("latin1");
    const payloads = Array.from({ length: count }, (_, at) => `${at} ${part.repeat(sizeBytes / 2 ** 20)}`);
    const writer = StreamLog.create(logOptions(before, { policy: wide }));
    for (const payload of payloads) writer.append(blockOf([payload]));
    const storage = killed(before);
    let isFull = true;
    let readsOfOld = 0;
    const medium = refusing(storage, () => (isFull ? "ENOSPC" : undefined));
    const counted: Storage = {
      ...medium,
      open: (file, mode) => {
        if (mode === "read" && file.endsWith("-0000.lz4")) readsOfOld += 1;
        return medium.open(file, mode);
      },
    };
    const clock = new ManualClock();
    const log = StreamLog.open(logOptions(counted, { policy: wide, epoch: 2, clock })).log;
    const expectAll = (found: StreamLog): void => {
      for (const [at, payload] of payloads.entries()) {
        const { messages } = readAll(found, at, at + 1);
        assert.ok(messages.get(at) === payload, `message ${at}`);
      }
    };
    readsOfOld = 0;
    expectAll(log);
    assert.equal(readsOfOld, count - heldCount);
    isFull = false;
    clock.advance(60_000);
    log.tick();
    assert.equal(log.syncedEndSequence, count);
    expectAll(StreamLog.open(logOptions(withoutPower(storage), { policy: wide, epoch: 3 })).log);
  });

  it("are as old as the seal behind them says, where they do not know it themselves", () => {
    const storage = new SimStorage();
    storage.makeDirectory("/store");
    storage.makeDirectory(STREAM_DIRECTORY);
    const header: SegmentHeader = {
      streamId: Buffer.from(STREAM_ID, "hex"),
      segmentId: Buffer.alloc(16, 0x77),
      baseSequence: 0,
      basePayloadOffset: 0,
      generation: 0,
      epoch: 1,
      createdMs: startTime.stampMs,
      clockEra: 0,
      ageMs: 0,
      runMs: 0,
      reference: undefined,
      predecessor: undefined,
      rewritten: undefined,
    };
    const file = storage.open(`${STREAM_DIRECTORY}/${formatSegmentName(header)}`, "create");
    const writer = new SegmentWriter(file, header);
    const encoder = new BlockEncoder({ epoch: 1, lastIngestMs: 0 });
    const place = { firstSequence: 0, payloadOffset: 0 };
    const unproven = { ...startTime, ageMs: 50, runMs: 50, isAgeProven: false, isStampProven: false };
    writer.writeBlock(encoder.encode(blockOf([message(0)]), place, unproven));
    writer.writeMark(BlockKind.Seal, { ...startTime, ageMs: 9000, runMs: 40 });
    writer.writeHeader();
    file.close();
    const { tail } = recoverLog({ storage, directory: STREAM_DIRECTORY, streamId: header.streamId }).chain;
    const [block] = tail!.unproven;
    assert.equal(block!.header.isAgeProven, true);
    assert.deepEqual(block!.age, { ageMs: 9000, runMs: 40 });
    // Nothing says that the head was there before the block was.
    assert.equal(tail!.isHeadProven, false);
  });
});
