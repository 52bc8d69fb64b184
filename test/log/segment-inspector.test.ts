import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { BlockKind } from "../../src/log/block-layout.ts";
import { inspectSegment, type SegmentPart } from "../../src/log/segment-inspector.ts";
import { neighbourIds } from "../../src/log/segment-neighbours.ts";
import { SEGMENT_HEADER_BYTES } from "../../src/log/segment-layout.ts";
import type { StorageFile } from "../../src/log/storage.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { SeededRandom } from "../support/deterministic.ts";
import { blockOf, costOf, logOptions, STREAM_DIRECTORY } from "../support/log-fixture.ts";
import { SimStorage } from "../support/sim-storage.ts";

const MESSAGES_PER_BLOCK = 3;

/** A closed stream of several segments. @returns its paths, oldest first */
function makeSegments(): { storage: SimStorage; paths: string[] } {
  const storage = new SimStorage();
  storage.makeDirectory("/store");
  const log = StreamLog.create(logOptions(storage));
  for (let block = 0; block < 30; block++) {
    const texts = Array.from({ length: MESSAGES_PER_BLOCK }, (_, at) => textOf(log.nextSequence + at));
    const batch = blockOf(texts);
    log.admit(costOf(batch));
    log.append(batch);
    log.sync(() => undefined);
    storage.completeSyncs();
  }
  log.close();
  const names = storage
    .list(STREAM_DIRECTORY)
    .flatMap(({ name }) => (name.endsWith(".lz4") ? [`${STREAM_DIRECTORY}/${name}`] : []));
  return { storage, paths: names.sort() };
}

function textOf(sequence: number): string {
  return `message ${sequence} ${"abcdefghij".repeat(10 + (sequence % 40))}`;
}

function bytesOf(storage: SimStorage, path: string): Buffer {
  const file = storage.open(path, "read");
  const bytes = Buffer.alloc(file.sizeBytes());
  file.read(bytes, 0);
  return bytes;
}

function fileOf(bytes: Buffer): StorageFile {
  const storage = new SimStorage();
  storage.put("/segment", bytes);
  return storage.open("/segment", "read");
}

/** A part without the block, which is valid until the next one only, but with its messages. */
interface Seen {
  readonly part: SegmentPart;
  readonly messages: ReadonlyMap<number, string>;
}

function inspect(bytes: Buffer, otherIds?: () => Buffer[]): Seen[] {
  const seen: Seen[] = [];
  for (const part of inspectSegment({ file: fileOf(bytes), endBytes: bytes.length, otherIds })) {
    const messages = part.kind === "block" ? [...(part.block?.messages() ?? [])] : [];
    seen.push({
      part,
      messages: new Map(messages.map((m) => [m.sequence, Buffer.from(m.payload).toString("latin1")])),
    });
  }
  return seen;
}

function sizeOf(part: SegmentPart): number {
  if (part.kind === "head") return SEGMENT_HEADER_BYTES;
  return part.kind === "block" ? part.nextOffset - part.offset : part.sizeBytes;
}

/** The parts lie end to end over the whole file. */
function assertCovers(seen: readonly Seen[], sizeBytes: number): void {
  let at = 0;
  for (const { part } of seen) {
    if (part.kind !== "head") assert.equal(part.offset, at);
    at += Math.min(sizeOf(part), sizeBytes - at);
  }
  assert.equal(at, sizeBytes);
}

function isSound({ part }: Seen): boolean {
  if (part.kind === "head") return part.copies.every(({ state }) => state === "whole");
  if (part.kind === "block") return part.problem === undefined;
  return part.kind === "padding" && part.isZero;
}

