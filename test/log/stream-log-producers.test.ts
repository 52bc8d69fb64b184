import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { MillraceError, SequenceGapError } from "../../src/core/errors.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { BlockBuilder } from "../../src/log/block-builder.ts";
import { producersPath } from "../../src/log/producers-file.ts";
import { SharedMemoryStorage } from "../../src/log/shared-memory-storage.ts";
import type { Storage } from "../../src/log/storage.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import type { StreamLogOptions } from "../../src/log/stream-log-options.ts";
import { ManualClock } from "../support/deterministic.ts";
import { KeptMemory } from "../support/kept-memory.ts";
import {
  addBatch,
  blockOf,
  costOf,
  logOptions,
  newStorage,
  segmentNames,
  smallPolicy,
  STREAM_DIRECTORY,
} from "../support/log-fixture.ts";
import { patchStorage } from "../support/patch-storage.ts";
import type { SimStorage } from "../support/sim-storage.ts";
import { type Fault } from "../support/sim-storage.ts";
import { systemError } from "../support/system-error.ts";

const FILE = producersPath(STREAM_DIRECTORY);
const FILLER = "x".repeat(700);
const overwriting = {
  ...smallPolicy,
  maxSize: 9000,
  segmentSize: 3000,
  strategyOnFull: StrategyOnFull.OverwriteOldestData,
};

function create(storage: Storage, options: Partial<StreamLogOptions> = {}): StreamLog {
  return StreamLog.create(logOptions(storage, options));
}

function open(storage: Storage, options: Partial<StreamLogOptions> = {}) {
  return StreamLog.open(logOptions(storage, { epoch: 2, ...options }));
}

/** Incompressible, so that segments fill. */
function payload(id: number, sequence: number): string {
  let text = "";
  for (let at = 0; text.length < FILLER.length; at++)
    text += Math.imul(sequence * 31 + id, at + 7919).toString(36);
  return `${id}:${sequence} ${text.slice(0, FILLER.length)}`;
}

/** One batch of two messages, in a block of its own. */
function append(log: StreamLog, id: number, sequence: number): number {
  assert.equal(log.findBatch({ id, sequence }, 2), undefined, `batch ${sequence} of producer ${id}`);
  const builder = new BlockBuilder(4096);
  addBatch(builder, [payload(id, sequence), "second"], { producer: { id, sequence } });
  log.admit(costOf(builder));
  return log.append(builder);
}

function hasFile(storage: SimStorage): boolean {
  return storage.list(STREAM_DIRECTORY).some(({ name }) => name === "producers");
}

function sync(log: StreamLog, storage: SimStorage): void {
  log.sync((error) => assert.equal(error, undefined));
  storage.completeSyncs();
}

/** What the log says of batch `sequence`: where it stands, or "new", or the number that it expects. */
function ask(log: StreamLog, id: number, sequence: number): number | string {
  try {
    return log.findBatch({ id, sequence }, 2) ?? "new";
  } catch (error) {
    if (error instanceof SequenceGapError) return `expects ${error.expectedSequence}`;
    throw error;
  }
}

