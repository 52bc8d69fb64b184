import assert from "node:assert/strict";
import { test } from "node:test";
import { EXPORT_TEND_RETRY_MS } from "../../src/core/limits.ts";
import { emptyExportDefinition } from "../../src/core/stream-definition.ts";
import { STREAM_START } from "../../src/core/stream-ledger.ts";
import { changeStreamOptions, streamOptionsDefault } from "../../src/core/stream-options.ts";
import type { TendTask } from "../../src/export/export-channel.ts";
import type { Timers } from "../../src/core/timers.ts";
import { CursorKeeper } from "../../src/export/cursor-keeper.ts";
import { beginAnew } from "../../src/export/exporter-beginning.ts";
import { Exporter } from "../../src/export/exporter.ts";
import { type ExporterSettings, exporterSettingsOf } from "../../src/export/exporter-settings.ts";
import { addPartNote, readPartNotes, removePartNotes } from "../../src/export/part-notes.ts";
import { RunningWork } from "../../src/export/running-work.ts";
import { TendKeeper } from "../../src/export/tend-keeper.ts";
import { silentLogger } from "../../src/observe/logger.ts";
import { ManualClock } from "../support/deterministic.ts";
import { SimStorage } from "../support/sim-storage.ts";
import { HeldTasks, endOf, settled } from "./held-tasks.ts";

const DIRECTORY = "/stream";

/** One is set at a time, and fires when it is told to. */
class OneTimer implements Timers {
  fire: () => void = () => undefined;

  setTimer(action: () => void): () => void {
    this.fire = action;
    return () => (this.fire = () => undefined);
  }
}

class Bench {
  readonly clock = new ManualClock();
  readonly pool = new HeldTasks();
  readonly running = new RunningWork();
  readonly storage: SimStorage;
  readonly warnings: unknown[] = [];
  readonly keeper: TendKeeper;
  readonly timers = new OneTimer();
  doneCount = 0;

  constructor(storage?: SimStorage) {
    this.storage = storage ?? new SimStorage();
    if (storage === undefined) this.storage.makeDirectory(DIRECTORY);
    const warn = (_event: string, fields?: object): void => void this.warnings.push(fields);
    this.keeper = new TendKeeper({
      ...{ pool: this.pool, running: this.running, storage: this.storage, clock: this.clock },
      storeDirectory: "/store",
      timers: this.timers,
      logger: { ...silentLogger, warn },
      onDone: () => (this.doneCount += 1),
    });
  }

  exporter(changes: Partial<ExporterSettings> = {}): Exporter {
    const place = { sequence: 10, payloadOffset: 100 };
    const stream = {
      ...{ streamId: "s", name: "s", directory: DIRECTORY, isMemory: false, drops: () => [] },
      ...{ oldest: STREAM_START, syncedEnd: place, next: place },
    };
    const options = changeStreamOptions(streamOptionsDefault, {
      files: [{ identifier: "f", directory: "/out" }],
    });
    const [settings] = exporterSettingsOf({ exportDefinition: emptyExportDefinition }, options);
    return new Exporter(stream, { ...settings!, ...changes }, undefined);
  }

  note({ settings }: Exporter, suffix = ""): void {
    const place = { streamDirectory: DIRECTORY, exporterId: settings.exporterId + suffix };
    addPartNote(this.storage, place, { directory: "/out", state: ".state" });
  }

  /** The task that is out. */
  get task(): TendTask {
    const { task } = this.pool.only();
    assert.equal(task.kind, "tend");
    return task;
  }

  async end(outcome: { error?: string; dueInMs?: number } = {}): Promise<void> {
    this.pool.only().end({ kind: "tended", error: "", ...outcome });
    await settled();
  }

  /** A batch of the exporter ends, after it was configured anew if `change` does so. */
  async batchEnds(
    exporter: Exporter,
    tendInMs: number | undefined,
    change = (): void => undefined,
  ): Promise<void> {
    const task = exporter.start(
      { ticket: undefined, expectedBytes: 0 },
      { nowMs: this.clock.monotonicMs(), wallMs: 1, kbitPerSecondMax: undefined, memory: undefined },
    );
    const result = endOf(task, { outcome: { kind: "passed" }, ...(tendInMs !== undefined && { tendInMs }) });
    change();
    assert.equal(this.keeper.look([exporter]), Infinity, "one task at a time has an exporter");
    const random = { fraction: () => 0.5, bytes: () => new Uint8Array(0) };
    exporter.finish(result, { nowMs: this.clock.monotonicMs(), wallMs: 1, random });
    this.keeper.note(exporter, result);
    await settled();
  }
}