describe("inspectSegment", () => {
  it("gives every block, padding and message of a whole segment", () => {
    const { storage, paths } = makeSegments();
    assert.ok(paths.length > 3);
    let next = 0;
    for (const [index, path] of paths.entries()) {
      const bytes = bytesOf(storage, path);
      const seen = inspect(bytes);
      assertCovers(seen, bytes.length);
      assert.ok(seen.every(isSound));
      const kinds = seen.flatMap(({ part }) => (part.kind === "block" ? [part.header.kind] : []));
      assert.equal(kinds.at(-1), index + 1 < paths.length ? BlockKind.Seal : BlockKind.Watermark);
      assert.ok(seen.some(({ part }) => part.kind === "padding"));
      for (const { messages } of seen) {
        for (const [sequence, text] of messages) {
          assert.equal(sequence, next);
          assert.equal(text, textOf(sequence));
          next += 1;
        }
      }
    }
    assert.equal(next, 90);
  });

  it("tells of every flipped bit and loses no block but the one it is in", () => {
    const { storage, paths } = makeSegments();
    const whole = bytesOf(storage, paths[1]!);
    const blocks = inspect(whole).filter(({ messages }) => messages.size > 0).length;
    const random = new SeededRandom(11);
    for (let round = 0; round < 600; round++) {
      const bytes = Buffer.from(whole);
      const bit = random.between(0, bytes.length * 8 - 1);
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      const seen = inspect(bytes);
      assertCovers(seen, bytes.length);
      assert.equal(seen.filter((one) => !isSound(one)).length, 1, `bit ${bit}`);
      const left = seen.filter(({ messages }) => messages.size > 0);
      assert.ok(left.length >= blocks - 1, `bit ${bit}`);
      for (const { messages } of left) for (const [at, text] of messages) assert.equal(text, textOf(at));
    }
  });

  it("covers a segment that is cut off anywhere", () => {
    const { storage, paths } = makeSegments();
    const whole = bytesOf(storage, paths[0]!);
    for (let sizeBytes = 0; sizeBytes < whole.length; sizeBytes += 37) {
      const seen = inspect(whole.subarray(0, sizeBytes));
      assertCovers(seen, sizeBytes);
      const unsound = seen.filter((one) => !isSound(one));
      assert.ok(unsound.length <= 1, `cut at ${sizeBytes}`);
      if (sizeBytes < SEGMENT_HEADER_BYTES) assert.equal(unsound.length, 1);
    }
  });

  it("says where reading goes on behind bytes that are nothing", () => {
    const { storage, paths } = makeSegments();
    const bytes = bytesOf(storage, paths[0]!);
    const parts = inspect(bytes).map(({ part }) => part);
    const first = parts.find((part) => part.kind === "block")!;
    bytes.fill(0, first.offset, first.nextOffset);
    const damage = inspect(bytes).flatMap(({ part }) => (part.kind === "damage" ? [part] : []));
    assert.equal(damage.length, 1);
    const { offset, reason, isFollowed } = damage[0]!;
    assert.deepEqual([offset, reason, isFollowed], [first.offset, "ZEROS", true]);
  });

  it("finds the id of a segment without a whole header, in a damaged copy, in a successor or by its blocks", () => {
    const { storage, paths } = makeSegments();
    const bytes = bytesOf(storage, paths[1]!);
    const blocks = inspect(bytes).filter(({ messages }) => messages.size > 0).length;
    bytes[100]! ^= 1;
    bytes[2048 + 200]! ^= 1;
    const claimed = inspect(bytes);
    assert.deepEqual(
      [
        claimed[0]!.part.kind === "head" && claimed[0]!.part.header,
        claimed.filter((one) => !isSound(one)).length,
      ],
      [undefined, 1],
    );
    assert.equal(claimed.filter(({ messages }) => messages.size > 0).length, blocks);

    bytes.fill(0, 0, SEGMENT_HEADER_BYTES);
    const found = inspect(bytes);
    assert.equal(found.filter(({ messages }) => messages.size > 0).length, blocks);
    assert.equal(found.filter((one) => !isSound(one)).length, 1);
    const named = inspect(bytes, () => neighbourIds(storage, paths[1]!));
    assert.equal(named.filter(({ messages }) => messages.size > 0).length, blocks);

    const nothing = inspect(Buffer.alloc(bytes.length, 0x5a)).map(({ part }) => part);
    assert.ok(nothing[1]?.kind === "damage" && nothing[1].reason === "NO_SEGMENT_ID");
    assertCovers(inspect(Buffer.alloc(bytes.length, 0x5a)), bytes.length);
  });

  it("says what the medium said where it cannot be read", () => {
    const { storage, paths } = makeSegments();
    const bytes = bytesOf(storage, paths[0]!);
    const file = fileOf(bytes);
    const failing: StorageFile = {
      ...file,
      path: file.path,
      read: (target, position) => {
        if (position + target.length > 5000 && position < 9000)
          throw Object.assign(new Error("EIO"), { code: "EIO" });
        return file.read(target, position);
      },
    };
    const parts = [...inspectSegment({ file: failing, endBytes: bytes.length })];
    const errors = parts.flatMap((part) => ("readError" in part && part.readError ? [part.readError] : []));
    assert.ok(errors.length > 0 && errors.every((code) => code === "EIO"), JSON.stringify(errors));
  });
});
