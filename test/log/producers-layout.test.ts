import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { PRODUCER_WINDOW_BATCHES, PRODUCERS_PER_STREAM_MAX } from "../../src/core/limits.ts";
import { DURABLE_FILE_BYTES_MAX } from "../../src/log/durable-file.ts";
import { decodeProducers, encodeProducers } from "../../src/log/producers-layout.ts";
import { SeededRandom } from "../support/deterministic.ts";

const example = {
  endSequence: 0x0102030405,
  states: [
    {
      id: 2 ** 53 - 1,
      lastSequence: 7,
      batches: [
        { firstSequence: 0x10, messageCount: 0x4000 },
        { firstSequence: 0, messageCount: 0 },
      ],
    },
    { id: 1, lastSequence: 0, batches: [{ firstSequence: 2 ** 40, messageCount: 1 }] },
  ],
};
const exampleHex = `
  0504030201000000 02000000
  ffffffffffff1f00 0700000000000000 0200
    1000000000000000 0040
    0000000000000000 0000
  0100000000000000 0000000000000000 0100
    0000000000010000 0100`.replace(/\s/g, "");

describe("the layout of the producers of a stream", () => {
  it("is what it was", () => {
    assert.equal(encodeProducers(example).toString("hex"), exampleHex);
    assert.deepEqual(decodeProducers(Buffer.from(exampleHex, "hex")), example);
    const nobody = { endSequence: 0, states: [] };
    assert.deepEqual(decodeProducers(encodeProducers(nobody)), nobody);
  });

  it("refuses numbers above 2^53 - 1 in any place, which no writer has", () => {
    const content = encodeProducers(example);
    // The end, then of two producers: id, newest batch, first sequences.
    for (const at of [0, 12, 20, 30, 40, 50, 58, 68]) {
      const other = Buffer.from(content);
      other.writeBigUInt64LE(2n ** 53n, at);
      assert.equal(decodeProducers(other), undefined, `at ${at}`);
    }
  });

  it("refuses every prefix, and bytes behind the end", () => {
    const content = encodeProducers(example);
    for (let end = 0; end < content.length; end++)
      assert.equal(decodeProducers(content.subarray(0, end)), undefined);
    assert.equal(decodeProducers(Buffer.concat([content, Buffer.alloc(1)])), undefined);
  });

  it("refuses what no table holds", () => {
    const changed = (change: (content: Buffer) => void): Buffer => {
      const content = encodeProducers(example);
      change(content);
      return content;
    };
    const refused = [
      changed((content) => content.writeUInt32LE(PRODUCERS_PER_STREAM_MAX + 1, 8)),
      changed((content) => content.writeBigUInt64LE(0n, 12)),
      changed((content) => content.writeUInt16LE(0, 28)),
      changed((content) => content.writeUInt16LE(PRODUCER_WINDOW_BATCHES + 1, 28)),
      // More batches than it has sent.
      changed((content) => content.writeBigUInt64LE(0n, 20)),
    ];
    for (const content of refused) assert.equal(decodeProducers(content), undefined, content.toString("hex"));
  });

  it("fits a durable file when every producer has a full window", () => {
    const random = new SeededRandom(5);
    const states = Array.from({ length: PRODUCERS_PER_STREAM_MAX }, (_, index) => ({
      id: index + 1,
      lastSequence: random.between(PRODUCER_WINDOW_BATCHES, 2 ** 50),
      batches: Array.from({ length: PRODUCER_WINDOW_BATCHES }, () => ({
        firstSequence: random.between(0, 2 ** 52),
        messageCount: random.between(1, 16_384),
      })),
    }));
    const content = encodeProducers({ endSequence: 2 ** 53 - 1, states });
    assert.ok(content.length <= DURABLE_FILE_BYTES_MAX, `${content.length} bytes`);
    assert.deepEqual(decodeProducers(content), { endSequence: 2 ** 53 - 1, states });
  });
});