test("TendKeeper asks when a batch said that it would be time, and again when it is told so", async () => {
  const bench = new Bench();
  const exporter = bench.exporter();
  assert.equal(bench.keeper.look([exporter]), Infinity, "nothing was left to do");
  await bench.batchEnds(exporter, 5000);
  assert.equal(bench.keeper.look([exporter]), 5000);
  bench.clock.advance(4999);
  assert.equal(bench.keeper.look([exporter]), 5000);
  assert.deepEqual(bench.pool.held, []);
  bench.clock.advance(1);
  assert.equal(bench.keeper.look([exporter]), Infinity);
  await settled();
  assert.ok(exporter.isBusy, "no batch meanwhile");
  const { exporterId, destination } = exporter.settings;
  assert.deepEqual(bench.task, {
    ...{ kind: "tend", streamDirectory: DIRECTORY, exporterId, destination, isLast: false },
  });
  await bench.end({ dueInMs: 700 });
  assert.ok(!exporter.isBusy);
  assert.equal(bench.doneCount, 1);
  assert.equal(bench.keeper.look([exporter]), 5700);
});

test("TendKeeper asks at once for what the process before left, and after a batch that was lost", async () => {
  const bench = new Bench();
  const exporter = bench.exporter();
  bench.note(exporter);
  bench.keeper.look([exporter]);
  await settled();
  assert.equal(bench.task.isLast, false);
  await bench.end();
  assert.equal(bench.keeper.look([exporter]), Infinity);
  bench.keeper.note(exporter, undefined);
  bench.keeper.look([exporter]);
  await settled();
  await bench.end();
  // Disabled, it sends no more.
  exporter.configure({ ...exporter.settings, disabled: true });
  bench.keeper.look([exporter]);
  await settled();
  assert.equal(bench.task.isLast, true);
});

test("TendKeeper tries again what failed, and tells it once", async () => {
  const bench = new Bench();
  const exporter = bench.exporter();
  bench.note(exporter);
  for (const error of ["no such directory", "no such directory", "the disk is full"]) {
    bench.keeper.look([exporter]);
    await settled();
    await bench.end({ error });
    assert.equal(bench.keeper.look([exporter]), bench.clock.monotonicMs() + EXPORT_TEND_RETRY_MS);
    bench.clock.advance(EXPORT_TEND_RETRY_MS);
  }
  bench.keeper.look([exporter]);
  await settled();
  bench.pool.only().die();
  await settled();
  const told = ["no such directory", "the disk is full", "the thread died"].map((error) => ({
    ...{ stream: "s", exporter: "f" },
    reason: `a file that grows cannot be completed: ${error}`,
  }));
  assert.deepEqual(bench.warnings, told);
  assert.equal(bench.keeper.look([exporter]), bench.clock.monotonicMs() + EXPORT_TEND_RETRY_MS);
});

test("TendKeeper ends what an exporter left that is gone, when its batch is over, and who comes after it waits", async () => {
  const bench = new Bench();
  const before = bench.exporter();
  let release: () => void = () => undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  const removal = released.then(() => bench.keeper.removed([before]));
  await settled();
  assert.deepEqual(bench.pool.held, []);
  release();
  await settled();
  assert.deepEqual([bench.task.isLast, bench.task.destination], [true, undefined]);
  const after = bench.exporter();
  bench.keeper.look([after]);
  assert.ok(after.isBusy);
  await bench.end();
  await removal;
  assert.ok(!after.isBusy);
});

test("TendKeeper ends what is left of exporters that a stream has no more, or that write no files now", async () => {
  const bench = new Bench();
  const kept = bench.exporter();
  const mapped = bench.exporter({
    exporterId: "cd".repeat(16),
    destination: { kind: "kinesis", kinesisStreamName: "k", partitionKey: "random" },
  });
  const gone = bench.exporter({ exporterId: "ef".repeat(16) });
  for (const exporter of [kept, mapped, gone]) bench.note(exporter);
  bench.note(kept, "-redrive");
  const adopted = bench.keeper.adopt(kept.stream, [kept, mapped]);
  const ended: string[] = [];
  for (let count = 0; count < 3; count += 1) {
    await settled();
    assert.equal(bench.task.isLast, true);
    ended.push(bench.task.exporterId);
    await bench.end();
  }
  await adopted;
  await bench.running.ofStream("s");
  const { exporterId } = kept.settings;
  assert.deepEqual(ended.sort(), ["cd".repeat(16), "ef".repeat(16), `${exporterId}-redrive`].sort());
});

