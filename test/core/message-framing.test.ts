import assert from "node:assert/strict";
import test from "node:test";
import { FramingFault, MESSAGE_LENGTH_BYTES, checkFraming } from "../../src/core/message-framing.ts";
import { seededRandom, testSeed } from "../support/seeded-random.ts";

const bytesOf = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex.replace(/[\s|]/g, ""), "hex"));

test("checkFraming accepts messages that fit exactly, from any start", () => {
  const bytes = bytesOf("ff | 01000000 61 | 02000000 6263 | ff");
  assert.equal(checkFraming(bytes, 1, 12, 2), FramingFault.None);
  assert.equal(checkFraming(bytes, 1, 6, 1), FramingFault.None);
  assert.equal(checkFraming(bytes, 1, 1, 0), FramingFault.None);
});

const faults = [
  { what: "a length past the end", hex: "02000000 61", count: 1, fault: FramingFault.Truncated },
  { what: "the largest length", hex: "ffffffff 61", count: 1, fault: FramingFault.Truncated },
  { what: "a cut length", hex: "01000000 61 0100", count: 2, fault: FramingFault.Truncated },
  { what: "an empty message", hex: "00000000", count: 1, fault: FramingFault.EmptyMessage },
  { what: "a count too high", hex: "01000000 61", count: 2, fault: FramingFault.CountDiffers },
  { what: "a count too low", hex: "01000000 61 01000000 62", count: 1, fault: FramingFault.CountDiffers },
];

for (const { what, hex, count, fault } of faults) {
  test(`checkFraming refuses ${what}`, () => {
    const bytes = bytesOf(hex);
    assert.equal(checkFraming(bytes, 0, bytes.length, count), fault);
  });
}

test("checkFraming agrees with what was framed, and with no proper prefix of it, for seeded batches", () => {
  const random = seededRandom(testSeed);
  for (let round = 0; round < 100; round++) {
    const sizes = Array.from({ length: 1 + Math.floor(random.fraction() * 10) }, () =>
      Math.ceil(random.fraction() * 40),
    );
    const bytes = Buffer.concat(
      sizes.map((size) => {
        const message = Buffer.alloc(MESSAGE_LENGTH_BYTES + size, 1);
        message.writeUInt32LE(size, 0);
        return message;
      }),
    );
    const what = `SEED=${testSeed} round ${round}`;
    assert.equal(checkFraming(bytes, 0, bytes.length, sizes.length), FramingFault.None, what);
    for (let end = 0; end < bytes.length; end++) {
      assert.notEqual(checkFraming(bytes, 0, end, sizes.length), FramingFault.None, `${what} cut at ${end}`);
    }
  }
});
