import assert from "node:assert/strict";
import { closeSync, existsSync, openSync, writeFileSync, writeSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { CursorFile } from "../../src/export/cursor-file.ts";
import { newCursor } from "../../src/export/cursor-layout.ts";
import { ballastPath, withBallast } from "../../src/log/ballast.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import { onSmallDisk } from "../support/test-disk.ts";

const BALLAST_BYTES = 64 * 1024;
const DISK_BYTES = 1024 * 1024;

function fill(filePath: string): void {
  const descriptor = openSync(filePath, "wx");
  const chunk = Buffer.alloc(4096, 1);
  assert.throws(() => {
    for (;;) writeSync(descriptor, chunk);
  }, /ENOSPC/);
  closeSync(descriptor);
}

test("a cursor is saved on a real full disk: a new one by the ballast, a later one in its own slots (needs root)", async (t) => {
  await onSmallDisk(t, DISK_BYTES, async (store) => {
    const streamDirectory = path.join(store, "s");
    fileStorage.makeDirectory(streamDirectory);
    writeFileSync(ballastPath(store), Buffer.alloc(BALLAST_BYTES));
    fill(path.join(store, "other"));
    const place = { streamDirectory, exporterId: "ab".repeat(16) };
    const plain = new CursorFile(fileStorage, place);
    assert.throws(() => plain.write(newCursor(0)), /ENOSPC/);
    plain.close();

    const file = new CursorFile(withBallast(fileStorage, store), place);
    file.write({ ...newCursor(0), revision: 1 });
    assert.ok(!existsSync(ballastPath(store)), "the ballast was given up for it");
    fill(path.join(store, "another"));
    for (let revision = 2; revision < 6; revision += 1) {
      file.write({ ...newCursor(0), revision });
      await file.sync();
    }
    file.close();
    const again = new CursorFile(fileStorage, place);
    again.close();
    assert.equal(again.record?.revision, 5);
  });
});