test("TendKeeper completes what a redrive wrote once that has sent all it was asked for", async () => {
  const bench = new Bench();
  const redrive = bench.exporter({ isRedrive: true });
  await bench.batchEnds(redrive, undefined);
  assert.equal(bench.keeper.look([redrive]), Infinity);
  await bench.batchEnds(redrive, undefined, () => {
    redrive.stream.syncedEnd = STREAM_START;
  });
  bench.keeper.look([redrive]);
  await settled();
  assert.equal(bench.task.isLast, true);
});

test("TendKeeper lets nobody wait for a directory that hangs, and has nothing else done while it does", async () => {
  const bench = new Bench();
  const hanging = bench.exporter();
  bench.note(hanging);
  bench.keeper.look([hanging]);
  await settled();
  const removal = bench.keeper.removed([bench.exporter({ exporterId: "ef".repeat(16) })]);
  await settled();
  bench.timers.fire();
  await removal;
  await bench.running.ofStream("s");
  assert.equal(bench.pool.all.length, 1, "the second one did not start");
  assert.ok(hanging.isBusy, "its task may write yet");
  assert.deepEqual(
    bench.warnings.map((fields) => (fields as { reason: string }).reason.replace(/^.*completed: /, "")),
    ["the directory does not answer within 20 s", "another directory does not answer"],
  );
  await bench.end();
  assert.ok(!hanging.isBusy);
  bench.clock.advance(EXPORT_TEND_RETRY_MS);
  bench.keeper.look([hanging]);
  await settled();
  await bench.end();
  assert.equal(bench.keeper.look([hanging]), Infinity);
});

test("TendKeeper looks at settings that came while a batch or a task was out when that has ended", async () => {
  const bench = new Bench();
  const exporter = bench.exporter();
  bench.keeper.look([exporter]);
  await bench.batchEnds(exporter, 3_600_000, () =>
    exporter.configure({ ...exporter.settings, paused: true }),
  );
  bench.keeper.look([exporter]);
  await settled();
  assert.equal(bench.task.isLast, false);
  exporter.configure({ ...exporter.settings, disabled: true });
  bench.keeper.look([exporter]);
  await bench.end();
  bench.keeper.look([exporter]);
  await settled();
  assert.equal(bench.task.isLast, true);
  await bench.end();
  assert.equal(bench.keeper.look([exporter]), Infinity);
});

test("TendKeeper tries a former directory again in time though batches go to another", async () => {
  const bench = new Bench();
  const exporter = bench.exporter();
  bench.note(exporter);
  bench.keeper.look([exporter]);
  await settled();
  await bench.end({ error: "no such directory" });
  await bench.batchEnds(exporter, 3_600_000);
  assert.equal(bench.keeper.look([exporter]), EXPORT_TEND_RETRY_MS);
});

test("TendKeeper tries again what an exporter left that is gone, until it is done, and tells it once", async () => {
  const bench = new Bench();
  const removal = bench.keeper.removed([bench.exporter()]);
  for (let count = 0; count < 3; count += 1) {
    await settled();
    assert.deepEqual([bench.task.isLast, bench.task.destination], [true, undefined]);
    await bench.end({ error: "no such directory" });
    await removal;
    assert.equal(bench.doneCount, count + 1, "the next try is asked for");
    assert.equal(bench.keeper.look([]), bench.clock.monotonicMs() + EXPORT_TEND_RETRY_MS);
    await settled();
    assert.deepEqual(bench.pool.held, []);
    bench.clock.advance(EXPORT_TEND_RETRY_MS);
    bench.keeper.look([]);
  }
  await settled();
  await bench.end();
  assert.equal(bench.keeper.look([]), Infinity);
  assert.equal(bench.warnings.length, 1);
});

