import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Timers } from "../../src/core/timers.ts";
import { inTime } from "../../src/engine/answer-deadline.ts";

/** Timers of which the test ends one by hand. */
class ManualTimers implements Timers {
  readonly pending = new Set<() => void>();
  delayMs = 0;

  setTimer(action: () => void, delayMs: number): () => void {
    this.delayMs = delayMs;
    this.pending.add(action);
    return () => void this.pending.delete(action);
  }
}

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
    for (const action of timers.pending) action();
    await assert.rejects(answer, {
      code: "UNKNOWN_OUTCOME",
      message: "The work did not end within 50000 ms",
    });
    // Nobody is left to hear of it, and the process must not end over it.
    fail(new Error("late"));
    await new Promise((resolve) => setImmediate(resolve));
  });
});
