import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { LossReason, STREAM_START, totalsOf } from "../../src/core/stream-ledger.ts";
import {
  CursorFile,
  cursorPath,
  exportedEnd,
  inspectCursor,
  type CursorPlace,
} from "../../src/export/cursor-file.ts";
import {
  CURSOR_BYTES_MAX,
  CURSOR_RANGES_MAX,
  decodeCursor,
  encodeCursor,
  newCursor,
  type CursorRecord,
} from "../../src/export/cursor-layout.ts";
import { fileStorage } from "../../src/log/file-storage.ts";

const range = {
  reason: LossReason.Skipped,
  fromSequence: 5,
  toSequence: 0x65,
  fromPayloadOffset: 0x70,
  toPayloadOffset: 0x1070,
  timeMs: 1_700_000_000_001,
};

const record: CursorRecord = {
  revision: 3,
  startSequence: 0x65,
  position: 0x1_0000_01a0,
  payloadOffset: 0x2_0000_1010,
  accounts: {
    exported: { messages: 0x1_0000_0000, payloadBytes: 0x2_0000_0000 },
    setAside: { messages: 0x80, payloadBytes: 9 },
    overwritten: { messages: 0x60, payloadBytes: 2 },
    expired: { messages: 0x10, payloadBytes: 3 },
    deleted: { messages: 0x20, payloadBytes: 4 },
    damaged: { messages: 0x30, payloadBytes: 5 },
    skipped: totalsOf(range),
  },
  rewound: { messages: 0, payloadBytes: 7 },
  lastAcceptedTimeMs: 1_700_000_000_000,
  ranges: [range],
};

function at(position: number, changes: Partial<CursorRecord> = {}): CursorRecord {
  const fresh = newCursor(0);
  const exported = { messages: position, payloadBytes: 10 * position };
  return {
    ...fresh,
    revision: position,
    position,
    payloadOffset: 10 * position,
    accounts: { ...fresh.accounts, exported },
    ...changes,
  };
}

function place(t: TestContext): CursorPlace {
  const streamDirectory = mkdtempSync(path.join(tmpdir(), "millrace-cursor-"));
  t.after(() => rmSync(streamDirectory, { recursive: true, force: true }));
  return { streamDirectory, exporterId: "ab".repeat(16) };
}

function read(where: CursorPlace): CursorRecord | undefined {
  const file = new CursorFile(fileStorage, where);
  file.close();
  return file.record;
}

test("encodeCursor writes the layout that is on disk", () => {
  const bytes = encodeCursor(record);
  const expected = [
    "0100 0100 00000000",
    "0300000000000000 6500000000000000 a001000001000000 1010000002000000 0068e5cf8b010000",
    "0000000001000000 0000000002000000 8000000000000000 0900000000000000",
    "6000000000000000 0200000000000000 1000000000000000 0300000000000000",
    "2000000000000000 0400000000000000 3000000000000000 0500000000000000",
    "6000000000000000 0010000000000000 0000000000000000 0700000000000000",
    "0500000000000000 6500000000000000 7000000000000000 7010000000000000 0168e5cf8b010000 08000000 00000000",
  ];
  assert.equal(bytes.toString("hex"), expected.join("").replaceAll(" ", ""));
  assert.deepEqual(decodeCursor(bytes), record);
  const full = { ...record, ranges: Array<typeof range>(CURSOR_RANGES_MAX).fill(range) };
  assert.equal(encodeCursor(full).length, CURSOR_BYTES_MAX);
});

test("decodeCursor refuses every proper prefix, other versions, unsafe numbers and accounts that do not add up", () => {
  const bytes = encodeCursor(record);
  for (let length = 0; length < bytes.length; length += 1) {
    assert.equal(decodeCursor(bytes.subarray(0, length)), undefined);
  }
  // Numbers that enter the balance, those that are counts of something else, and high bytes that leave 53 bits.
  for (const offset of [0, 2, 24, 32, 48, 56, 96, 168, 176 + 40, 15, 23, 47, 176 + 7]) {
    const damaged = Buffer.from(bytes);
    damaged[offset]! ^= 0x40;
    assert.equal(decodeCursor(damaged), undefined, `byte ${offset}`);
  }
});

