import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { describe, it } from "node:test";
import { Progress } from "../../src/cli/demo-progress.ts";

class ManualClock {
  timeMs = 0;
  nowMs(): number {
    return this.timeMs;
  }
  monotonicMs(): number {
    return this.timeMs;
  }
}

function makeProgress(terminal: { isTTY?: boolean; columns?: number } = {}) {
  const output = Object.assign(new PassThrough(), terminal);
  const clock = new ManualClock();
  const text = () => String(output.read() ?? "");
  return { progress: new Progress(output, clock), clock, text };
}

describe("Progress", () => {
  it("writes one line over itself on a terminal, and never its full width", () => {
    const { progress, text } = makeProgress({ isTTY: true, columns: 10 });
    progress.update("1 s");
    progress.update("0123456789abc");
    progress.note("done");
    assert.equal(text(), "\r\u001b[2K1 s\r\u001b[2K012345678\r\u001b[2Kdone\n");
  });

  it("takes a terminal that says it has no columns for one of eighty", () => {
    const { progress, text } = makeProgress({ isTTY: true, columns: 0 });
    progress.update("a".repeat(100));
    assert.equal(text(), `\r\u001b[2K${"a".repeat(79)}`);
  });

  it("leaves the last state of a terminal as it stands, or takes it away", () => {
    const { progress, text } = makeProgress({ isTTY: true, columns: 80 });
    progress.update("1 s");
    progress.settle();
    progress.update("2 s");
    progress.clear();
    progress.clear();
    assert.equal(text(), "\r\u001b[2K1 s\n\r\u001b[2K2 s\r\u001b[2K");
  });

  it("writes a line every two seconds elsewhere, and the last state once", () => {
    const { progress, clock, text } = makeProgress();
    for (; clock.timeMs <= 4100; clock.timeMs += 100) progress.update(`${clock.timeMs} ms`);
    progress.settle();
    assert.equal(text(), "0 ms\n2000 ms\n4000 ms\n4100 ms\n");
    progress.update("next");
    progress.settle();
    progress.clear();
    assert.equal(text(), "next\n");
  });
});
