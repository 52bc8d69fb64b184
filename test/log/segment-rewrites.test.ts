import assert from "node:assert/strict";
import path from "node:path";
import { describe, it } from "node:test";

import {
  REWRITE_FREE_BYTES_MIN,
  REWRITE_RETRY_MS,
  REWRITE_SLICE_BLOCKS,
  WATERMARK_IDLE_MS,
  WRITE_AMPLIFICATION_MAX,
} from "../../src/core/limits.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import type { BatchRun } from "../../src/log/block-builder.ts";
import { BlockBuilder } from "../../src/log/block-builder.ts";
import { DiskRoom } from "../../src/log/disk-room.ts";
import type { LogPolicy } from "../../src/log/log-policy.ts";
import { decodeSegmentHeader, SEGMENT_HEADER_BYTES } from "../../src/log/segment-layout.ts";
import { scanSegment, SegmentSource } from "../../src/log/segment-scanner.ts";
import { LogReader } from "../../src/log/log-reader.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import type { Storage } from "../../src/log/storage.ts";
import { factsOf } from "../../src/stream/open-stream.ts";
import { ManualClock, SeededRandom } from "../support/deterministic.ts";
import {
  addBatch,
  blockOf,
  logOptions,
  newStorage,
  readAll,
  rewriteAll,
  smallPolicy,
  STREAM_DIRECTORY,
} from "../support/log-fixture.ts";
import type { SimStorage } from "../support/sim-storage.ts";

const BLOCK_BYTES = 16_384;
const policy: LogPolicy = { ...smallPolicy, flushOnWrite: false, segmentSize: 40_000, commitAlignBytes: 512 };

/** Each message synced on its own takes 4 KiB. */
const trickling: LogPolicy = {
  ...policy,
  segmentSize: 2_000_000,
  maxSize: 4_000_000,
  commitAlignBytes: 4096,
  wasteBytesMax: 60_000,
};

function open(storage: SimStorage, overrides: Parameters<typeof logOptions>[1] = {}): StreamLog {
  const options = logOptions(storage, { policy, rewriteBlockBytes: BLOCK_BYTES, ...overrides });
  return storage.list("/store").length === 0 ? StreamLog.create(options) : StreamLog.open(options).log;
}

function message(sequence: number): string {
  return `{"camera":"cam-${sequence % 12}","frame":${100_000 + sequence},"label":"person","box":[1,2,3]}`;
}

/** All is durable and the newest segment says so: a start writes none of it again. */
function markIdle(log: StreamLog, storage: SimStorage, clock: ManualClock): void {
  log.sync(() => undefined);
  storage.completeSyncs();
  clock.advance(WATERMARK_IDLE_MS);
  log.tick();
}

/** Messages one at a time, as a client does that awaits each append. */
function appendEach(log: StreamLog, storage: SimStorage, count: number, clock?: ManualClock): void {
  for (let left = count; left > 0; left--) {
    const sequence = log.nextSequence;
    log.append(blockOf([message(sequence)], clock?.nowMs()));
    clock?.advance(sequence % 3);
    if (sequence % 20 === 0) {
      log.sync(() => undefined);
      storage.completeSyncs();
    }
  }
}

/** A message a second. */
function appendSynced(log: StreamLog, storage: SimStorage, count: number, clock: ManualClock): void {
  for (let left = count; left > 0; left--) {
    log.append(blockOf([message(log.nextSequence)], clock.nowMs()));
    clock.advance(1000);
    log.sync(() => undefined);
    storage.completeSyncs();
  }
}

function secondsFrom(count: number): number[] {
  return Array.from({ length: count }, (_, at) => 1_700_000_000_000 + 1000 * at);
}

function expectMessages(log: Parameters<typeof readAll>[0], from: number, to: number): void {
  const { messages, gaps } = readAll(log, from, to);
  assert.deepEqual(gaps, []);
  assert.equal(messages.size, to - from);
  for (const [sequence, text] of messages) assert.equal(text, message(sequence));
}

