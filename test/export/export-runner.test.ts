import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { systemClock } from "../../src/core/clock.ts";
import type { Timers } from "../../src/core/timers.ts";
import { isBalanced, newCursor, type CursorRecord } from "../../src/export/cursor-layout.ts";
import type { MessageReader } from "../../src/export/batch-reader.ts";
import { confirmSetAside, type PendingBatch } from "../../src/export/delivery.ts";
import type {
  Destination,
  DestinationLimits,
  SendOutcome,
} from "../../src/export/destinations/destination.ts";
import type { BatchResult, BatchTask } from "../../src/export/export-channel.ts";
import { ExportRunner, type ExportRunnerOptions } from "../../src/export/export-runner.ts";
import { LogReaderCache } from "../../src/export/log-reader-cache.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import type { Storage } from "../../src/log/storage.ts";
import { ManualClock } from "../support/deterministic.ts";
import { numbered } from "../support/export-bench.ts";
import { StreamFixture } from "../support/stream-fixture.ts";

class RecordingDestination implements Destination {
  readonly sent: string[][] = [];
  judge: (messages: readonly string[]) => SendOutcome = () => ({ kind: "answered", failed: [], error: "" });
  recordsMax = 10;

  limitsFor(): DestinationLimits {
    return { recordsMax: this.recordsMax, requestBytesMax: 1e6, recordBytesMax: 1e5, recordOverheadBytes: 0 };
  }

  send(_: unknown, records: readonly { readonly data: Uint8Array }[]): Promise<SendOutcome> {
    const messages = records.map(({ data }) => Buffer.from(data).toString());
    this.sent.push(messages);
    return Promise.resolve(this.judge(messages));
  }

  close(): void {
    this.sent.length = 0;
  }
}

/** Fails the writes of files with `part` in their path. */
function failingWrites(part: string): Storage {
  return {
    ...fileStorage,
    open(filePath, mode) {
      const file = fileStorage.open(filePath, mode);
      if (!filePath.includes(part)) return file;
      file.write = () => {
        throw Object.assign(new Error("EIO: write"), { code: "EIO" });
      };
      return file;
    },
  };
}

async function setUp(t: TestContext, storage: Storage = fileStorage) {
  const base = mkdtempSync(path.join(tmpdir(), "millrace-runner-"));
  const directory = path.join(base, "s");
  const stream = new StreamFixture(fileStorage, directory);
  t.after(() => {
    stream.log.close();
    rmSync(base, { recursive: true, force: true });
  });
  const progress = await stream.append(numbered(25));
  const destination = new RecordingDestination();
  const makeRunner = (changes: Partial<ExportRunnerOptions> = {}): ExportRunner => {
    const readers = new LogReaderCache(fileStorage);
    return new ExportRunner({
      storage,
      clock: systemClock,
      loadDestination: () => Promise.resolve(destination),
      openReader: (task) => readers.open(task),
      ...changes,
    });
  };
  const task: BatchTask = {
    kind: "batch",
    streamId: "s",
    streamName: "s",
    identifier: "e",
    streamDirectory: directory,
    exporterId: "ab",
    destination: { kind: "kinesis", kinesisStreamName: "target", partitionKey: "random" },
    exporterKind: "kinesis",
    isRedrive: false,
    start: undefined,
    cursor: newCursor(0),
    pending: undefined,
    oldest: { sequence: progress.oldestSequence, payloadOffset: progress.oldestPayloadOffset },
    syncedEnd: { sequence: progress.syncedEndSequence, payloadOffset: progress.syncedEndPayloadOffset },
    drops: [],
    messageCountMax: 10,
    requestBytesMax: 1e6,
    acceptsGaps: false,
    syncedSlot: undefined,
    syncAfterMs: undefined,
    memory: undefined,
  };
  return { makeRunner, destination, task };
}

