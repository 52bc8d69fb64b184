import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { crc32 } from "node:zlib";

import { bytesForCrc, rewindCrc } from "../../src/log/crc-rewind.ts";
import { SeededRandom } from "../support/deterministic.ts";

describe("a CRC that runs backwards", () => {
  it("gives back the seed of any bytes", () => {
    const random = new SeededRandom(3);
    for (let round = 0; round < 200; round++) {
      const bytes = random.bytes(random.between(0, 300));
      const seed = random.between(0, 2 ** 32 - 1);
      assert.equal(rewindCrc(crc32(bytes, seed), bytes), seed);
    }
  });

  it("finds the bytes for any value, behind any others", () => {
    const random = new SeededRandom(4);
    for (let round = 0; round < 200; round++) {
      const before = random.bytes(random.between(0, 20));
      const wanted = random.between(0, 2 ** 32 - 1);
      assert.equal(crc32(bytesForCrc(wanted, crc32(before)), crc32(before)), wanted);
    }
  });
});
