import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import {
  COMMIT_ALIGN_BYTES_DEFAULT,
  BLOCK_TARGET_BYTES,
  SYNC_BYTES_DEFAULT,
  SYNC_INTERVAL_MS_DEFAULT,
} from "../../src/core/limits.ts";
import { changesToJson } from "../../src/cli/store/change-text.ts";
import { exportedEnd } from "../../src/export/cursor-file.ts";
import { LossReason } from "../../src/core/stream-ledger.ts";
import { LedgerFile } from "../../src/log/ledger-file.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import { OverlayStorage } from "../../src/log/overlay-storage.ts";
import type { Storage } from "../../src/log/storage.ts";
import { repairStore, type StoreRepair, type StreamRepair } from "../../src/stream/store-repair.ts";
import { ManualClock, SeededRandom } from "../support/deterministic.ts";
import { flipBit, makeStore, type StoreFixture } from "../support/store-fixture.ts";

function repair(storeDirectory: string, storage: Storage = fileStorage): StoreRepair {
  const walk = repairStore({
    storage,
    storeDirectory,
    version: "0.0.0",
    clock: new ManualClock(),
    random: new SeededRandom(4),
    settings: {
      storeDirectory,
      blockBytes: BLOCK_TARGET_BYTES,
      syncIntervalMs: SYNC_INTERVAL_MS_DEFAULT,
      syncBytes: SYNC_BYTES_DEFAULT,
      commitAlignBytes: COMMIT_ALIGN_BYTES_DEFAULT,
      diskFreeMinBytes: 0,
      memoryStreamBytesMax: 2 ** 30,
    },
    exportedEnd,
  });
  let step = walk.next();
  while (step.done !== true) step = walk.next();
  return step.value;
}

function tryOut(storeDirectory: string): { result: StoreRepair; overlay: OverlayStorage } {
  const overlay = new OverlayStorage({ base: fileStorage, root: storeDirectory });
  return { result: repair(storeDirectory, overlay), overlay };
}

/** Everything about a directory that a change would show in: names, kinds, modes, times, bytes. */
function stateOf(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .concat(".")
    .sort()
    .map((name) => {
      const place = path.join(directory, name);
      const { mode, ino, size, mtimeMs, ctimeMs, nlink } = lstatSync(place);
      const isFile = lstatSync(place).isFile();
      const hash = isFile ? createHash("sha256").update(readFileSync(place)).digest("hex") : "";
      return [name, mode, ino, isFile ? size : 0, mtimeMs, ctimeMs, nlink, hash].join(" ");
    });
}

/** Names and bytes alone, as `storage` shows them. */
function contentsOf(storage: Storage, directory: string, below = ""): string[] {
  return storage
    .list(path.join(directory, below))
    .flatMap(({ name, kind }) => {
      const place = path.join(below, name);
      if (kind === "directory") return [`${place}/`, ...contentsOf(storage, directory, place)];
      if (kind === "other") return [`${place}@`];
      const file = storage.open(path.join(directory, place), "read");
      const bytes = Buffer.alloc(file.sizeBytes());
      file.read(bytes, 0);
      file.close();
      return [`${place} ${createHash("sha256").update(bytes).digest("hex")}`];
    })
    .sort();
}

function segmentsOf({ streams }: StoreFixture, index: number): string[] {
  const { directory } = streams[index]!;
  const names = readdirSync(directory).filter((name) => name.endsWith(".lz4"));
  return names.sort().map((name) => path.join(directory, name));
}

/** What a crash, a bad disk and a curious person leave behind. */
function damage(store: StoreFixture): void {
  const { storeDirectory, streams } = store;
  const first = segmentsOf(store, 0);
  appendFileSync(first.at(-1)!, Buffer.alloc(700, 7));
  rmSync(first[1]!);
  truncateSync(first[3]!, 5000);
  flipBit(first[0]!, 4200);
  symlinkSync("/etc/hostname", path.join(streams[0]!.directory, "00000000000000000001-0000.lz4"));
  const second = segmentsOf(store, 1);
  // A segment that was being made, and a rewrite that was cut short.
  writeFileSync(path.join(streams[1]!.directory, "00000000000000000060-0000.lz4"), "", { mode: 0o600 });
  writeFileSync(`${second[0]!.replace("-0000", "-0001")}.tmp`, "half", { mode: 0o600 });
  mkdirSync(path.join(storeDirectory, "streams", "1".repeat(32)));
  mkdirSync(path.join(storeDirectory, "streams", `${"2".repeat(32)}.deleted`));
  writeFileSync(path.join(storeDirectory, "streams", `${"2".repeat(32)}.deleted`, "file"), "x");
  flipBit(path.join(storeDirectory, "epoch"), 17);
}