async function runBatch(runner: ExportRunner, task: BatchTask): Promise<BatchResult> {
  const result = await runner.run(task);
  assert.equal(result.kind, "batch");
  return result;
}

/** What is left when the condemned messages of a task are stored in `aside`. */
function confirmed({ pending, condemned }: BatchResult, aside: string[]): BatchTask["pending"] {
  for (const { sequenceNumber, payload, error, attempts } of condemned) {
    aside.push(`${sequenceNumber}: ${Buffer.from(payload).toString()}`);
    assert.deepEqual([error, attempts], ["no", 1]);
  }
  return pending && confirmSetAside(pending, new Set(condemned.map(({ sequence }) => sequence)));
}

test("ExportRunner writes the cursor before it tells: a crash before the news arrives repeats nothing", async (t) => {
  const { makeRunner, destination, task } = await setUp(t);
  const lost = await runBatch(makeRunner(), task);
  assert.equal(lost.cursor.position, 10);
  // The result never reached the main thread, which starts the same task on another thread.
  const again = await runBatch(makeRunner(), task);
  assert.equal(again.cursor.position, 20);
  assert.deepEqual(destination.sent, [numbered(10), numbered(10, 10)]);
});

test("ExportRunner that dies between acceptance and cursor write repeats one batch and no more", async (t) => {
  const { makeRunner, destination, task } = await setUp(t);
  const first = await runBatch(makeRunner(), task);
  // The second batch was accepted, and its cursor never written: what a restart finds is the first one's.
  const { cursor: onDisk } = first;
  const dying = await setUp(t, failingWrites(".cursor"));
  const accepted = await runBatch(dying.makeRunner(), { ...task, exporterId: "cd", cursor: onDisk });
  assert.match(accepted.cursorError, /EIO/);
  const restarted = await runBatch(makeRunner(), { ...task, cursor: onDisk });
  assert.deepEqual(dying.destination.sent, [numbered(10, 10)]);
  assert.deepEqual(destination.sent, [numbered(10), numbered(10, 10)]);
  assert.equal(restarted.cursor.position, 20);
});

test("ExportRunner passes what it could not write on, so that the running process repeats nothing", async (t) => {
  const { makeRunner, destination, task } = await setUp(t, failingWrites(".cursor"));
  const first = await runBatch(makeRunner(), task);
  const second = await runBatch(makeRunner(), { ...task, cursor: first.cursor });
  assert.equal(second.cursor.position, 20);
  assert.deepEqual(destination.sent, [numbered(10), numbered(10, 10)]);
});

test("ExportRunner sends nothing beyond the synced end", async (t) => {
  const { makeRunner, destination, task } = await setUp(t);
  const result = await runBatch(makeRunner(), { ...task, syncedEnd: { sequence: 4, payloadOffset: 36 } });
  assert.equal(result.cursor.position, 4);
  assert.deepEqual(destination.sent, [numbered(4)]);
});

test("ExportRunner does not pass messages that it cannot find before it is told that they are gone", async (t) => {
  const { makeRunner, destination, task } = await setUp(t);
  const exported = { messages: 25, payloadBytes: task.syncedEnd.payloadOffset };
  const atEnd: CursorRecord = {
    ...newCursor(0),
    position: 25,
    payloadOffset: exported.payloadBytes,
    accounts: { ...newCursor(0).accounts, exported },
  };
  const beyond = {
    ...task,
    cursor: atEnd,
    syncedEnd: { sequence: 40, payloadOffset: exported.payloadBytes + 333 },
  };
  const looked = await runBatch(makeRunner(), beyond);
  assert.equal(looked.outcome.kind, "gap");
  assert.equal(looked.cursor.position, 25);
  const passed = await runBatch(makeRunner(), { ...beyond, acceptsGaps: true });
  assert.equal(passed.outcome.kind, "passed");
  assert.equal(passed.cursor.position, 40);
  assert.deepEqual(passed.cursor.accounts.damaged, { messages: 15, payloadBytes: 333 });
  assert.deepEqual(destination.sent, []);
});

