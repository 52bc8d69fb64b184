import assert from "node:assert/strict";
import path from "node:path";
import { describe, it } from "node:test";

import { BlockEncoder } from "../../src/log/block-encoder.ts";
import { BlockKind } from "../../src/log/block-layout.ts";
import { formatSegmentName, SEGMENT_HEADER_BYTES } from "../../src/log/segment-layout.ts";
import { SegmentWriter } from "../../src/log/segment-writer.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import {
  blockOf,
  logOptions,
  readAll,
  startTime,
  STREAM_DIRECTORY,
  STREAM_ID,
} from "../support/log-fixture.ts";
import { SimStorage } from "../support/sim-storage.ts";

const MESSAGES_PER_SEGMENT = 6;
const SEGMENTS = 4;
const END = MESSAGES_PER_SEGMENT * SEGMENTS;

function message(sequence: number): string {
  return `message ${sequence} ${"x".repeat(2000 + 10 * sequence)}`;
}

function offsetOf(sequence: number): number {
  let sum = 0;
  for (let at = 0; at < sequence; at++) sum += message(at).length;
  return sum;
}

/** A stream of small segments, a message a block, the last one growing. */
function storedStream(): SimStorage {
  const storage = new SimStorage();
  storage.makeDirectory("/store");
  const policy = { ...logOptions(storage).policy, segmentSize: 12_000, commitAlignBytes: 0 };
  const log = StreamLog.create(logOptions(storage, { policy }));
  for (let sequence = 0; sequence < END; sequence++) log.append(blockOf([message(sequence)]));
  log.close();
  return storage;
}

function segmentFiles(storage: SimStorage): string[] {
  return storage
    .list(STREAM_DIRECTORY)
    .map(({ name }) => name)
    .filter((name) => name.includes(".lz4"))
    .sort();
}

/** A rewritten segment with the messages [from, to) in one block, as it stands when it has its name. */
function putRewritten(storage: SimStorage, generation: number, from: number, to: number): string {
  const header = {
    streamId: Buffer.from(STREAM_ID, "hex"),
    segmentId: Buffer.alloc(16, 0x77),
    baseSequence: from,
    basePayloadOffset: offsetOf(from),
    generation,
    epoch: 1,
    createdMs: 0,
    clockEra: 0,
    ageMs: 0,
    runMs: 0,
    reference: undefined,
    predecessor: undefined,
    rewritten: { endSequence: to, endPayloadOffset: offsetOf(to) },
  };
  const name = formatSegmentName(header);
  const writer = new SegmentWriter(storage.open(path.join(STREAM_DIRECTORY, name), "create"), header);
  const encoder = new BlockEncoder({ epoch: 1, lastIngestMs: 0 });
  const messages = Array.from({ length: to - from }, (_, at) => message(from + at));
  const place = { firstSequence: from, payloadOffset: offsetOf(from) };
  writer.writeBlock(encoder.encode(blockOf(messages), place, startTime));
  writer.writeMark(BlockKind.Seal, startTime);
  writer.writeHeader();
  writer.file.close();
  return name;
}

function expectAll(storage: SimStorage): ReturnType<typeof StreamLog.open>["recovery"] {
  const { log, recovery } = StreamLog.open(logOptions(storage));
  assert.equal(log.nextSequence, END);
  const { messages, gaps } = readAll(log, 0, END);
  assert.deepEqual(gaps, []);
  for (let sequence = 0; sequence < END; sequence++) assert.equal(messages.get(sequence), message(sequence));
  log.close();
  return recovery;
}