/** What is independent of when it was done. */
function shown({ streams, leftAlone, changes, epoch }: StoreRepair, storeDirectory: string): object {
  return {
    epoch,
    changes: changesToJson(changes, storeDirectory),
    leftAlone,
    streams: streams.map(({ changes: own, ...stream }) => ({
      ...stream,
      changes: changesToJson(own, storeDirectory),
    })),
  };
}

describe("repairStore", () => {
  it("says on an overlay what it then does, and changes nothing there: no byte, no time", async (t) => {
    const store = await makeStore(t);
    const { storeDirectory } = store;
    damage(store);
    const before = stateOf(storeDirectory);
    const { result, overlay } = tryOut(storeDirectory);
    assert.deepEqual(stateOf(storeDirectory), before);
    const done = repair(storeDirectory);
    assert.deepEqual(shown(result, storeDirectory), shown(done, storeDirectory));
    assert.deepEqual(contentsOf(overlay, storeDirectory), contentsOf(fileStorage, storeDirectory));
    assert.notDeepEqual(stateOf(storeDirectory), before);
  });

  it("cuts what is torn, finishes what was cut short, and says what is lost", async (t) => {
    const store = await makeStore(t);
    const { storeDirectory } = store;
    damage(store);
    const tornBytes = lstatSync(segmentsOf(store, 0).at(-1)!).size;
    const { streams, leftAlone, epoch } = repair(storeDirectory);
    assert.deepEqual(leftAlone, []);
    assert.equal(epoch, 2 ** 31);
    const [first, memory, second] = streams as [StreamRepair, StreamRepair, StreamRepair];
    assert.deepEqual([first.name, memory.name, second.name], ["first", "memory", "second"]);
    assert.ok(first.notes.includes("cut a torn tail of 700 bytes"), first.notes.join());
    assert.equal(first.notes.filter((note) => note.startsWith("misses messages ")).length, 1);
    // The account is what it is after the start of an engine.
    const ledger = new LedgerFile(fileStorage, store.streams[0]!.directory).read();
    assert.ok(typeof ledger === "object");
    const { damage: ranges, drops } = ledger.snapshot;
    assert.deepEqual(
      [...drops, ...ranges].map(({ reason }) => reason),
      [LossReason.Missing],
    );
    const cut = first.changes.find(({ kind }) => kind === "cut");
    assert.deepEqual(cut?.kind === "cut" && [cut.fromBytes, cut.toBytes], [tornBytes, tornBytes - 700]);
    assert.deepEqual([second.notes, second.nextSequence], [[], 60]);
    assert.equal(second.changes.filter(({ kind }) => kind === "removed").length, 2);
    const again = repair(storeDirectory);
    assert.ok(!again.streams[0]?.notes.some((note) => note.includes("torn")));
    assert.deepEqual(
      again.changes.map(({ kind }) => kind),
      ["created", "written", "renamed"],
    );
    assert.equal(again.epoch, epoch + 1);
  });

  it("leaves a sound store sound, and a stream that it cannot read as it is", async (t) => {
    const store = await makeStore(t);
    const { storeDirectory, streams } = store;
    flipBit(path.join(streams[1]!.directory, "definition"), 40);
    const before = stateOf(streams[1]!.directory);
    const { streams: repaired, leftAlone } = repair(storeDirectory);
    assert.deepEqual(
      repaired.map(({ name, notes, failure }) => [name, notes, failure]),
      [
        ["first", [], undefined],
        ["memory", [], undefined],
      ],
    );
    assert.deepEqual(
      leftAlone.map(({ directory, cause }) => [directory, cause]),
      [[streams[1]!.directory, "definition"]],
    );
    assert.deepEqual(stateOf(streams[1]!.directory), before);
  });

  it("reports a stream whose storage fails, and goes on with the others", async (t) => {
    const store = await makeStore(t);
    const { storeDirectory, streams } = store;
    const [{ directory }] = streams as [(typeof streams)[0]];
    const failing: Storage = {
      ...fileStorage,
      syncDirectory: (place) => {
        if (place === directory) throw Object.assign(new Error("EIO: fsync"), { code: "EIO" });
        fileStorage.syncDirectory(place);
      },
    };
    const { streams: repaired } = repair(storeDirectory, failing);
    assert.match(repaired[0]?.failure ?? "", /EIO/);
    assert.deepEqual([repaired[2]?.name, repaired[2]?.failure], ["second", undefined]);
  });
});