function segmentFiles(storage: SimStorage): { readonly name: string; readonly sizeBytes: number }[] {
  return storage
    .list(STREAM_DIRECTORY)
    .filter(({ name }) => name.includes(".lz4"))
    .map(({ name }) => ({ name, sizeBytes: storage.read(path.join(STREAM_DIRECTORY, name)).length }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function ingestTimes(log: StreamLog, end: number): number[] {
  const times: number[] = [];
  while (times.length < end) {
    const request = {
      fromSequence: times.length,
      endSequence: end,
      messageCountMax: 1000,
      bytesMax: 100_000,
    };
    for (const slice of log.read(request)) {
      assert.ok(slice.kind === "messages");
      for (const run of slice.runs) for (let at = 0; at < run.messageCount; at++) times.push(run.ingestMs);
    }
  }
  return times;
}

/** The runs of a segment's blocks, as they are stored. */
function readRuns(storage: SimStorage, name: string): BatchRun[] {
  const file = storage.open(path.join(STREAM_DIRECTORY, name), "read");
  const area = Buffer.alloc(SEGMENT_HEADER_BYTES);
  file.read(area, 0);
  const source = new SegmentSource(file, decodeSegmentHeader(area)!.segmentId);
  const { blocks } = scanSegment(source, SEGMENT_HEADER_BYTES, file.sizeBytes());
  file.close();
  return blocks.flatMap(({ header }) => header.runs).map(plainRun);
}

function plainRun({ messageCount, ingestMs, producer }: BatchRun): BatchRun {
  return { messageCount, ingestMs, producer };
}

describe("SegmentRewrites", () => {
  it("puts a copy in full-size blocks in the place of a segment of small ones, and nothing else changes", () => {
    const storage = newStorage();
    const clock = new ManualClock();
    const log = open(storage, { clock });
    appendEach(log, storage, 701, clock);
    markIdle(log, storage, clock);
    const before = segmentFiles(storage);
    const times = ingestTimes(log, 701);
    const { nextSequence, totalBytes, storedBytes, oldestSequence } = log;
    rewriteAll(log, storage);
    const after = segmentFiles(storage);
    assert.equal(after.length, before.length);
    for (const [index, file] of before.slice(0, -1).entries()) {
      assert.match(after[index]!.name, /-0001\.lz4$/);
      assert.ok(
        after[index]!.sizeBytes < file.sizeBytes / 2,
        `${after[index]!.sizeBytes} of ${file.sizeBytes}`,
      );
    }
    assert.deepEqual(after.at(-1), before.at(-1));
    assert.deepEqual(
      { nextSequence, totalBytes, oldestSequence },
      { nextSequence: log.nextSequence, totalBytes: log.totalBytes, oldestSequence: log.oldestSequence },
    );
    assert.ok(log.storedBytes < storedBytes / 2);
    assert.equal(
      log.storedBytes,
      after.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    );
    expectMessages(log, 0, 701);
    assert.deepEqual(ingestTimes(log, 701), times);
    expectMessages(new LogReader({ storage, directory: STREAM_DIRECTORY }), 0, log.syncedEndSequence);
    const copy = storage.copy();
    const again = open(copy);
    expectMessages(again, 0, 701);
    assert.deepEqual(ingestTimes(again, 701), times);
    const copyBytes = segmentFiles(copy).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    assert.deepEqual([again.totalBytes, again.storedBytes], [log.totalBytes, copyBytes]);
    assert.equal(segmentFiles(copy).length, after.length);
    // What was rewritten is not rewritten again.
    const operations = storage.operations.length;
    rewriteAll(log, storage);
    rewriteAll(again, storage);
    assert.equal(storage.operations.length, operations);
  });

  it("keeps the batches of producers as they were", () => {
    const storage = newStorage();
    const log = open(storage);
    const runs: BatchRun[] = [];
    for (let batch = 0; batch < 120; batch++) {
      const builder = new BlockBuilder(4096);
      const producer = batch % 3 === 0 ? undefined : { id: 1 + (batch % 3), sequence: batch };
      const first = log.nextSequence;
      addBatch(builder, [message(first), message(first + 1), message(first + 2)], {
        ingestMs: 1_700_000_000_000 + batch,
        ...(producer === undefined ? {} : { producer }),
      });
      log.append(builder);
      runs.push(...builder.runs.map(plainRun));
    }
    appendEach(log, storage, 300);
    rewriteAll(log, storage);
    const found = readRuns(storage, segmentFiles(storage)[0]!.name);
    assert.ok(found.length > 100);
    assert.deepEqual(found.slice(0, 100), runs.slice(0, 100));
  });

  it("lets messages expire when they would have, in this run and in the next", () => {
    const minutes = 60_000;
    const living = { ...policy, timeToLiveMs: 60 * minutes };
    /** When the oldest message went, by the minute, after the log was opened again at some minute. */
    const goneAt = (isRewritten: boolean, reopenedAt: number): number[] => {
      const storage = newStorage();
      const clock = new ManualClock();
      let log = open(storage, { policy: living, clock });
      const found: number[] = [];
      for (let minute = 0; minute < 200 && log.oldestSequence < 1000; minute++) {
        if (log.nextSequence < 1000) appendEach(log, storage, 50);
        if (isRewritten) rewriteAll(log, storage);
        if (minute === reopenedAt) {
          log.close();
          log = open(storage, { policy: living, clock });
        }
        const before = log.oldestSequence;
        clock.advance(minutes);
        log.tick();
        if (log.oldestSequence > before) found.push(minute);
      }
      return found;
    };
    for (const reopenedAt of [-1, 25, 70]) {
      const plain = goneAt(false, reopenedAt);
      assert.ok(plain.length >= 2, String(plain));
      assert.deepEqual(goneAt(true, reopenedAt), plain, `opened again at ${reopenedAt}`);
    }
  });

  it("works in slices that are bounded, and appends and reads go on between them", () => {
    const storage = newStorage();
    const log = open(storage);
    appendEach(log, storage, 400);
    const { rewrites } = log;
    let slices = 0;
    for (; rewrites!.isRunning || rewrites!.isDue; slices++) {
      const writes = storage.count("write");
      const slice = rewrites!.slice(() => undefined);
      assert.ok(storage.count("write") - writes <= 2);
      appendEach(log, storage, 1);
      expectMessages(log, log.nextSequence - 30, log.nextSequence);
      if (slice === "waiting") {
        assert.ok(rewrites!.isSyncing && !rewrites!.isDue);
        storage.completeSyncs();
      }
    }
    assert.ok(slices > 2 * (300 / REWRITE_SLICE_BLOCKS), `${slices} slices`);
    expectMessages(log, 0, log.nextSequence);
  });

  it("leaves segments alone whose blocks are big enough, or that would not become smaller", () => {
    const storage = newStorage();
    const log = open(storage);
    const random = new SeededRandom(5);
    for (let block = 0; block < 60; block++) {
      const noise = Buffer.from(random.bytes(block < 30 ? 500 : 3000)).toString("latin1");
      const messages = block < 30 ? [noise] : [noise, noise, message(block)];
      log.append(blockOf(messages));
    }
    assert.ok(segmentFiles(storage).length > 2);
    const writes = storage.count("write");
    rewriteAll(log, storage);
    assert.equal(storage.count("write"), writes);
    assert.ok(segmentFiles(storage).every(({ name }) => name.endsWith("-0000.lz4")));
  });

  it("does not touch a segment in which anything is damaged", () => {
    const whole = newStorage();
    appendEach(open(whole), whole, 260);
    const [first] = segmentFiles(whole);
    for (let at = 5000; at < first!.sizeBytes; at += 1711) {
      const storage = whole.copy();
      const filePath = path.join(STREAM_DIRECTORY, first!.name);
      storage.flip(filePath, at);
      const bytes = storage.read(filePath);
      const unread = storage.copy();
      const rewriting = open(unread);
      rewriteAll(rewriting, unread);
      const log = open(storage);
      const before = readAll(log, 0, 260);
      // Whoever meets it first takes note of it.
      assert.deepEqual(rewriting.ledger.snapshot, log.ledger.snapshot, `byte ${at}`);
      rewriteAll(log, storage);
      // A flipped bit of padding is no damage.
      if (before.gaps.length > 0) assert.deepEqual(storage.read(filePath), bytes, `byte ${at}`);
      assert.deepEqual(readAll(log, 0, 260), before);
      assert.deepEqual(readAll(open(storage.copy()), 0, 260), before);
    }
  });

  for (const freeBytesMin of [0, 3 * REWRITE_FREE_BYTES_MIN]) {
    it(`waits while space is short, and tries again a minute later, ${freeBytesMin} bytes to be kept free`, () => {
      const storage = newStorage();
      const clock = new ManualClock();
      const diskRoom = new DiskRoom({ storage, directory: "/store", clock, freeBytesMin });
      const log = open(storage, { clock, diskRoom });
      appendEach(log, storage, 260);
      const [first] = segmentFiles(storage);
      storage.freeBytesLeft = Math.max(REWRITE_FREE_BYTES_MIN, freeBytesMin) + first!.sizeBytes - 1;
      rewriteAll(log, storage);
      assert.equal(segmentFiles(storage)[0]!.name, first!.name);
      storage.freeBytesLeft += 1;
      assert.equal(log.rewrites!.isDue, false);
      clock.advance(REWRITE_RETRY_MS);
      rewriteAll(log, storage);
      assert.match(segmentFiles(storage)[0]!.name, /-0001\.lz4$/);
    });
  }

  it("tells of rewrites that failed, how many and why the last one did", () => {
    const storage = newStorage();
    const clock = new ManualClock();
    const log = open(storage, { clock });
    appendEach(log, storage, 260);
    rewriteAll(log, storage);
    assert.equal(factsOf(log).rewriteFaults, undefined);
    appendEach(log, storage, 260);
    for (const [count, code] of [
      [1, "EIO"],
      [2, "EROFS"],
    ] as const) {
      clock.advance(REWRITE_RETRY_MS);
      storage.plant([["write@+1", { code }]]);
      rewriteAll(log, storage);
      const { rewriteFaults, lastFault } = factsOf(log);
      assert.equal(rewriteFaults?.count, count);
      assert.match(rewriteFaults.last, new RegExp(code));
      // It says nothing about the stream.
      assert.equal(lastFault, undefined);
    }
  });

  it("leaves its source as the truth whichever call fails, with no file too many, and tries again", () => {
    const struck = new Set<string>();
    const calls = ["open", "write", "sync", "rename", "syncDirectory", "unlink"] as const;
    for (const call of calls) {
      for (const code of ["EIO", "ENOSPC", "EROFS"]) {
        for (let at = 1; at <= (call === "write" ? 6 : 2); at++) {
          const storage = newStorage();
          const clock = new ManualClock();
          const log = open(storage, { clock });
          appendEach(log, storage, 260);
          storage.plant([[`${call}@+${at}`, { code }]]);
          rewriteAll(log, storage);
          if (storage.faultCount > 0) struck.add(`${call} ${at}`);
          storage.heal();
          const what = `${call} ${at} ${code}`;
          expectMessages(log, 0, 260);
          assert.equal(log.state, "ok", what);
          expectMessages(open(storage.copy()), 0, 260);
          assert.ok(
            segmentFiles(storage).every(({ name }) => !name.endsWith(".tmp")),
            what,
          );
          clock.advance(REWRITE_RETRY_MS);
          rewriteAll(log, storage);
          appendEach(log, storage, 260);
          rewriteAll(log, storage);
          markIdle(log, storage, clock);
          expectMessages(log, 0, 520);
          const copy = storage.copy();
          expectMessages(open(copy), 0, 520);
          const names = segmentFiles(storage).map(({ name }) => name);
          assert.deepEqual(
            segmentFiles(copy).map(({ name }) => name),
            names,
            what,
          );
          assert.equal(new Set(names.map((name) => name.slice(0, 20))).size, names.length, what);
        }
      }
    }
    const expected = ["open 1", "write 1", "write 2", "write 3", "sync 1", "rename 1"];
    assert.deepEqual([...struck], [...expected, "syncDirectory 1", "unlink 1", "unlink 2"]);
  });

  it("gives up a source that retention deletes, and its copy with it", () => {
    for (let slices = 1; slices < 14; slices++) {
      const storage = newStorage();
      const overwrite = { ...policy, maxSize: 60_000, strategyOnFull: StrategyOnFull.OverwriteOldestData };
      const log = open(storage, { policy: overwrite });
      appendEach(log, storage, 260);
      const { rewrites } = log;
      for (let left = slices; left > 0; left--) rewrites!.slice(() => undefined);
      while (log.oldestSequence === 0) {
        const block = blockOf([message(log.nextSequence)]);
        log.admit(block.payloadBytes + 24);
        log.append(block);
      }
      const oldest = log.oldestSequence;
      storage.completeSyncs();
      rewriteAll(log, storage);
      expectMessages(log, oldest, log.nextSequence);
      assert.ok(
        segmentFiles(storage).every(({ name }) => Number(name.slice(0, 20)) >= oldest),
        `${slices} slices`,
      );
    }
  });

  it("lets go of everything when the log is closed or destroyed in the middle", () => {
    for (let slices = 1; slices < 14; slices++) {
      for (const end of ["close", "destroy"] as const) {
        const storage = newStorage();
        const log = open(storage);
        appendEach(log, storage, 260);
        const { rewrites } = log;
        for (let left = slices; left > 0; left--) rewrites!.slice(() => undefined);
        log[end]();
        storage.completeSyncs();
        assert.equal(storage.openFiles, 0, `${end} after ${slices} slices`);
        if (end === "destroy") assert.deepEqual(storage.list("/store"), []);
        else {
          assert.ok(segmentFiles(storage).every(({ name }) => !name.endsWith(".tmp")));
          expectMessages(open(storage), 0, 260);
        }
      }
    }
  });

  it("replaces no file that it did not make, whatever its name says", () => {
    const storage = newStorage();
    const log = open(storage);
    appendEach(log, storage, 260);
    const [first] = segmentFiles(storage);
    const foreign = path.join(STREAM_DIRECTORY, first!.name.replace("-0000", "-0001"));
    storage.put(foreign, Buffer.alloc(9000, 7));
    rewriteAll(log, storage);
    assert.deepEqual(storage.read(foreign), Buffer.alloc(9000, 7));
    assert.match(segmentFiles(storage)[1]!.name, /-0002\.lz4$/);
    expectMessages(open(storage.copy()), 0, 260);
  });

  it("keeps what is written within the cap, unless first writes alone are beyond it", () => {
    const storage = newStorage();
    const log = open(storage);
    let payloadBytes = 0;
    for (let at = 0; at < 2000; at++) {
      const builder = blockOf([message(at)]);
      payloadBytes += builder.payloadBytes;
      log.append(builder);
      rewriteAll(log, storage);
    }
    const { writtenBytes, rewrittenBytes } = log.writes;
    assert.ok(rewrittenBytes > 0);
    // Tiny messages: the heads of their blocks alone are more than they are.
    assert.ok(writtenBytes > payloadBytes * WRITE_AMPLIFICATION_MAX);
    assert.ok(rewrittenBytes <= writtenBytes / 6, `${rewrittenBytes} of ${writtenBytes}`);
    const held = storage.operations
      .filter(({ kind }) => kind === "write")
      .map(({ note }) => String(note))
      .filter((note) => note.includes(".lz4"));
    const sizes = held.map((note) => Number(/ (\d+)@/.exec(note)![1]));
    assert.equal(
      writtenBytes + rewrittenBytes,
      sizes.reduce((sum, size) => sum + size, 0),
    );
  });

  it("completes a segment that takes much more than its payload, so that it can be rewritten", () => {
    const storage = newStorage();
    const log = open(storage, { policy: trickling });
    const clock = new ManualClock();
    appendSynced(log, storage, 58, clock);
    assert.equal(segmentFiles(storage).length, 5);
    rewriteAll(log, storage);
    const sizes = segmentFiles(storage).map(({ sizeBytes }) => sizeBytes);
    assert.ok(
      sizes.slice(0, -1).every((sizeBytes) => sizeBytes < 8000),
      String(sizes),
    );
    expectMessages(log, 0, 58);
    assert.deepEqual(ingestTimes(log, 58), secondsFrom(58));
    // One that nobody rewrites goes on.
    const plain = newStorage();
    appendSynced(StreamLog.create(logOptions(plain, { policy: trickling })), plain, 58, new ManualClock());
    assert.equal(segmentFiles(plain).length, 1);
  });

  it("makes one of many small segments, again and again, and reads and reopens them as before", () => {
    const storage = newStorage();
    const log = open(storage, { policy: trickling });
    const clock = new ManualClock();
    const counts: number[] = [];
    for (let round = 0; round < 70; round++) {
      appendSynced(log, storage, 16, clock);
      rewriteAll(log, storage);
      counts.push(segmentFiles(storage).length);
    }
    // At most seven of each size, and the one that grows.
    assert.ok(Math.max(...counts) <= 7 + 7 + 2, String(counts));
    const end = log.nextSequence;
    expectMessages(log, 0, end);
    assert.deepEqual(ingestTimes(log, end), secondsFrom(end));
    expectMessages(new LogReader({ storage, directory: STREAM_DIRECTORY }), 0, log.syncedEndSequence);
    const again = open(storage.copy(), { policy: trickling });
    expectMessages(again, 0, end);
    assert.equal(again.totalBytes, log.totalBytes);
    assert.ok(log.writes.rewrittenBytes < log.writes.writtenBytes / 6);
  });

  it("lets a reader of another thread read on at every moment of the switch", () => {
    const calls = ["list", "open", "rename", "syncDirectory", "unlink"] as const;
    for (const call of calls) {
      for (let at = 1; at < 60; at++) {
        const storage = newStorage();
        const log = open(storage);
        appendEach(log, storage, 520);
        log.sync(() => undefined);
        storage.completeSyncs();
        let count = 0;
        // The writer does all it has to do while the reader is within one of its calls.
        const reading = interrupted(storage, call, () => {
          count += 1;
          if (count === at) rewriteAll(log, storage);
        });
        const reader = new LogReader({ storage: reading, directory: STREAM_DIRECTORY });
        expectMessages(reader, 0, 520);
        expectMessages(reader, 0, 520);
        reader.close();
        if (count < at) break;
      }
    }
  });
});

/** The storage, with `action` run after each of one kind of call and before its result is seen. */
function interrupted(storage: SimStorage, call: keyof Storage, action: () => void): Storage {
  return new Proxy<Storage>(storage, {
    get(target, key): unknown {
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== "function") return value;
      return (...args: unknown[]): unknown => {
        const result: unknown = value.apply(target, args);
        if (key === call) action();
        return result;
      };
    },
  });
}
