import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { MillraceError } from "../../src/core/errors.ts";
import { LZ4_BLOCK_RAW_BYTES_MAX } from "../../src/core/limits.ts";
import { decodeFrame, encodeFrame } from "../../src/log/lz4-frame.ts";
import { SeededRandom } from "../support/deterministic.ts";

function encoded(raw: Buffer, tryToCompress = true): Buffer {
  const frame = encodeFrame(raw, { tryToCompress });
  const bytes = Buffer.concat(frame.pieces);
  assert.equal(bytes.length, frame.sizeBytes);
  return bytes;
}

const refused = (error: unknown): boolean =>
  error instanceof MillraceError && error.code === "STORE_READ_ERROR";

describe("encodeFrame", () => {
  it("writes the frame that the LZ4 format describes", () => {
    const raw = Buffer.from("a".repeat(40));
    assert.equal(encoded(raw).toString("hex"), "04224d186070730c0000001f6101000e6061616161616100000000");
  });

  it("stores what does not shrink as it is", () => {
    assert.equal(encoded(Buffer.from("abc")).toString("hex"), "04224d186070730300008061626300000000");
    assert.equal(encodeFrame(Buffer.from("abc"), { tryToCompress: true }).compressed, false);
  });

  it("cuts more than 4 MiB into independent blocks that decode to the same", () => {
    const raw = Buffer.alloc(LZ4_BLOCK_RAW_BYTES_MAX * 2 + 5, "millrace ");
    assert.ok(decodeFrame(encoded(raw), raw.length).equals(raw));
  });

  it("round-trips seeded sizes, compressed and stored", () => {
    const random = new SeededRandom(11);
    for (let round = 0; round < 200; round++) {
      const raw = Buffer.alloc(random.between(1, 5000), random.between(0, 1) === 0 ? "json:" : undefined);
      if (round % 3 === 0) raw.set(random.bytes(Math.min(300, raw.length)));
      const isTried = round % 2 === 0;
      assert.ok(decodeFrame(encoded(raw, isTried), raw.length).equals(raw));
    }
  });
});

describe("decodeFrame", () => {
  const raw = Buffer.from("one two one two one two one two one two");
  const frame = encoded(raw);

  it("refuses every proper prefix and every longer input", () => {
    for (let size = 0; size < frame.length; size++) {
      assert.throws(() => decodeFrame(Buffer.from(frame.subarray(0, size)), raw.length), refused);
    }
    assert.throws(() => decodeFrame(Buffer.concat([frame, Buffer.alloc(1)]), raw.length), refused);
  });

  it("refuses a size that the frame cannot hold, before anything is allocated", () => {
    for (const claimed of [0, -1, raw.length - 1, raw.length + 1, 2 ** 24, 2 ** 31]) {
      assert.throws(() => decodeFrame(frame, claimed), refused);
    }
  });

  it("leaves its input as it was, also when it refuses", () => {
    const before = Buffer.from(frame);
    assert.throws(() => decodeFrame(frame, raw.length + 1), refused);
    decodeFrame(frame, raw.length);
    assert.ok(frame.equals(before));
  });
});