describe("StreamLog with producers that name themselves", () => {
  it("knows its batches after a start, from block headers alone and from the file of complete segments", () => {
    const storage = newStorage();
    const log = create(storage);
    for (let sequence = 0; sequence < 3; sequence++) append(log, 7, sequence);
    assert.equal(storage.list(STREAM_DIRECTORY).length, 1);
    const early = storage.copy();
    for (let sequence = 3; sequence < 20; sequence++) append(log, 7, sequence);
    append(log, 8, 0);
    assert.ok(hasFile(storage));
    assert.equal(ask(open(early).log, 7, 2), 4);
    for (const started of [open(storage.copy()).log, log]) {
      for (let sequence = 0; sequence < 20; sequence++) assert.equal(ask(started, 7, sequence), 2 * sequence);
      assert.equal(ask(started, 7, 20), "new");
      assert.equal(ask(started, 7, 21), "expects 20");
      assert.equal(ask(started, 8, 0), 40);
      assert.equal(ask(started, 9, 1), "expects 0");
    }
  });

  it("knows them without the file, and when it is damaged, which it says", () => {
    const storage = newStorage();
    const log = create(storage);
    for (let sequence = 0; sequence < 20; sequence++) append(log, 7, sequence);
    const without = storage.copy();
    without.unlink(FILE);
    const damaged = storage.copy();
    damaged.flip(FILE, 40);
    for (const [copy, isDamaged] of [
      [without, false],
      [damaged, true],
    ] as const) {
      const { log: opened, recovery } = open(copy);
      assert.equal(recovery.isProducersFileDamaged, isDamaged);
      for (let sequence = 0; sequence < 20; sequence++) assert.equal(ask(opened, 7, sequence), 2 * sequence);
    }
  });

  it("takes the file of another stream for a damaged one", () => {
    const storage = newStorage();
    const log = create(storage);
    for (let sequence = 0; sequence < 20; sequence++) append(log, 7, sequence);
    const elsewhere = newStorage();
    const directory = `${STREAM_DIRECTORY}-other`;
    const other = create(elsewhere, { directory });
    for (let sequence = 0; sequence < 40; sequence++) append(other, 7, sequence);
    for (let sequence = 0; sequence < 20; sequence++) append(other, 8, sequence);
    storage.put(FILE, elsewhere.read(producersPath(directory)));
    const { log: opened, recovery } = open(storage.copy());
    assert.ok(recovery.isProducersFileDamaged);
    assert.equal(opened.nextSequence, 40);
    for (let sequence = 0; sequence < 20; sequence++) assert.equal(ask(opened, 7, sequence), 2 * sequence);
    assert.equal(ask(opened, 7, 20), "new");
    assert.equal(ask(opened, 8, 0), "new");
  });

  it("does not count what recovery cuts, and takes it again", () => {
    const storage = newStorage();
    const log = create(storage);
    append(log, 7, 0);
    sync(log, storage);
    append(log, 7, 1);
    const torn = storage.copy();
    const segmentPath = `${STREAM_DIRECTORY}/${segmentNames(torn).at(-1)!}`;
    torn.flip(segmentPath, torn.read(segmentPath).length - 1);
    const { log: opened, recovery } = open(torn);
    assert.ok(recovery.tornTailBytes > 0);
    assert.equal(ask(opened, 7, 0), 0);
    assert.equal(append(opened, 7, 1), 2);
    assert.equal(ask(open(torn).log, 7, 1), 2);
  });

  it("remembers batches whose messages were overwritten, over a start", () => {
    const storage = newStorage();
    const log = create(storage, { policy: overwriting });
    append(log, 8, 0);
    for (let sequence = 0; sequence < 30; sequence++) append(log, 7, sequence);
    assert.ok(log.oldestSequence > 30);
    for (const started of [log, open(storage.copy(), { policy: overwriting }).log]) {
      assert.equal(ask(started, 8, 0), 0);
      assert.equal(ask(started, 8, 1), "new");
      assert.equal(ask(started, 7, 0), 2);
    }
  });

  it("deletes the file rather than the only headers that say more than it does", () => {
    const storage = newStorage();
    const log = create(storage, { policy: overwriting });
    append(log, 8, 0);
    for (let sequence = 0; sequence < 5; sequence++) append(log, 7, sequence);
    assert.ok(hasFile(storage));
    const failing = withoutProducersFile(storage);
    const { log: opened } = open(failing, { policy: overwriting });
    for (let sequence = 5; sequence < 30; sequence++) append(opened, 7, sequence);
    assert.ok(!hasFile(storage));
    assert.equal(ask(opened, 8, 0), 0);
    const { log: again } = open(storage.copy(), { policy: overwriting, epoch: 3 });
    // Its newest batches are in the segments that are left; nothing is left of the other, which is not known then.
    assert.equal(ask(again, 7, 29), 60);
    assert.equal(ask(again, 7, 30), "new");
    assert.equal(ask(again, 7, 1), "expects 30");
    assert.equal(ask(again, 8, 1), "expects 0");
  });

  it("goes on only when a batch was stored, whatever the write left behind", () => {
    const faults: Record<string, Fault> = {
      "write@4": { writtenBytes: 113, code: "EIO" },
      // The device took all of it and said otherwise.
      "write@5": { writtenBytes: 1_000_000, code: "EIO" },
      "truncate@2": { code: "EIO" },
    };
    const storage = newStorage(faults);
    const log = create(storage);
    append(log, 7, 0);
    append(log, 7, 1);
    for (let failure = 0; failure < 2; failure++) {
      assert.throws(
        () => append(log, 7, 2),
        (error) => error instanceof MillraceError && error.code === "UNKNOWN_OUTCOME",
      );
      assert.equal(ask(log, 7, 2), "new");
      assert.equal(ask(log, 7, 3), "expects 2");
    }
    // Without a sign of the failure to cut, a start may find the batch: then it is stored, and known.
    const { log: started } = open(storage.copy());
    assert.equal(ask(started, 7, 2), started.nextSequence === 6 ? 4 : "new");
    assert.equal(append(log, 7, 2), 4);
    assert.equal(ask(log, 7, 2), 4);
    assert.equal(storage.faultCount, 3);
    const { log: later } = open(storage.copy());
    assert.equal(later.nextSequence, 6);
    assert.equal(ask(later, 7, 2), 4);
  });

  it("does not vouch for what only memory holds after the storage failed", () => {
    const clock = new ManualClock();
    const storage = newStorage({ "sync@2": { code: "EIO" }, "open@2+": { code: "EIO" } });
    const log = create(storage, { clock, policy: { ...smallPolicy, flushOnWrite: false } });
    append(log, 7, 0);
    assert.equal(ask(log, 7, 0), 0);
    const outcomes: (string | undefined)[] = [];
    log.sync((error) => outcomes.push(error?.code));
    storage.completeSyncs();
    assert.deepEqual(outcomes, ["UNKNOWN_OUTCOME"]);
    assert.throws(
      () => ask(log, 7, 0),
      (error) => error instanceof MillraceError && error.code === "UNKNOWN_OUTCOME",
    );
    storage.heal();
    clock.advance(60_000);
    log.tick();
    storage.completeSyncs();
    assert.equal(ask(log, 7, 0), 0);
    assert.equal(ask(open(storage.copy()).log, 7, 0), 0);
  });

  it("forgets batches that the medium lost, and says that they are lost", () => {
    const storage = newStorage();
    const log = create(storage);
    for (let sequence = 0; sequence < 20; sequence++) append(log, 7, sequence);
    const lost = storage.copy();
    for (const name of segmentNames(lost).slice(1)) lost.unlink(`${STREAM_DIRECTORY}/${name}`);
    const { log: opened, recovery } = open(lost);
    const { fromSequence, toSequence } = recovery.dataLoss!;
    assert.equal(opened.nextSequence, toSequence);
    const last = fromSequence / 2 - 1;
    assert.equal(ask(opened, 7, last), 2 * last);
    // Never below, where the lost ones stood.
    assert.equal(append(opened, 7, last + 1), toSequence);
    for (let sequence = last + 2; sequence < 20; sequence++) append(opened, 7, sequence);
    for (const started of [opened, open(lost.copy(), { epoch: 3 }).log]) {
      assert.equal(ask(started, 7, last), 2 * last);
      assert.equal(ask(started, 7, last + 1), toSequence);
      assert.equal(ask(started, 7, 20), "new");
    }
  });

  it("keeps them for a worker that takes over a stream in memory", () => {
    const kept = new KeptMemory();
    const { hooks } = kept;
    const policy = { ...overwriting, flushOnWrite: false, commitAlignBytes: 0 };
    const storage = new SharedMemoryStorage({ hooks });
    storage.makeDirectory("/store");
    const log = create(storage, { policy });
    append(log, 8, 0);
    for (let sequence = 0; sequence < 30; sequence++) append(log, 7, sequence);
    assert.ok(kept.paths.includes(FILE), kept.paths.join(" "));
    assert.ok(!kept.paths.some((path) => path.endsWith(".tmp")));
    const { log: taken } = open(new SharedMemoryStorage({ files: kept.files, hooks }), { policy });
    assert.equal(ask(taken, 8, 0), 0);
    assert.equal(ask(taken, 7, 29), 60);
    append(taken, 7, 30);
    assert.equal(storage.allocatedBytes > 0, true);
  });

  it("costs a stream without them no file", () => {
    const storage = newStorage();
    const log = create(storage, { policy: overwriting });
    for (let count = 0; count < 30; count++) {
      const builder = blockOf([payload(1, count)]);
      log.admit(costOf(builder));
      log.append(builder);
    }
    const names = storage.list(STREAM_DIRECTORY).map(({ name }) => name);
    assert.deepEqual(
      names.filter((name) => !name.endsWith(".lz4")),
      ["ledger"],
    );
  });
});

/** Every try to make the file fails; what is there can be read and deleted. */
function withoutProducersFile(storage: SimStorage): Storage {
  return patchStorage(storage, () => ({}), {
    open: (path, mode) => {
      if (path.startsWith(FILE) && mode === "create") throw systemError("ENOSPC", "open");
      return storage.open(path, mode);
    },
  });
}
