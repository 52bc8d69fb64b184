import assert from "node:assert/strict";
import { test } from "node:test";
import { MillraceError } from "../../src/core/errors.ts";
import type { Timers } from "../../src/core/timers.ts";
import type { StreamNotice } from "../../src/export/destinations/destination.ts";
import { NoticeKeeper } from "../../src/export/notice-keeper.ts";
import type { Logger } from "../../src/observe/logger.ts";
import { silentLogger } from "../../src/observe/logger.ts";

/** Waits are over at once. */
const timers: Timers = {
  setTimer(action) {
    setImmediate(action);
    return () => undefined;
  },
};

function setUp(answer: (notice: StreamNotice, tries: number) => MillraceError | undefined) {
  const stored: string[] = [];
  const told: string[] = [];
  let tries = 0;
  const logger: Logger = { ...silentLogger, warn: (_, fields) => void told.push(fields?.reason ?? "") };
  const append = (notice: StreamNotice): Promise<void> => {
    tries += 1;
    const failure = answer(notice, tries);
    if (failure !== undefined) return Promise.reject(failure);
    stored.push(notice.payload);
    return Promise.resolve();
  };
  return { keeper: new NoticeKeeper({ append, timers, logger }), stored, told };
}

const notices = ["one", "two"].map((payload) => ({ streamName: "status", payload }));

test("NoticeKeeper appends in order, and asks a stream again that is busy", async () => {
  const { keeper, stored } = setUp((_, tries) =>
    tries <= 3 ? new MillraceError("SERVER_BUSY", "Stream is recovering") : undefined,
  );
  await keeper.deliver(notices, () => false);
  assert.deepEqual(stored, ["one", "two"]);
  assert.equal(keeper.droppedCount, 0);
});

test("NoticeKeeper drops and counts what a stream will not take, and tells of it once until it does", async () => {
  let failure: MillraceError | undefined = new MillraceError(
    "STREAM_NOT_FOUND",
    'Stream "status" does not exist',
  );
  const { keeper, stored, told } = setUp(() => failure);
  await keeper.deliver(notices, () => false);
  assert.equal(keeper.droppedCount, 2);
  assert.deepEqual(told, ['status messages are dropped: Stream "status" does not exist']);
  failure = undefined;
  await keeper.deliver(notices, () => false);
  assert.deepEqual(stored, ["one", "two"]);
  failure = new MillraceError("STREAM_FULL", "Stream is full");
  await keeper.deliver(notices, () => false);
  assert.equal(keeper.droppedCount, 4);
  assert.equal(told.length, 2);
});

test("NoticeKeeper gives up on a busy stream when its caller does", async () => {
  let looks = 0;
  const { keeper } = setUp(() => new MillraceError("UNKNOWN_OUTCOME", "The worker ended"));
  await keeper.deliver(notices, () => ++looks > 2);
  assert.equal(keeper.droppedCount, 2);
});