test("ExportRunner has the first cursor of a process on the medium, and syncs a later one when it is due", async (t) => {
  const { makeRunner, task } = await setUp(t);
  const first = await runBatch(makeRunner(), task);
  assert.equal(first.file?.isSynced, true);
  assert.equal(first.file.durable?.position, 10);
  const { syncedSlot } = first.file;
  const second = await runBatch(makeRunner(), { ...task, cursor: first.cursor, syncedSlot });
  assert.deepEqual(second.file, { syncedSlot, durable: undefined, isSynced: false });
  const due = { ...task, cursor: second.cursor, syncedSlot, syncAfterMs: 0 };
  const third = await runBatch(makeRunner(), due);
  assert.equal(third.file?.durable?.position, 20);
  assert.notEqual(third.file.syncedSlot, syncedSlot);
  assert.equal(third.file.isSynced, false);
});

test("ExportRunner says how it leaves the cursor file when it fails behind a write", async (t) => {
  const { makeRunner, task } = await setUp(t);
  const first = await runBatch(makeRunner(), task);
  const then = { ...task, cursor: first.cursor, syncedSlot: first.file?.syncedSlot };
  const second = await runBatch(makeRunner(), then);
  assert.equal(second.cursor.position, 20);
  const readers = new LogReaderCache(fileStorage);
  let opened = 0;
  const openReader = (asked: BatchTask): MessageReader => {
    opened += 1;
    // To send; and to read what is condemned again.
    if (opened === 2) throw new Error("EMFILE");
    return readers.open(asked);
  };
  const entry = { bytes: 10, refusals: 0 };
  const pending: PendingBatch = {
    end: { sequence: 22, payloadOffset: 210 },
    entries: [
      { ...entry, sequence: 20, fate: "waiting" },
      { ...entry, sequence: 21, fate: "condemned" },
    ],
    ...{ gaps: [], suspects: 0, acceptances: 1 },
  };
  const due = { ...task, cursor: second.cursor, pending, syncedSlot: first.file?.syncedSlot, syncAfterMs: 0 };
  const failed = await runBatch(makeRunner({ openReader }), due);
  assert.deepEqual([failed.outcome.kind, opened], ["unreadable", 2]);
  // The second record was synced and the third one written over the first: a fourth one must not go over the second.
  assert.ok(failed.file !== undefined && failed.file.syncedSlot !== first.file?.syncedSlot);
  assert.equal(failed.file.isSynced, false);
  const { syncedSlot } = failed.file;
  const next = await runBatch(makeRunner(), { ...task, cursor: failed.cursor, syncedSlot });
  assert.deepEqual([next.cursor.position, next.file?.syncedSlot], [25, syncedSlot]);
});

test("ExportRunner says how it leaves the cursor file when a later window of its task fails", async (t) => {
  const { makeRunner, destination, task } = await setUp(t);
  const clock = new ManualClock();
  const first = await runBatch(makeRunner({ clock }), { ...task, messageCountMax: 5 });
  const syncedSlot = first.file?.syncedSlot;
  let windows = 0;
  destination.judge = () => {
    windows += 1;
    if (windows === 2) throw new Error("a fault of ours");
    clock.advance(60);
    return { kind: "answered", failed: [], error: "" };
  };
  const both = { ...task, cursor: first.cursor, messageCountMax: 5, windowsMax: 2, syncedSlot };
  const timers: Timers = { setTimer: () => () => undefined };
  const result = await runBatch(makeRunner({ clock, timers }), { ...both, syncAfterMs: 50 });
  assert.deepEqual([windows, result.cursor.position], [2, 10]);
  assert.ok(result.file !== undefined && result.file.syncedSlot !== syncedSlot, "it was due, and is synced");
  assert.equal(result.file.isSynced, true);
});

