import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { crc32 } from "node:zlib";

import { SlotFile } from "../../src/log/slot-file.ts";
import type { Storage } from "../../src/log/storage.ts";
import { SeededRandom } from "../support/deterministic.ts";
import type { SimStorage } from "../support/sim-storage.ts";
import { crashStates } from "../support/sim-storage.ts";
import { newStorage } from "../support/log-fixture.ts";

const PATH = "/store/file";
const CONTENT_BYTES_MAX = 5000;

function open(storage: SimStorage, syncedSlot?: 0 | 1): SlotFile {
  return new SlotFile(storage, { path: PATH, contentBytesMax: CONTENT_BYTES_MAX, syncedSlot });
}

/** The n-th content; its length differs from its neighbours', over one unit of the medium and under. */
function content(n: number): Buffer {
  return Buffer.from(`${n} `.padEnd(3 + ((n * 1777) % (CONTENT_BYTES_MAX - 3)), "abcdefg"));
}

function numberOf(found: Buffer | undefined): number {
  if (found === undefined) return 0;
  const n = Number.parseInt(found.toString("latin1"), 10);
  assert.deepEqual(found, content(n));
  return n;
}

function read(storage: SimStorage): number {
  const file = open(storage);
  file.close();
  return numberOf(file.content);
}

/** What could be found after a crash behind each operation: content `durable` or a later one up to `written`. */
interface Bounds {
  readonly durable: number;
  readonly written: number;
}

/** Writes and syncs at random, and notes after each call what was promised by it. */
class Run {
  readonly storage: SimStorage;
  readonly bounds: Bounds[] = [];
  readonly outcomes = { written: 0, failed: 0 };
  readonly #random: SeededRandom;
  #file: SlotFile;
  #durable: number;
  /** The last one that was tried, and the last that was taken. */
  #written: number;
  #taken: number;

  constructor(storage: SimStorage, seed: number) {
    this.storage = storage;
    this.#random = new SeededRandom(seed);
    this.#file = open(storage);
    this.#durable = numberOf(this.#file.content);
    this.#written = this.#durable;
    this.#taken = this.#durable;
  }

  steps(count: number): this {
    for (let step = 0; step < count; step++) {
      const dice = this.#random.fraction();
      if (dice < 0.6) this.#write();
      else if (dice < 0.9) this.#call(() => this.#file.syncNow(), this.#taken);
      else this.#handOn();
      assert.equal(this.storage.openFiles, this.#file.content === undefined ? 0 : 1);
    }
    return this;
  }

  #write(): void {
    const n = this.#written + 1;
    const before = this.storage.operations.length;
    this.#written = n;
    const isTaken = this.#call(() => this.#file.write(content(n)), this.#durable);
    if (isTaken) this.#taken = n;
    // Whoever may be told of the content only after it was written.
    for (let at = before; at < this.storage.operations.length; at++) {
      this.bounds[at] = { ...this.bounds[at]!, written: n };
    }
  }

