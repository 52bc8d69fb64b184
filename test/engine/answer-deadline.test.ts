import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { inTime } from "../../src/engine/answer-deadline.ts";
import { ManualTimers } from "../support/manual-timers.ts";

describe("inTime", () => {
  it("gives what the work comes to, and leaves no timer", async () => {
    const timers = new ManualTimers();
    assert.equal(await inTime(timers, "The work", Promise.resolve(7)), 7);
    await assert.rejects(inTime(timers, "The work", Promise.reject(new Error("no"))), /^Error: no$/);
    assert.equal(timers.pending.size, 0);
  });

  it("answers before 60 s that the outcome is unknown, whatever becomes of the work later", async () => {
    const timers = new ManualTimers();
    let fail: (error: Error) => void = () => undefined;
    const work = new Promise<void>((_, reject) => (fail = reject));
    const answer = inTime(timers, "The work", work);
    assert.ok(timers.delayMs < 60_000);
    timers.fire();
    await assert.rejects(answer, {
      code: "UNKNOWN_OUTCOME",
      message: "The work did not end within 50000 ms",
    });
    // Nobody is left to hear of it, and the process must not end over it.
    fail(new Error("late"));
    await new Promise((resolve) => setImmediate(resolve));
  });
});
