import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { describe, it } from "node:test";
import { ProgressBar } from "../../src/cli/progress-bar.ts";
import { ManualClock } from "../support/deterministic.ts";

function makeBar(terminal: { isTTY?: boolean; columns?: number }) {
  const output = Object.assign(new PassThrough(), terminal);
  const clock = new ManualClock();
  return { bar: new ProgressBar(output, clock), clock, text: () => String(output.read() ?? "") };
}

describe("ProgressBar", () => {
  it("draws over itself on a terminal, ten times a second at most, and never the full width", () => {
    const { bar, clock, text } = makeBar({ isTTY: true, columns: 60 });
    clock.advance(1000);
    bar.bytes(1024, 4096, "sensors");
    bar.bytes(2048, 4096, "sensors");
    assert.equal(text(), "\r\u001b[2K[#####             ]  25%  1 KiB of 4 KiB  1 KiB/s  sensors");
    clock.advance(100);
    bar.share(2, "x".repeat(100));
    const drawn = text().replace("\r\u001b[2K", "");
    assert.ok(drawn.startsWith("100%  xxx") && drawn.length === 59, drawn);
    bar.clear();
    bar.clear();
    assert.equal(text(), "\r\u001b[2K");
  });

  it("writes nothing where output goes elsewhere, and copes with an empty total", () => {
    const plain = makeBar({});
    plain.bar.bytes(1, 2, "a");
    plain.bar.clear();
    assert.equal(plain.text(), "");
    const empty = makeBar({ isTTY: true, columns: 0 });
    empty.bar.bytes(0, 0, "a");
    assert.match(empty.text(), / 0% {2}0 B of 0 B {2}a$/);
  });
});