  #call(call: () => void, durableThen: number): boolean {
    let isDone = false;
    try {
      call();
      isDone = true;
      this.outcomes.written += 1;
      this.#durable = Math.max(this.#durable, durableThen);
    } catch (error) {
      assert.ok(error instanceof Error && "code" in error, String(error));
      this.outcomes.failed += 1;
    }
    const at = this.storage.operations.length;
    while (this.bounds.length < at - 1) this.bounds.push(this.#before());
    this.storage.mark("told");
    this.bounds.push(this.#before());
    this.bounds.push({ durable: this.#durable, written: this.#written });
    return isDone;
  }

  #before(): Bounds {
    return { durable: this.bounds.at(-1)?.durable ?? 0, written: this.#written };
  }

  /** The file goes to another holder, who knows what this one knew. */
  #handOn(): void {
    const { syncedSlot } = this.#file;
    this.#file.close();
    this.#file = open(this.storage, syncedSlot);
  }
}

const crash = { random: () => 0.5, randomSubsets: 2, garbleBytes: 4096 };

/** Every crash behind every operation of a run finds a content that it may. @returns the states that were tried */
function expectWithin(run: Run, from = 2): number {
  let states = 0;
  for (let operation = from; operation < run.storage.operations.length; operation++) {
    const { durable, written } = run.bounds[operation]!;
    for (const state of crashStates(run.storage, operation, crash)) {
      const found = read(state.storage);
      const isFine = found >= durable && found <= written;
      assert.ok(isFine, `operation ${operation}, ${state.label}: ${found} of ${durable} to ${written}`);
      states += 1;
    }
  }
  return states;
}

describe("SlotFile", () => {
  it("does not count a slot whose counter no writer comes to", () => {
    for (const counter of [0n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 64n - 1n]) {
      const storage = newStorage();
      const slot = Buffer.alloc(20);
      slot.writeUInt32LE(4, 4);
      slot.writeBigUInt64LE(counter, 8);
      slot.writeUInt32LE(crc32(slot.subarray(4)), 0);
      storage.put(PATH, slot);
      const file = open(storage);
      assert.equal(file.isDamaged, true, `counter ${counter}`);
      file.write(content(1));
      file.close();
      assert.equal(read(storage), 1);
    }
  });

  it("gives back the newest content, and the one before it when either slot is damaged anywhere", () => {
    const storage = newStorage();
    const file = open(storage);
    assert.equal(file.content, undefined);
    file.write(content(1));
    file.write(content(2));
    file.close();
    assert.equal(read(storage), 2);
    const slotBytes = storage.read(PATH).length / 2;
    const used = [content(1).length, content(2).length];
    for (const slot of [0, 1] as const) {
      for (let at = 0; at < 16 + Math.max(...used); at += 7) {
        const copy = storage.copy();
        copy.flip(PATH, slot * slotBytes + at, 1 << (at & 7));
        assert.ok([1, 2].includes(read(copy)), `slot ${slot}, byte ${at}`);
      }
    }
    const damaged = storage.copy();
    damaged.flip(PATH, 20);
    damaged.flip(PATH, slotBytes + 20);
    assert.equal(open(damaged).isDamaged, true);
    assert.equal(open(newStorage()).isDamaged, false);
  });

  it("holds the old content or the new one, and what was synced, after a crash anywhere", () => {
    let states = 0;
    for (let seed = 1; seed <= 6; seed++) states += expectWithin(new Run(newStorage(), seed).steps(12));
    assert.ok(states > 2000, `only ${states} states`);
  });

  it("does so when a killed process left what the kernel shows and the medium has not", () => {
    let states = 0;
    for (let seed = 1; seed <= 12; seed++) {
      const first = new Run(newStorage({ "sync@3": { code: "EIO" }, "open@2": { code: "EIO" } }), seed).steps(
        10,
      );
      const at = 2 + ((seed * 7) % (first.storage.operations.length - 2));
      const second = new Run(first.storage.killedAt(at), seed + 100);
      // Nothing of what the first one left is promised by anybody until the second has written.
      states += expectWithin(second.steps(4), 0);
    }
    assert.ok(states > 500, `only ${states} states`);
  });

  it("does so when any one call fails, once or from then on", () => {
    let failed = 0;
    for (const kind of ["open", "write", "sync", "rename", "unlink", "syncDirectory"]) {
      for (let at = 1; at <= 4; at++) {
        for (const suffix of ["", "+"]) {
          for (const fault of [{ code: "EIO" }, { code: "ENOSPC" }, { code: "EIO", writtenBytes: 90 }]) {
            const isOther = kind !== "write" && "writtenBytes" in fault;
            if (isOther || (kind === "syncDirectory" && at === 1)) continue;
            const run = new Run(newStorage({ [`${kind}@${at}${suffix}`]: fault }), at).steps(6);
            failed += run.outcomes.failed;
            expectWithin(run);
          }
        }
      }
    }
    assert.ok(failed > 60, `only ${failed} calls failed`);
  });

  it("never syncs a file again whose sync has failed", () => {
    const storage = newStorage({ "sync@2": { code: "EIO" } });
    const file = open(storage);
    file.write(content(1));
    file.write(content(2));
    file.syncNow();
    const calls = storage.operations.map(({ kind, note }) => `${kind} ${String(note)}`);
    // The file keeps the name that it was made under: each of the two was synced once.
    assert.equal(calls.filter((call) => call === "sync file.tmp").length, 3);
    assert.equal(calls.filter((call) => call === "rename /store/file.tmp -> /store/file").length, 2);
    const last = storage.operations.length - 1;
    for (const state of crashStates(storage, last, crash)) assert.equal(read(state.storage), 2);
  });

  it("is written without any room on the medium, by its maker and by the next process", () => {
    const storage = newStorage({});
    open(storage).write(content(1));
    for (const before of [storage, storage.killedAt(storage.operations.length - 1)]) {
      // Whatever makes a file or lengthens one fails.
      const isFull = (): never => {
        throw Object.assign(new Error("ENOSPC: write"), { code: "ENOSPC" });
      };
      const scarce: Storage = {
        open: (path, mode) => (mode === "create" ? isFull() : before.open(path, mode)),
        list: (directory) => before.list(directory),
        makeDirectory: isFull,
        syncDirectory: (directory) => before.syncDirectory(directory),
        rename: (source, target) => before.rename(source, target),
        unlink: (path) => before.unlink(path),
        removeDirectory: (directory) => before.removeDirectory(directory),
        identify: (path) => before.identify(path),
        freeBytes: () => 0,
      };
      const sizeBytes = before.read(PATH).length;
      const file = new SlotFile(scarce, { path: PATH, contentBytesMax: CONTENT_BYTES_MAX });
      for (const n of [2, 3, 4]) {
        file.write(content(n));
        file.syncNow();
        assert.equal(read(before), n);
      }
      assert.equal(before.read(PATH).length, sizeBytes);
      for (const state of crashStates(before, before.operations.length - 1, crash)) {
        assert.equal(read(state.storage), 4);
      }
    }
  });
});
