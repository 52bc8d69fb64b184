import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { CursorFile, exportedEndSequence, otherSlot } from "../../src/export/cursor-file.ts";
import {
  CURSOR_SIZE_BYTES,
  decodeCursor,
  encodeCursor,
  LossReason,
  newCursor,
  type CursorRecord,
} from "../../src/export/cursor-layout.ts";
import { fileStorage } from "../../src/log/file-storage.ts";

const record: CursorRecord = {
  startSequence: 5,
  position: 0x1_0000_0105,
  exportedMessages: 0x1_0000_0000,
  exportedBytes: Number.MAX_SAFE_INTEGER,
  setAsideMessages: 0x80,
  setAsideBytes: 9,
  overwrittenMessages: 0x60,
  corruptMessages: 0x20,
  lastAcceptedTimeMs: 1_700_000_000_000,
  ranges: [{ from: 5, to: 0x65, reason: LossReason.Overwritten, timeMs: 1_700_000_000_001 }],
};

function at(position: number): CursorRecord {
  return { ...newCursor(0), position, exportedMessages: position };
}

function place(t: TestContext): { streamDirectory: string; exporterId: string } {
  const streamDirectory = mkdtempSync(path.join(tmpdir(), "millrace-cursor-"));
  t.after(() => rmSync(streamDirectory, { recursive: true, force: true }));
  return { streamDirectory, exporterId: "ab" };
}

test("encodeCursor writes the layout that is on disk already", () => {
  const bytes = encodeCursor(record);
  assert.equal(bytes.length, CURSOR_SIZE_BYTES);
  assert.equal(
    bytes.subarray(0, 112).toString("hex"),
    "01000100000000000500000000000000050100000100000000000000010000" +
      "00ffffffffffff1f00800000000000000009000000000000006000000000000000200000000000000000" +
      "68e5cf8b01000005000000000000006500000000000000" +
      "0168e5cf8b0100000200000000000000",
  );
  assert.deepEqual(decodeCursor(bytes), record);
});

test("decodeCursor refuses every proper prefix, other versions and accounts that do not add up", () => {
  const bytes = encodeCursor(record);
  for (let length = 0; length < bytes.length; length += 1) {
    assert.equal(decodeCursor(bytes.subarray(0, length)), undefined);
  }
  for (const offset of [0, 1, 2, 8, 16, 24, 56, 80 + 24]) {
    const damaged = Buffer.from(bytes);
    damaged[offset]! ^= 0x40;
    assert.equal(decodeCursor(damaged), undefined, `byte ${offset}`);
  }
});

test("encodeCursor stops on an account that does not add up", () => {
  assert.throws(() => encodeCursor({ ...record, exportedMessages: 1 }), /accounts for/);
});

test("CursorFile gives back the newest value and survives the loss of either slot", (t) => {
  const where = place(t);
  const file = new CursorFile(fileStorage, where);
  assert.equal(file.record, undefined);
  file.write(at(10), 0);
  file.write(at(20), 1);
  file.close();
  const filePath = path.join(where.streamDirectory, "exporters", "ab.cursor");
  const whole = readFileSync(filePath);
  const reopen = (): CursorFile => {
    const again = new CursorFile(fileStorage, where);
    again.close();
    return again;
  };
  assert.equal(reopen().record?.position, 20);
  assert.equal(reopen().slot, 1);
  for (let offset = 0; offset < whole.length; offset += 97) {
    const damaged = Buffer.from(whole);
    damaged[offset]! ^= 1;
    writeFileSync(filePath, damaged);
    assert.equal(reopen().record?.position, offset < 4096 ? 20 : 10, `byte ${offset}`);
  }
  for (let length = 0; length < whole.length; length += 411) {
    writeFileSync(filePath, whole.subarray(0, length));
    assert.equal(reopen().record?.position, length < 4096 ? undefined : 10, `${length} bytes`);
  }
});

test("CursorFile counts on from the newest slot, so that an older value never comes back", (t) => {
  const where = place(t);
  let slot: 0 | 1 = 0;
  for (let position = 1; position <= 5; position += 1) {
    const file = new CursorFile(fileStorage, where);
    file.write(at(position), slot);
    file.close();
    slot = otherSlot(slot);
  }
  const file = new CursorFile(fileStorage, where);
  file.close();
  assert.equal(file.record?.position, 5);
});

test("exportedEndSequence is the furthest cursor of the stream, 0 without one", (t) => {
  const where = place(t);
  assert.equal(exportedEndSequence(fileStorage, where.streamDirectory), 0);
  for (const [exporterId, position] of [
    ["aa", 7],
    ["bb", 31],
    ["cc", 12],
  ] as const) {
    const file = new CursorFile(fileStorage, { ...where, exporterId });
    file.write(at(position), 0);
    file.close();
  }
  mkdirSync(path.join(where.streamDirectory, "exporters", "other"));
  assert.equal(exportedEndSequence(fileStorage, where.streamDirectory), 31);
});

test("exportedEndSequence takes no configured start for something exported", (t) => {
  const where = place(t);
  const file = new CursorFile(fileStorage, { ...where, exporterId: "aa" });
  file.write(newCursor(1000), 0);
  file.close();
  assert.equal(exportedEndSequence(fileStorage, where.streamDirectory), 0);
});
