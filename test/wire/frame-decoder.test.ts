import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MillraceError } from "../../src/core/errors.ts";
import { OVERSIZE_PREFIX_BYTES } from "../../src/core/limits.ts";
import type { OversizeFrame } from "../../src/wire/frame-decoder.ts";
import { encodeFrame, FrameDecoder, frameHeader, prefixFrame } from "../../src/wire/frame-decoder.ts";
import { findRequestId } from "../../src/wire/reply.ts";
import { encodeAppendMessage } from "../../src/wire/append-message.ts";
import { goldenFrames } from "../support/golden-frames.ts";
import { seededRandom, testSeed } from "../support/seeded-random.ts";

const MIB = 1024 * 1024;

function collect(frameBytesMax = MIB) {
  const decoder = new FrameDecoder({ frameBytesMax });
  const frames: Uint8Array[] = [];
  const oversize: OversizeFrame[] = [];
  const push = (chunk: Uint8Array): void =>
    decoder.push(
      chunk,
      (frame) => frames.push(new Uint8Array(frame)),
      (frame) => oversize.push({ ...frame, prefix: new Uint8Array(frame.prefix) }),
    );
  return { decoder, frames, oversize, push };
}

describe("FrameDecoder", () => {
  const golden = goldenFrames();
  const stream = Buffer.concat(golden.map((frame) => frame.wire));
  const expected = golden.map((frame) => frame.frame);

  it("gives back the frames of one chunk, as views of it", () => {
    const { decoder, frames } = collect();
    decoder.push(
      stream,
      (frame) => {
        assert.equal(frame.buffer, stream.buffer);
        frames.push(new Uint8Array(frame));
      },
      () => assert.fail("no frame is too large"),
    );
    assert.deepEqual(frames, expected);
    assert.equal(decoder.pendingBytes, 0);
  });

  it("gives back the frames of a stream that arrives byte by byte", () => {
    const { decoder, frames, push } = collect();
    for (const byte of stream) push(Uint8Array.of(byte));
    assert.deepEqual(frames, expected);
    assert.equal(decoder.pendingBytes, 0);
  });

  it("gives back the frames of a stream cut anywhere", () => {
    const random = seededRandom(testSeed);
    for (let round = 0; round < 200; round++) {
      const { frames, push } = collect();
      for (let at = 0; at < stream.length;) {
        const end = at + 1 + Math.floor(random.fraction() * 400);
        push(stream.subarray(at, end));
        at = end;
      }
      assert.deepEqual(frames, expected, `SEED=${testSeed} round ${round}`);
    }
  });

  it("collects a large frame from many small chunks in time that grows with its size", () => {
    const payload = new Uint8Array(MIB).map((_, index) => index);
    const wire = encodeFrame(4, payload);
    const { frames, push } = collect(2 * MIB);
    for (let at = 0; at < wire.length; at += 7) push(wire.subarray(at, at + 7));
    assert.deepEqual(frames[0]!.subarray(1), payload);
  });

  it("counts the bytes of a frame that is not complete", () => {
    const { decoder, push } = collect();
    push(Uint8Array.of(0, 0));
    assert.equal(decoder.pendingBytes, 2);
    push(Uint8Array.of(0, 9, 4, 1, 2));
    assert.equal(decoder.pendingBytes, 7);
    push(Uint8Array.of(3, 4, 5, 6, 7, 8));
    assert.equal(decoder.pendingBytes, 0);
  });

  it("does not allocate what a header announces before the bytes are there", () => {
    const decoders = Array.from({ length: 200 }, () => collect(16 * MIB));
    const before = process.memoryUsage().arrayBuffers;
    for (const { push } of decoders) push(Uint8Array.of(1, 0, 0, 0, 4, 1));
    const grownBytes = process.memoryUsage().arrayBuffers - before;
    assert.ok(grownBytes < 32 * MIB, `${grownBytes} bytes for 200 headers that announce 16 MiB each`);
  });

  for (const [what, bytes, code] of [
    ["0", [0, 0, 0, 0], "MALFORMED_FRAME"],
    ["1, an empty payload", [0, 0, 0, 1], "MALFORMED_FRAME"],
    ["-1", [255, 255, 255, 255], "MALFORMED_FRAME"],
    ["-2147483648", [128, 0, 0, 0], "MALFORMED_FRAME"],
    ["2^30 + 1", [64, 0, 0, 1], "FRAME_TOO_LARGE"],
    ["2^31 - 1", [127, 255, 255, 255], "FRAME_TOO_LARGE"],
  ] as const) {
    it(`refuses an announced length of ${what} before a payload arrives`, () => {
      const { push } = collect();
      assert.throws(
        () => push(Uint8Array.from(bytes)),
        (thrown) => thrown instanceof MillraceError && thrown.code === code,
      );
    });
  }

  it("takes a frame of exactly the limit and reports one byte more", () => {
    const { frames, oversize, push } = collect(100);
    push(encodeFrame(4, new Uint8Array(99)));
    assert.equal(frames.length, 1);
    push(encodeFrame(4, new Uint8Array(100)));
    assert.equal(frames.length, 1);
    assert.deepEqual(
      oversize.map(({ operation, frameBytes }) => [operation, frameBytes]),
      [[4, 101]],
    );
  });

  it("reports a frame over the limit with its request id while the payload is still coming, skips it, and goes on", () => {
    const big = encodeAppendMessage({ requestId: "big-1", name: "s", payload: new Uint8Array(3 * MIB) });
    const wire = Buffer.concat([prefixFrame(big), golden[0]!.wire]);
    for (const chunkBytes of [1000, 65_536, wire.length]) {
      const { decoder, frames, oversize, push } = collect();
      push(wire.subarray(0, OVERSIZE_PREFIX_BYTES + 4));
      assert.equal(oversize.length, 1);
      assert.equal(oversize[0]!.operation, 4);
      assert.equal(findRequestId(oversize[0]!.prefix), "big-1");
      assert.ok(decoder.pendingBytes > 0);
      for (let at = OVERSIZE_PREFIX_BYTES + 4; at < wire.length; at += chunkBytes) {
        push(wire.subarray(at, at + chunkBytes));
      }
      assert.equal(oversize.length, 1);
      assert.deepEqual(frames, [golden[0]!.frame]);
      assert.equal(decoder.pendingBytes, 0);
    }
  });
});

describe("encodeFrame", () => {
  it("puts length, operation and payload into one buffer", () => {
    assert.deepEqual(encodeFrame(9, Uint8Array.of(0xa0)), Uint8Array.of(0, 0, 0, 2, 9, 0xa0));
    assert.deepEqual(prefixFrame(Uint8Array.of(9, 0xa0)), Uint8Array.of(0, 0, 0, 2, 9, 0xa0));
    assert.deepEqual(frameHeader(0x01020304), Uint8Array.of(1, 2, 3, 4));
  });
});
