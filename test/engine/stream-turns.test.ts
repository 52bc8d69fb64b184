import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { STREAM_CHANGES_WAITING_MAX, STREAM_CHANGE_WAIT_MS_MAX } from "../../src/core/limits.ts";
import { StreamTurns } from "../../src/engine/stream-turns.ts";
import { ManualClock } from "../support/deterministic.ts";

interface Step {
  readonly done: Promise<void>;
  readonly end: () => void;
}

function step(): Step {
  let end: () => void = () => undefined;
  const done = new Promise<void>((resolve) => (end = resolve));
  return { done, end };
}

describe("StreamTurns", () => {
  it("runs one after the other, whatever becomes of each, and the first at once", async () => {
    const turns = new StreamTurns();
    const clock = new ManualClock();
    const order: string[] = [];
    const first = step();
    const one = turns.run(clock, async () => {
      order.push("one begins");
      await first.done;
      order.push("one fails");
      throw new Error("one");
    });
    const two = turns.run(clock, () => Promise.resolve(order.push("two")));
    assert.deepEqual(order, ["one begins"]);
    first.end();
    await assert.rejects(one, /one/);
    await two;
    assert.deepEqual(order, ["one begins", "one fails", "two"]);
    void turns.run(clock, () => Promise.resolve(order.push("three")));
    await Promise.resolve();
    assert.equal(order.length, 4);
  });

  it("refuses more than may wait, and whoever waited too long for an answer", async () => {
    const turns = new StreamTurns();
    const clock = new ManualClock();
    const first = step();
    const running = turns.run(clock, () => first.done);
    const waiting = Array.from({ length: STREAM_CHANGES_WAITING_MAX }, () =>
      turns.run(clock, () => Promise.reject(new Error("must not run"))),
    );
    await assert.rejects(
      turns.run(clock, () => Promise.resolve()),
      { code: "SERVER_BUSY", message: /16 changes of this stream wait already/ },
    );
    clock.advance(STREAM_CHANGE_WAIT_MS_MAX + 1);
    first.end();
    await running;
    for (const late of waiting)
      await assert.rejects(late, { code: "SERVER_BUSY", message: /took too long: retry/ });
    assert.equal(await turns.run(clock, () => Promise.resolve(1)), 1);
  });
});
