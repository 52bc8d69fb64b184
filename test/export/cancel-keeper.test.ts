import assert from "node:assert/strict";
import { test } from "node:test";
import { MillraceError } from "../../src/core/errors.ts";
import { EXPORT_CANCEL_NOTICE_TRIES, EXPORT_CANCEL_RETRY_MS } from "../../src/core/limits.ts";
import { emptyExportDefinition } from "../../src/core/stream-definition.ts";
import { STREAM_START } from "../../src/core/stream-ledger.ts";
import { streamOptionsDefault } from "../../src/core/stream-options.ts";
import { CancelKeeper } from "../../src/export/cancel-keeper.ts";
import { type CursorPlace, isSamePlace } from "../../src/export/cursor-file.ts";
import type { StreamNotice } from "../../src/export/destinations/destination.ts";
import type { BatchOutcome } from "../../src/export/export-channel.ts";
import type { ExportedStream } from "../../src/export/exported-stream.ts";
import { Exporter } from "../../src/export/exporter.ts";
import { exporterSettingsOf } from "../../src/export/exporter-settings.ts";
import { NoticeKeeper } from "../../src/export/notice-keeper.ts";
import { EventName } from "../../src/observe/events.ts";
import { silentLogger, type Logger } from "../../src/observe/logger.ts";
import { SeededRandom } from "../support/deterministic.ts";
import { definitionWith } from "../support/stream-fixture.ts";
import { endOf, HeldTasks, settled } from "./held-tasks.ts";

const now = { nowMs: 0, wallMs: 0, random: new SeededRandom(1) };

/** A stream of one S3 task with its exporter, whose tasks the test ends itself. */
function exporterOf(name: string): Exporter {
  const next = { sequence: 1, payloadOffset: 10 };
  const stream: ExportedStream = {
    ...{ streamId: name, name, directory: `/nowhere/${name}`, isMemory: false, drops: () => [] },
    ...{ oldest: STREAM_START, syncedEnd: next, next },
  };
  const exportDefinition = { ...emptyExportDefinition, s3TaskExecutor: [{ identifier: name }] };
  const [settings] = exporterSettingsOf(definitionWith([], { exportDefinition }), streamOptionsDefault);
  return new Exporter(stream, settings!, undefined);
}

function runTask(exporter: Exporter, outcome: BatchOutcome): void {
  const start = { ...now, kbitPerSecondMax: undefined, memory: undefined };
  const task = exporter.start({ ticket: undefined, expectedBytes: 10 }, start);
  exporter.finish(endOf(task, { outcome }), now);
}

/** Its message expired, or was overwritten. */
function drop({ stream }: Exporter): void {
  stream.oldest = stream.syncedEnd;
}

function keeperOf({
  append = () => Promise.resolve(),
  logger = silentLogger,
}: { append?: (notice: StreamNotice) => Promise<unknown>; logger?: Logger } = {}) {
  const tasks = new HeldTasks();
  const timers = { setTimer: (action: () => void) => (setImmediate(action), () => undefined) };
  const notices = new NoticeKeeper({ append, timers, logger: silentLogger });
  let doneCount = 0;
  const ended: CursorPlace[] = [];
  const taken: CursorPlace[] = [];
  const retries: { readonly delayMs: number; readonly action: () => void }[] = [];
  const keeper = new CancelKeeper({
    ...{ pool: tasks, notices, logger },
    timers: { setTimer: (action, delayMs) => (retries.push({ action, delayMs }), () => undefined) },
    onDone: () => (doneCount += 1),
    isTaken: (place) => taken.some((one) => isSamePlace(one, place)),
    onEnded: (place) => ended.push(place),
  });
  return { keeper, tasks, doneCount: () => doneCount, ended, taken, retries };
}

const progress: BatchOutcome = { kind: "progress", sentBytes: 5 };

test("CancelKeeper ends what is under way for a message that is gone, and lets nothing start meanwhile", async () => {
  const { keeper, tasks, doneCount } = keeperOf();
  const [idle, busy, pending] = ["idle", "busy", "pending"].map(exporterOf) as [Exporter, Exporter, Exporter];
  drop(idle);
  for (const exporter of [busy, pending]) runTask(exporter, progress);
  keeper.look([idle, busy, pending]);
  await settled();
  assert.deepEqual(tasks.all, [], "nothing is under way, or its message is still there");
  drop(busy);
  keeper.look([idle, busy, pending]);
  keeper.look([idle, busy, pending]);
  await settled();
  const { task, end } = tasks.only();
  assert.ok(
    task.kind === "cancel" && task.streamId === "busy" && /expired or was overwritten/.test(task.reason),
  );
  assert.deepEqual([busy.isBusy, doneCount()], [true, 0]);
  end({ kind: "canceled", notices: [], isEnded: true });
  await settled();
  assert.deepEqual([busy.isBusy, busy.isUnderWay, doneCount()], [false, false, 1]);
  keeper.look([idle, busy, pending]);
  await settled();
  assert.equal(tasks.all.length, 1);
});

