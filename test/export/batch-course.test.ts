import assert from "node:assert/strict";
import { test } from "node:test";
import { together } from "../../src/export/batch-course.ts";
import { newCursor } from "../../src/export/cursor-layout.ts";
import type { BatchOutcome, BatchResult } from "../../src/export/export-channel.ts";

const sent: BatchOutcome = {
  kind: "sent",
  acceptedMessages: 1,
  acceptedBytes: 10,
  failedMessages: 0,
  error: "",
};
const failed: BatchOutcome = {
  ...{ kind: "failed", scope: "endpoint", pace: "backoff", timedOut: false, error: "the disk is full" },
};

function resultOf(outcome: BatchOutcome, changes: Partial<BatchResult> = {}): BatchResult {
  const nothing = { isStartSettled: false, condemned: [], file: undefined, cursorError: "" };
  return { kind: "batch", cursor: newCursor(0), pending: undefined, ...nothing, outcome, ...changes };
}

test("together keeps when to tend the destination if a later window did not come to an end", () => {
  const before = resultOf(sent, { tendInMs: 7000 });
  const refused: BatchOutcome = { kind: "refused", error: "no" };
  for (const outcome of [failed, refused, { kind: "passed" } as const])
    assert.equal(together(before, resultOf(outcome)).tendInMs, 7000, outcome.kind);
  assert.equal(together(before, resultOf(failed, { tendInMs: 50 })).tendInMs, 50);
  assert.equal(together(before, resultOf(sent, { tendInMs: 6000 })).tendInMs, 6000);
  assert.ok(!("tendInMs" in together(before, resultOf(sent))), "it has completed the file");
});