test("TendKeeper leaves to an exporter that comes anew what could not be ended of the one before", async () => {
  const bench = new Bench();
  const removal = bench.keeper.removed([bench.exporter()]);
  await settled();
  bench.note(bench.exporter());
  await bench.end({ error: "no such directory" });
  await removal;
  const after = bench.exporter();
  bench.keeper.look([after]);
  await settled();
  assert.equal(bench.task.isLast, false);
  await bench.end();
  bench.clock.advance(EXPORT_TEND_RETRY_MS);
  assert.equal(bench.keeper.look([after]), Infinity);
});

test("TendKeeper ends what exporters left as soon as another's directory does not hang any more", async () => {
  const bench = new Bench();
  const hanging = bench.exporter();
  bench.note(hanging);
  bench.keeper.look([hanging]);
  await settled();
  bench.timers.fire();
  await settled();
  await bench.keeper.removed([bench.exporter({ exporterId: "ef".repeat(16) })]);
  bench.clock.advance(EXPORT_TEND_RETRY_MS);
  assert.equal(bench.keeper.look([hanging]), Infinity, "nothing to do while it hangs");
  const doneCount = bench.doneCount;
  await bench.end();
  assert.ok(bench.doneCount > doneCount);
  bench.keeper.look([]);
  await settled();
  assert.equal(bench.task.exporterId, "ef".repeat(16));
  await bench.end();
  assert.equal(bench.keeper.look([]), Infinity);
});

test("an exporter that comes anew starts nothing beside what hangs of the one before, whoever else held it", async () => {
  const bench = new Bench();
  const { pool, storage, clock } = bench;
  const onDone = (): void => undefined;
  const work = { pool, storage, clock, logger: silentLogger, onDone, onSynced: onDone };
  const cursors = new CursorKeeper(work);
  const before = bench.exporter();
  let release: () => void = () => undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  const removal = released.then(() => bench.keeper.removed([before]));
  cursors.forget(
    [before.place],
    removal.then(() => []),
  );
  const after = bench.exporter();
  beginAnew(after, cursors, onDone);
  // Known before the end of the other began.
  bench.keeper.look([after]);
  release();
  await settled();
  const [hanging] = pool.held;
  bench.timers.fire();
  await settled();
  const forget = pool.held.find(({ task }) => task.kind === "forget");
  assert.ok(forget !== undefined && hanging?.task.kind === "tend");
  bench.keeper.look([after]);
  forget.end({ kind: "cursors", files: [undefined], error: "" });
  await settled();
  assert.equal(bench.task, hanging.task);
  assert.ok(after.isBusy, "the task before may write yet");
  await bench.end();
  assert.ok(!after.isBusy);
});

test("TendKeeper completes what a stream left that was deleted meanwhile, also after a start, and not while it is there", async () => {
  const bench = new Bench();
  const { storage } = bench;
  const directory = "/store/streams/s";
  for (const made of ["/store", "/store/streams", directory]) storage.makeDirectory(made);
  const stream = { ...bench.exporter().stream, directory };
  const { exporterId } = bench.exporter().settings;
  const note = { directory: "/out", state: ".state" };
  addPartNote(storage, { streamDirectory: directory, exporterId }, note);
  bench.keeper.leave(stream);
  assert.equal(bench.keeper.look([]), EXPORT_TEND_RETRY_MS, "its deletion may fail yet");
  const early = new Bench(storage);
  assert.equal(early.keeper.look([]), Infinity, "a start meets the stream");
  assert.deepEqual(storage.list("/store/left-files"), []);
  bench.keeper.leave(stream);
  storage.rename(directory, `${directory}.deleted`);
  bench.clock.advance(EXPORT_TEND_RETRY_MS);
  bench.keeper.look([]);
  await settled();
  const place = { streamDirectory: "/store/left-files/s", exporterId };
  assert.deepEqual(bench.task, { kind: "tend", ...place, destination: undefined, isLast: true });
  assert.deepEqual(readPartNotes(storage, place), [note]);
  await bench.end({ error: "no such directory" });
  const next = new Bench(storage);
  next.keeper.look([]);
  await settled();
  assert.deepEqual([next.task.streamDirectory, next.task.exporterId], [place.streamDirectory, exporterId]);
  removePartNotes(storage, place, [note]);
  await next.end();
  assert.equal(next.keeper.look([]), Infinity);
  assert.deepEqual(storage.list("/store/left-files"), []);
});
