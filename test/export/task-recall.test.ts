import assert from "node:assert/strict";
import { test } from "node:test";
import { TaskRecall, withRecall } from "../../src/export/task-recall.ts";

/** Resolves when the signal is aborted. */
function aborted(signal: AbortSignal | undefined): Promise<string> {
  assert.ok(signal !== undefined);
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve("called back"));
    if (signal.aborted) resolve("called back");
  });
}

test("withRecall aborts its signal when the task is called back, before it begins or while it runs", async () => {
  const early = new TaskRecall();
  early.recall();
  assert.equal(await withRecall(early.memory, aborted), "called back");
  const late = new TaskRecall();
  const running = withRecall(late.memory, aborted);
  setImmediate(() => late.recall());
  assert.equal(await running, "called back");
});

test("withRecall leaves a task alone that is not called back, and ends its wait with it", async () => {
  const recall = new TaskRecall();
  let signal: AbortSignal | undefined;
  const result = await withRecall(recall.memory, (given) => {
    signal = given;
    return Promise.resolve("done");
  });
  assert.equal(result, "done");
  assert.equal(Atomics.notify(new Int32Array(recall.memory), 0), 0, "nobody waits any more");
  assert.equal(signal?.aborted, false);
  await assert.rejects(
    withRecall(recall.memory, () => Promise.reject(new Error("failed"))),
    /failed/,
  );
  assert.equal(await withRecall(undefined, (given) => Promise.resolve(given)), undefined);
});