describe("chooseSegments", () => {
  it("takes a rewritten segment that is whole, and removes what it was made from", () => {
    const storage = storedStream();
    const sources = segmentFiles(storage);
    assert.equal(sources.length, SEGMENTS);
    const merged = putRewritten(storage, 1, 0, 2 * MESSAGES_PER_SEGMENT);
    expectAll(storage);
    assert.deepEqual(segmentFiles(storage), [merged, ...sources.slice(2)]);
    expectAll(storage);
  });

  it("leaves what a rewritten segment was made from in its place when any bit of it is wrong", () => {
    const whole = storedStream();
    const sources = segmentFiles(whole);
    const name = putRewritten(whole, 1, 0, 2 * MESSAGES_PER_SEGMENT);
    const filePath = path.join(STREAM_DIRECTORY, name);
    const sizeBytes = whole.read(filePath).length;
    for (let at = SEGMENT_HEADER_BYTES; at < sizeBytes; at += 7) {
      const storage = whole.copy();
      storage.flip(filePath, at);
      const { setAside } = expectAll(storage);
      assert.deepEqual(setAside, [`${name}.damaged`], `byte ${at}`);
      assert.deepEqual(segmentFiles(storage), [...sources, `${name}.damaged`].sort());
      assert.deepEqual(expectAll(storage).setAside, []);
    }
  });

  it("does not take a rewritten segment that ends too early, or whose head is gone", () => {
    for (const sizeBytes of [0, 100, SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES + 10, -1]) {
      const storage = storedStream();
      const sources = segmentFiles(storage);
      const name = putRewritten(storage, 1, 0, MESSAGES_PER_SEGMENT);
      const filePath = path.join(STREAM_DIRECTORY, name);
      const bytes = storage.read(filePath);
      storage.put(filePath, bytes.subarray(0, sizeBytes < 0 ? bytes.length + sizeBytes : sizeBytes));
      expectAll(storage);
      const left = segmentFiles(storage).filter((other) => !other.includes("-0001"));
      assert.deepEqual(left, sources, `${sizeBytes} bytes`);
    }
  });

  it("keeps a damaged rewritten segment whose sources are gone, and gives the rest of the stream", () => {
    const storage = storedStream();
    const [first] = segmentFiles(storage);
    const name = putRewritten(storage, 1, 0, MESSAGES_PER_SEGMENT);
    storage.unlink(path.join(STREAM_DIRECTORY, first!));
    storage.flip(path.join(STREAM_DIRECTORY, name), SEGMENT_HEADER_BYTES + 200);
    const { log, recovery } = StreamLog.open(logOptions(storage));
    assert.deepEqual(recovery.setAside, []);
    const { messages, gaps } = readAll(log, 0, END);
    assert.deepEqual(gaps, [{ from: 0, to: MESSAGES_PER_SEGMENT, reason: "CORRUPT" }]);
    assert.equal(messages.size, END - MESSAGES_PER_SEGMENT);
    assert.ok(segmentFiles(storage).includes(name));
  });

  it("never cuts a rewritten segment that is the last one, whatever is damaged in it", () => {
    const whole = storedStream();
    const last = segmentFiles(whole).at(-1)!;
    const from = END - MESSAGES_PER_SEGMENT;
    const name = putRewritten(whole, 1, from, END);
    whole.unlink(path.join(STREAM_DIRECTORY, last));
    const filePath = path.join(STREAM_DIRECTORY, name);
    const bytes = whole.read(filePath);
    expectAll(whole.copy());
    for (const at of [SEGMENT_HEADER_BYTES + 30, SEGMENT_HEADER_BYTES + 200, bytes.length - 20]) {
      const storage = whole.copy();
      storage.flip(filePath, at);
      const { log } = StreamLog.open(logOptions(storage));
      // A sequence number that may have been exported is not given again.
      assert.equal(log.nextSequence, END, `byte ${at}`);
      assert.equal(log.append(blockOf(["behind it"])), END);
      assert.equal(storage.read(filePath).length, bytes.length);
      const { messages, gaps } = readAll(log, 0, END);
      assert.equal(messages.size + gaps.reduce((sum, gap) => sum + gap.to - gap.from, 0), END);
    }
  });

  it("removes rewrites that were cut short, and no other file that is not the stream's", () => {
    const storage = storedStream();
    const before = segmentFiles(storage);
    storage.put(path.join(STREAM_DIRECTORY, `${before[0]!}.tmp`), Buffer.from("half"));
    storage.put(path.join(STREAM_DIRECTORY, "notes.lz4.tmp"), Buffer.from("foreign"));
    expectAll(storage);
    assert.deepEqual(segmentFiles(storage), [...before, "notes.lz4.tmp"].sort());
  });

  it("tries again to remove what it could not, with the next segment that is made", () => {
    const storage = storedStream();
    const [first] = segmentFiles(storage);
    putRewritten(storage, 1, 0, MESSAGES_PER_SEGMENT);
    const failing = new Set([path.join(STREAM_DIRECTORY, first!)]);
    const wrapped = new Proxy(storage, {
      get(target, key) {
        if (key === "unlink") {
          return (file: string): void => {
            if (failing.has(file)) throw Object.assign(new Error("EIO"), { code: "EIO" });
            target.unlink(file);
          };
        }
        const value: unknown = Reflect.get(target, key, target);
        return typeof value === "function" ? (value.bind(target) as unknown) : value;
      },
    });
    const policy = { ...logOptions(storage).policy, segmentSize: 1000 };
    const { log } = StreamLog.open(logOptions(wrapped, { policy }));
    assert.ok(segmentFiles(storage).includes(first!));
    failing.clear();
    for (let sequence = END; sequence < END + 4; sequence++) log.append(blockOf([message(sequence)]));
    assert.ok(!segmentFiles(storage).includes(first!));
  });
});