test("ExportRunner leaves no sync behind when it fails", async (t) => {
  const { makeRunner, destination, task } = await setUp(t);
  destination.judge = () => {
    throw new Error("a fault of ours");
  };
  const set = new Set<object>();
  const timers: Timers = {
    setTimer: () => {
      const timer = {};
      set.add(timer);
      return () => set.delete(timer);
    },
  };
  const result = await runBatch(makeRunner({ timers }), { ...task, syncAfterMs: 500 });
  assert.deepEqual([result.outcome.kind, set.size], ["unreadable", 0]);
});

test("ExportRunner keeps the position while a destination makes progress, and hands on what it tells", async (t) => {
  const { makeRunner, destination, task } = await setUp(t);
  const notices = [{ streamName: "status", payload: "begun" }];
  destination.judge = () => ({ kind: "progress", sentBytes: 7, continuation: "half", notices });
  const first = await runBatch(makeRunner(), task);
  assert.equal(first.cursor, task.cursor);
  assert.equal(first.pending, undefined);
  assert.deepEqual(first.notices, notices);
  assert.ok(first.outcome.kind === "progress" && first.outcome.continuation === "half");
  destination.judge = () => ({ kind: "answered", failed: [], error: "" });
  const second = await runBatch(makeRunner(), { ...task, continuation: "half" });
  assert.equal(second.cursor.position, 10);
  assert.equal(second.notices, undefined);
});

for (const kind of ["refused", "named"] as const) {
  const refusalOf = (messages: readonly string[]): SendOutcome =>
    kind === "refused"
      ? { kind, error: "no" }
      : {
          kind: "answered",
          failed: [],
          refused: messages.map((_, index) => ({ index, error: "no" })),
          error: "no",
        };

  test(`ExportRunner sets aside what is ${kind} in batches of one record once a later message was accepted`, async (t) => {
    const { makeRunner, destination, task } = await setUp(t);
    destination.recordsMax = 1;
    destination.judge = (messages) =>
      ["message 0", "message 1"].includes(messages[0]!)
        ? refusalOf(messages)
        : { kind: "answered", failed: [], error: "" };
    const runner = makeRunner();
    let result = await runBatch(runner, task);
    const aside: string[] = [];
    for (let count = 0; result.cursor.position < 25; count += 1) {
      assert.ok(count < 100, `position ${result.cursor.position}`);
      result = await runBatch(runner, { ...task, cursor: result.cursor, pending: confirmed(result, aside) });
    }
    assert.deepEqual(aside, ["0: message 0", "1: message 1"]);
    assert.ok(isBalanced(result.cursor));
    assert.equal(result.cursor.accounts.setAside.messages, 2);
    const accepted = destination.sent.flat().filter((message) => !/ [01]$/.test(message));
    assert.deepEqual(accepted, numbered(23, 2));
  });

  test(`ExportRunner passes nothing while everything is ${kind}, and sends all of it when that has ended`, async (t) => {
    const { makeRunner, destination, task } = await setUp(t);
    destination.recordsMax = 1;
    destination.judge = refusalOf;
    const runner = makeRunner();
    let result = await runBatch(runner, task);
    const again = async (): Promise<void> => {
      result = await runBatch(runner, { ...task, cursor: result.cursor, pending: result.pending });
      assert.deepEqual(result.condemned, []);
    };
    // Each message to the end, and from the start again.
    for (let count = 0; count < 300; count += 1) await again();
    assert.ok(new Set(destination.sent.flat()).size === 25, "it looked at all of them");
    assert.deepEqual(result.cursor, newCursor(0));
    destination.sent.length = 0;
    destination.judge = () => ({ kind: "answered", failed: [], error: "" });
    while (result.cursor.position < 25) await again();
    assert.deepEqual(new Set(destination.sent.flat()), new Set(numbered(25)));
    assert.equal(result.cursor.accounts.exported.messages, 25);
  });
}
