import assert from "node:assert/strict";
import { Writable } from "node:stream";
import { describe, it } from "node:test";
import { BufferedOutput } from "../../src/cli/buffered-output.ts";

/** Takes one write at a time and holds it until told to go on. */
function slowReader() {
  const writes: Buffer[] = [];
  let release: (() => void) | undefined;
  const stream = new Writable({
    highWaterMark: 1,
    write(chunk: Buffer, _encoding, callback) {
      writes.push(chunk);
      release = callback;
    },
  });
  return { stream, writes, release: () => release?.() };
}

describe("BufferedOutput", () => {
  it("writes small pieces together once the turn is over", async () => {
    const { stream, writes } = slowReader();
    const output = new BufferedOutput(stream);
    assert.equal(output.add(Buffer.from("a")), undefined);
    assert.equal(output.add(Buffer.from("b")), undefined);
    assert.equal(writes.length, 0);
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(writes.map(String), ["ab"]);
  });

  it("makes the caller wait for the reader at 64 KiB", async () => {
    const { stream, writes, release } = slowReader();
    const output = new BufferedOutput(stream);
    const whenTaken = output.add(Buffer.alloc(64 * 1024));
    assert.ok(whenTaken);
    let isTaken = false;
    void whenTaken.then(() => (isTaken = true));
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(isTaken, false);
    release();
    await whenTaken;
    assert.equal(writes.length, 1);
  });

  it("does not wait for a reader that is gone", async () => {
    const { stream } = slowReader();
    const output = new BufferedOutput(stream);
    const whenTaken = output.add(Buffer.alloc(64 * 1024));
    stream.destroy();
    await whenTaken;
  });
});
