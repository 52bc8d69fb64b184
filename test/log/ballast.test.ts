import assert from "node:assert/strict";
import { closeSync, openSync, statfsSync, statSync, unlinkSync, writeSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";

import { BALLAST_SLICE_BYTES } from "../../src/core/limits.ts";
import type { Timers } from "../../src/core/timers.ts";
import { Ballast, ballastPath, withBallast } from "../../src/log/ballast.ts";
import { readDurableFile, writeDurableFile } from "../../src/log/durable-file.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import { writeFully } from "../../src/log/segment-writer.ts";
import type { Storage } from "../../src/log/storage.ts";
import { type Faults, SimStorage } from "../support/sim-storage.ts";
import { systemError } from "../support/system-error.ts";
import { smallDisk, type SmallDisk } from "../support/small-disk.ts";
import { onSmallDisk } from "../support/test-disk.ts";

const STORE = "/store";
const SIZE_BYTES = 4 * BALLAST_SLICE_BYTES;

/** Timers that fire when they are told to, one at a time. */
class StepTimers implements Timers {
  #action: (() => void) | undefined;
  setTimer(action: () => void): () => void {
    this.#action = action;
    return () => (this.#action = undefined);
  }
  fire(): void {
    const action = this.#action;
    this.#action = undefined;
    action?.();
  }
}

interface Kept {
  readonly ballast: Ballast;
  readonly timers: StepTimers;
  readonly told: string[];
  /** Lets it work until it has nothing left to do. */
  readonly settle: () => void;
}

function keep(storage: Storage, storeDirectory: string, completeSyncs: () => void): Kept {
  const timers = new StepTimers();
  const told: string[] = [];
  const ballast = new Ballast({
    storage,
    storeDirectory,
    timers,
    sizeBytes: SIZE_BYTES,
    onGone: () => told.push("gone"),
    onMade: () => told.push("made"),
  });
  const settle = (): void => {
    for (let step = 0; step < 2 * (SIZE_BYTES / BALLAST_SLICE_BYTES); step++) {
      timers.fire();
      completeSyncs();
    }
  };
  return { ballast, timers, told, settle };
}

function setUp(
  capacityBytes: number,
  faults: Faults = new Map(),
): Kept & { sim: SimStorage; disk: SmallDisk } {
  const sim = new SimStorage({ faults });
  sim.makeDirectory(STORE);
  sim.syncDirectory("/");
  const disk = smallDisk(sim, capacityBytes);
  const kept = keep(disk, STORE, () => sim.completeSyncs());
  kept.ballast.start();
  return { ...kept, sim, disk };
}

/** Writes until nothing fits. */
function fill(storage: Storage, filePath: string): void {
  const file = storage.open(filePath, "create");
  const { error } = writeFully(file, [Buffer.alloc(4 * SIZE_BYTES, 1)], 0);
  file.close();
  assert.match(String(error), /ENOSPC/);
}

function names(storage: Storage): string[] {
  return storage
    .list(STORE)
    .map(({ name }) => name)
    .sort();
}

describe("Ballast", () => {
  it("is made of written zeros in small steps, and stands under its name only when its bytes are durable", () => {
    const { sim, timers, told, ballast } = setUp(8 * SIZE_BYTES);
    for (let step = 0; step <= SIZE_BYTES / BALLAST_SLICE_BYTES; step++) {
      assert.deepEqual(told, []);
      timers.fire();
    }
    assert.deepEqual(names(sim), ["ballast.tmp"]);
    assert.equal(ballast.sizeBytes, 0);
    sim.completeSyncs();
    assert.deepEqual(names(sim), ["ballast"]);
    assert.deepEqual(told, ["made"]);
    assert.equal(ballast.sizeBytes, SIZE_BYTES);
    assert.ok(sim.read(ballastPath(STORE)).equals(Buffer.alloc(SIZE_BYTES)));
    const lastOperation = sim.operations.length - 1;
    const pending = sim.pending(lastOperation).map(({ type }) => type);
    assert.deepEqual(pending, ["link", "rename"], "all but its name is durable: no thread waits for that");
  });

  it("is made only where there is room for it twice", () => {
    const { sim, disk, settle, told } = setUp(2 * SIZE_BYTES - 1);
    settle();
    assert.deepEqual(names(sim), []);
    disk.capacityBytes += 1;
    settle();
    assert.deepEqual(told, ["made"]);
  });

  it("is begun anew after an end in the middle, and after any error", () => {
    const faults = new Map([
      ["write@5", { code: "EIO" }],
      ["sync@1", { code: "EIO" }],
      ["rename@1", { code: "EIO" }],
    ]);
    const { sim, settle, told, ballast } = setUp(8 * SIZE_BYTES, faults);
    for (let round = 0; round < 5; round++) settle();
    assert.equal(sim.faultCount, 3);
    assert.deepEqual(told, ["made"]);
    ballast.close();

    const other = setUp(8 * SIZE_BYTES);
    other.timers.fire();
    other.timers.fire();
    // The process ends here. The next one finds the half of it.
    const next = keep(other.disk, STORE, () => other.sim.completeSyncs());
    next.ballast.start();
    next.settle();
    assert.deepEqual(next.told, ["made"]);
    assert.deepEqual(names(other.sim), ["ballast"]);
  });

  it("is given up for a small file on a full disk, and made again when there is room", () => {
    const { sim, disk, settle, told, ballast } = setUp(3 * SIZE_BYTES);
    settle();
    const storage = withBallast(disk, STORE);
    fill(disk, `${STORE}/other`);
    writeDurableFile(storage, `${STORE}/definition`, Buffer.from("kept"));
    assert.equal(readDurableFile(storage, `${STORE}/definition`).toString(), "kept");
    assert.deepEqual(names(sim), ["definition", "other"]);
    settle();
    assert.deepEqual(told, ["made", "gone"]);
    assert.equal(ballast.sizeBytes, 0);
    disk.unlink(`${STORE}/other`);
    settle();
    assert.deepEqual(told, ["made", "gone", "made"]);
  });
});

describe("withBallast", () => {
  it("does not give the ballast up for messages, nor for what recovery keeps of them", () => {
    const { sim, disk, settle } = setUp(3 * SIZE_BYTES);
    settle();
    const storage = withBallast(disk, STORE);
    sim.makeDirectory(`${STORE}/quarantine`);
    for (const name of ["1-0000.lz4", "1-0001.lz4.tmp", "quarantine/tail"]) {
      fill(storage, `${STORE}/${name}`);
      storage.unlink(`${STORE}/${name}`);
    }
    assert.ok(names(sim).includes("ballast"));
  });

  it("tells the error where there is no ballast", () => {
    const { disk } = setUp(1024);
    const storage = withBallast(disk, STORE);
    fill(disk, `${STORE}/other`);
    assert.throws(() => writeDurableFile(storage, `${STORE}/definition`, Buffer.from("x")), /ENOSPC/);
  });

  it("makes room when a sync fails for want of it, and never repeats the sync", () => {
    const faults = new Map([["sync@2", { code: "ENOSPC" }]]);
    const { sim, disk, settle } = setUp(8 * SIZE_BYTES, faults);
    settle();
    const storage = withBallast(disk, STORE);
    assert.throws(() => writeDurableFile(storage, `${STORE}/definition`, Buffer.from("x")), /ENOSPC/);
    assert.equal(sim.count("sync"), 2);
    assert.ok(!names(sim).includes("ballast"));
  });

  it("makes room for whatever call needs it", () => {
    for (const kind of ["open", "makeDirectory", "rename"] as const) {
      const { sim, disk, settle } = setUp(8 * SIZE_BYTES);
      settle();
      let left = 1;
      const failOnce = (): void => {
        if (left-- > 0) throw systemError("ENOSPC", kind);
      };
      const scarce: Storage = {
        list: (directory) => disk.list(directory),
        syncDirectory: (directory) => disk.syncDirectory(directory),
        unlink: (filePath) => disk.unlink(filePath),
        removeDirectory: (directory) => disk.removeDirectory(directory),
        identify: (place) => disk.identify(place),
        freeBytes: () => disk.freeBytes(),
        open: (filePath, mode) => {
          if (kind === "open") failOnce();
          return disk.open(filePath, mode);
        },
        makeDirectory: (directory) => {
          if (kind === "makeDirectory") failOnce();
          disk.makeDirectory(directory);
        },
        rename: (source, target) => {
          if (kind === "rename") failOnce();
          disk.rename(source, target);
        },
      };
      const storage = withBallast(scarce, STORE);
      storage.makeDirectory(`${STORE}/streams`);
      writeDurableFile(storage, `${STORE}/streams/definition`, Buffer.from("x"));
      assert.equal(readDurableFile(storage, `${STORE}/streams/definition`).toString(), "x", kind);
      assert.deepEqual(names(sim), ["streams"], kind);
    }
  });

  it("keeps a definition writable on a real full disk (needs root)", async (t) => {
    await onSmallDisk(t, 3 * SIZE_BYTES, async (store) => {
      const timers = new StepTimers();
      let told: () => void = () => undefined;
      const made = new Promise<void>((resolve) => (told = resolve));
      const gone: string[] = [];
      const ballast = new Ballast({
        storage: fileStorage,
        storeDirectory: store,
        timers,
        sizeBytes: SIZE_BYTES,
        onMade: () => told(),
        onGone: () => gone.push("gone"),
      });
      ballast.start();
      for (let step = 0; step <= SIZE_BYTES / BALLAST_SLICE_BYTES; step++) timers.fire();
      await made;
      assert.equal(statSync(ballastPath(store)).blocks * 512, SIZE_BYTES);

      const descriptor = openSync(path.join(store, "other"), "wx");
      const chunk = Buffer.alloc(65_536, 1);
      assert.throws(() => {
        for (;;) writeSync(descriptor, chunk);
      }, /ENOSPC/);
      closeSync(descriptor);
      assert.throws(
        () => writeDurableFile(fileStorage, path.join(store, "plain"), Buffer.from("x")),
        /ENOSPC/,
      );
      const definition = path.join(store, "definition");
      writeDurableFile(withBallast(fileStorage, store), definition, Buffer.from("kept"));
      assert.equal(readDurableFile(fileStorage, definition).toString(), "kept");
      timers.fire();
      assert.deepEqual(gone, ["gone"]);
      unlinkSync(path.join(store, "other"));
      const { bavail, bsize } = statfsSync(store);
      assert.ok(bavail * bsize >= 2 * SIZE_BYTES);
      const madeAgain = new Promise<void>((resolve) => (told = resolve));
      for (let step = 0; step <= 1 + SIZE_BYTES / BALLAST_SLICE_BYTES; step++) timers.fire();
      await madeAgain;
      assert.equal(ballast.sizeBytes, SIZE_BYTES);
    });
  });
});