test("an exporter has something under way until its destination answered, whatever its tasks met besides", () => {
  const between: BatchOutcome[] = [
    { kind: "unreadable", error: "no descriptor" },
    { kind: "gap", fromSequence: 0, error: "a gap" },
    { kind: "passed" },
    { kind: "failed", scope: "exporter", pace: "backoff", timedOut: false, error: "503" },
  ];
  const ends: BatchOutcome[] = [
    { kind: "sent", acceptedMessages: 0, acceptedBytes: 0, failedMessages: 0, error: "" },
    { kind: "refused", error: "no such bucket" },
  ];
  for (const end of ends) {
    const exporter = exporterOf("tasks");
    assert.equal(exporter.isUnderWay, false);
    runTask(exporter, progress);
    for (const outcome of between) {
      runTask(exporter, outcome);
      assert.equal(exporter.isUnderWay, true, outcome.kind);
    }
    runTask(exporter, end);
    assert.equal(exporter.isUnderWay, false, end.kind);
  }
});

test("CancelKeeper ends what removed exporters have, one after the other", async () => {
  const { keeper, tasks } = keeperOf();
  let isDone = false;
  const done = keeper
    .removed([exporterOf("one"), exporterOf("other")], { isLastTry: true })
    .then(() => (isDone = true));
  for (const name of ["one", "other"]) {
    await settled();
    const { task, end } = tasks.only();
    assert.ok(task.kind === "cancel" && task.streamId === name && /was removed/.test(task.reason));
    assert.equal(isDone, false);
    end({ kind: "canceled", notices: [], isEnded: true });
  }
  await done;
  assert.equal(tasks.all.length, 2);
});

test("CancelKeeper asks nothing of an exporter that has nothing to end", async () => {
  const { keeper, tasks } = keeperOf();
  const [settings] = exporterSettingsOf(
    definitionWith([{ identifier: "k", kinesisStreamName: "k" }]),
    streamOptionsDefault,
  );
  await keeper.removed([new Exporter(exporterOf("s").stream, settings!, undefined)], {
    isLastTry: true,
  });
  assert.deepEqual(tasks.all, []);
});

test("CancelKeeper tells of what it ended, and waits for no stream for ever", async () => {
  let tries = 0;
  const told: StreamNotice[] = [];
  const { keeper, tasks } = keeperOf({
    append: (notice) => {
      tries += 1;
      if (notice.streamName === "busy") return Promise.reject(new MillraceError("SERVER_BUSY", "busy"));
      told.push(notice);
      return Promise.resolve();
    },
  });
  const done = keeper.removed([exporterOf("one")], { isLastTry: true });
  await settled();
  const notices = ["busy", "status"].map((streamName) => ({ streamName, payload: "canceled" }));
  tasks.only().end({ kind: "canceled", notices, isEnded: true });
  await done;
  assert.deepEqual(told, notices.slice(1));
  assert.equal(tries, EXPORT_CANCEL_NOTICE_TRIES + 2);
});

test("CancelKeeper says when a thread dies over it, and goes on with the next", async () => {
  const reasons: unknown[] = [];
  const logger: Logger = {
    ...silentLogger,
    warn: (name, fields) => {
      if (name === EventName.ExportFailed) reasons.push(fields?.reason);
    },
  };
  const { keeper, tasks } = keeperOf({ logger });
  const done = keeper.removed([exporterOf("one"), exporterOf("other")], {
    isLastTry: true,
  });
  await settled();
  tasks.only().die();
  await settled();
  tasks.only().end({ kind: "canceled", notices: [], isEnded: true });
  await done;
  assert.deepEqual(reasons, ["cannot end an upload in order"]);
});

test("CancelKeeper tries again what could not be ended, until it is or an exporter of that name has begun", async () => {
  for (const fate of ["ended", "taken", "taken meanwhile"] as const) {
    const { keeper, tasks, ended, taken, retries } = keeperOf();
    const place = { streamDirectory: "/nowhere/s", exporterId: "0".repeat(32) };
    const first = keeper.orphaned({ streamId: "s", name: "s" }, [place]);
    await settled();
    const { task, end } = tasks.only();
    assert.ok(task.kind === "cancel" && task.destination === undefined && !task.isLastTry);
    end({ kind: "canceled", notices: [], isEnded: false });
    const left = await first;
    assert.ok(left.length === 1 && isSamePlace(left[0]!, place), "nobody may forget it");
    const [retry, ...others] = retries.splice(0);
    assert.ok(retry?.delayMs === EXPORT_CANCEL_RETRY_MS && others.length === 0);
    if (fate === "taken") taken.push(place);
    retry.action();
    await settled();
    if (fate === "taken") {
      assert.deepEqual(tasks.held, []);
      continue;
    }
    tasks.only().die();
    await settled();
    assert.deepEqual(ended, []);
    retries.splice(0)[0]!.action();
    await settled();
    if (fate === "taken meanwhile") taken.push(place);
    tasks.only().end({ kind: "canceled", notices: [], isEnded: true });
    await settled();
    assert.deepEqual([ended.length, retries.length], [fate === "ended" ? 1 : 0, 0]);
  }
});