test("encodeCursor stops on an account that does not add up, in messages or in bytes", () => {
  assert.throws(() => encodeCursor({ ...record, position: record.position + 1 }), /does not add up/);
  assert.throws(
    () => encodeCursor({ ...record, payloadOffset: record.payloadOffset - 1 }),
    /does not add up/,
  );
});

test("CursorFile gives back the newest value and survives the loss of either slot", async (t) => {
  const where = place(t);
  const file = new CursorFile(fileStorage, where);
  assert.equal(file.record, undefined);
  file.write(at(10));
  file.write(at(20));
  await file.sync();
  file.write(at(30));
  file.close();
  const whole = readFileSync(cursorPath(where));
  assert.equal(read(where)?.position, 30);
  const slotBytes = whole.length / 2;
  const newestIsFirst = whole.subarray(0, slotBytes).readUInt32LE(8) > whole.readUInt32LE(slotBytes + 8);
  const damageAt = newestIsFirst ? 0 : slotBytes;
  for (let offset = 0; offset < 16 + encodeCursor(at(30)).length; offset += 7) {
    const damaged = Buffer.from(whole);
    damaged[damageAt + offset]! ^= 1;
    writeFileSync(cursorPath(where), damaged);
    assert.equal(read(where)?.position, 20, `byte ${offset}`);
  }
});

test("CursorFile takes the slots of another stream for damaged ones, and writes over them", async (t) => {
  const own = place(t);
  const other = place(t);
  for (const [where, position] of [
    [own, 10],
    [other, 500],
  ] as const) {
    const file = new CursorFile(fileStorage, where);
    file.write(at(position));
    await file.sync();
    file.close();
  }
  const ownBytes = readFileSync(cursorPath(own));
  const otherBytes = readFileSync(cursorPath(other));
  const slotBytes = ownBytes.length / 2;
  // The file as it is made has both slots: either one alone is enough.
  for (const slots of [
    [ownBytes.subarray(0, slotBytes), otherBytes.subarray(slotBytes)],
    [otherBytes.subarray(0, slotBytes), ownBytes.subarray(slotBytes)],
  ]) {
    writeFileSync(cursorPath(own), Buffer.concat(slots));
    assert.equal(read(own)?.position, 10);
    assert.deepEqual(
      inspectCursor(fileStorage, own)
        .slots.map(({ state }) => state)
        .sort(),
      ["damaged", "whole"],
    );
  }
  copyFileSync(cursorPath(other), cursorPath(own));
  assert.equal(read(own), undefined);
  assert.equal(inspectCursor(fileStorage, own).record, undefined);
  assert.deepEqual(exportedEnd(fileStorage, own.streamDirectory), STREAM_START);
  const file = new CursorFile(fileStorage, own);
  file.write(at(11));
  file.close();
  assert.equal(read(own)?.position, 11);
  assert.equal(read(other)?.position, 500);
});

test("exportedEnd is the furthest cursor of the stream with its payload offset, the beginning without one", (t) => {
  const where = place(t);
  assert.deepEqual(exportedEnd(fileStorage, where.streamDirectory), STREAM_START);
  for (const [digit, position] of [
    ["a", 7],
    ["b", 31],
    ["c", 12],
  ] as const) {
    const file = new CursorFile(fileStorage, { ...where, exporterId: digit.repeat(32) });
    file.write(at(position));
    file.close();
  }
  mkdirSync(path.join(where.streamDirectory, "exporters", "other"));
  const end = { sequence: 31, payloadOffset: 310 };
  assert.deepEqual(exportedEnd(fileStorage, where.streamDirectory), end);
});

test("exportedEnd takes no configured start for something exported", (t) => {
  const where = place(t);
  const file = new CursorFile(fileStorage, where);
  file.write(newCursor(1000));
  file.close();
  assert.deepEqual(exportedEnd(fileStorage, where.streamDirectory), STREAM_START);
});
