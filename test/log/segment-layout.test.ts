import assert from "node:assert/strict";
import { describe, it } from "node:test";

import {
  type BlockHeader,
  BlockKind,
  decodeBlockHeader,
  encodeBlockHeader,
  encodePadding,
  paddingBytes,
} from "../../src/log/block-layout.ts";
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  formatSegmentName,
  parseSegmentName,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from "../../src/log/segment-layout.ts";

const segmentId = Buffer.from("00112233445566778899aabbccddeeff", "hex");
const segment: SegmentHeader = {
  streamId: Buffer.alloc(16, 0xa1),
  segmentId,
  baseSequence: 2 ** 40 + 5,
  generation: 3,
  epoch: 9,
  createdMs: 1_700_000_000_123,
  clockEra: 1,
  predecessor: {
    segmentId: Buffer.alloc(16, 0xb2),
    baseSequence: 77,
    endSequence: 2 ** 40 + 5,
    endBytes: 16384,
  },
};

const block: BlockHeader = {
  kind: BlockKind.Data,
  storedBytes: 70_000,
  rawBytes: 250_000,
  storedCrc: 0x11223344,
  rawCrc: 0xfedcba98,
  firstSequence: 2 ** 33 + 1,
  messageCount: 1500,
  firstIngestMs: 1_700_000_000_000,
  lastIngestMs: 1_700_000_000_250,
  epoch: 9,
  syncedPosition: 2 ** 34,
  clockEra: 0,
  runs: [
    { messageCount: 1000, ingestMs: 1_700_000_000_000 },
    { messageCount: 500, ingestMs: 1_700_000_000_250, producer: { id: 2 ** 50, sequence: 12 } },
  ],
  summary: undefined,
};

describe("segment header", () => {
  it("has this form", () => {
    const area = encodeSegmentHeader(segment);
    assert.equal(
      area.subarray(0, 124).toString("hex"),
      "5a2a4d18f80700004d5253477b9d9fd90100010009000000" +
        "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1" +
        "00112233445566778899aabbccddeeff" +
        "05000000000100007b68e5cf8b010000" +
        "4d00000000000000b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2" +
        "050000000001000000400000000000000300000001000000" +
        "00000000",
    );
  });

  it("round-trips, and stands twice so that either copy is enough", () => {
    for (const damagedAt of [-1, 100, SEGMENT_HEADER_BYTES / 2 + 100]) {
      const area = encodeSegmentHeader(segment);
      if (damagedAt >= 0) area[damagedAt] = area[damagedAt]! ^ 1;
      assert.deepEqual(decodeSegmentHeader(area), segment);
    }
  });

  it("is refused when the same bit is wrong in both copies, whichever it is, and as a prefix", () => {
    const half = SEGMENT_HEADER_BYTES / 2;
    for (let bit = 0; bit < half * 8; bit += 7) {
      const area = encodeSegmentHeader(segment);
      for (const start of [0, half]) area[start + (bit >> 3)] = area[start + (bit >> 3)]! ^ (1 << (bit & 7));
      const decoded = decodeSegmentHeader(area);
      // The length word of the skippable frame is LZ4's; it is covered all the same.
      assert.equal(decoded, undefined, `bit ${bit}`);
    }
    const area = encodeSegmentHeader(segment);
    for (let size = 0; size < half; size++)
      assert.equal(decodeSegmentHeader(area.subarray(0, size)), undefined);
  });

  it("names files so that they sort by base and generation, and reads only such names", () => {
    const name = formatSegmentName({ baseSequence: 42, generation: 7 });
    assert.equal(name, "00000000000000000042-0007.lz4");
    assert.deepEqual(parseSegmentName(name), { baseSequence: 42, generation: 7 });
    for (const other of ["42-0007.lz4", `${name}.tmp`, "99999999999999999999-0000.lz4", "definition"]) {
      assert.equal(parseSegmentName(other), undefined);
    }
  });
});

describe("block header", () => {
  const position = 2 ** 33 + 4096;
  const bytes = encodeBlockHeader(block, segmentId, position);

  it("has this form", () => {
    assert.equal(
      bytes.toString("hex"),
      "5b2a4d18640000004d52424b086ef8cf70110100" +
        "90d0030044332211" +
        "98badcfe0100000002000000dc0500000100020000" +
        "68e5cf8b010000fa000000" +
        "09000000000000000400000000000000" +
        "e803000000000000" +
        "f4010080fa00000000000000000004000c00000000000000",
    );
  });

  it("round-trips", () => {
    const decoded = decodeBlockHeader(bytes, segmentId, position);
    assert.ok(decoded !== undefined);
    const { headerBytes, ...rest } = decoded;
    assert.equal(headerBytes, bytes.length);
    assert.deepEqual(JSON.parse(JSON.stringify(rest)), JSON.parse(JSON.stringify(block)));
  });

  it("is refused with any bit flipped, as any prefix, in another segment and at another place", () => {
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes);
      flipped[bit >> 3] = flipped[bit >> 3]! ^ (1 << (bit & 7));
      assert.equal(decodeBlockHeader(flipped, segmentId, position), undefined, `bit ${bit}`);
    }
    for (let size = 0; size < bytes.length; size++) {
      assert.equal(decodeBlockHeader(bytes.subarray(0, size), segmentId, position), undefined);
    }
    assert.equal(decodeBlockHeader(bytes, Buffer.alloc(16), position), undefined);
    assert.equal(decodeBlockHeader(bytes, segmentId, position + 1), undefined);
  });

  it("is refused when its sizes cannot be true, whatever its checksum says", () => {
    const wrong: Partial<BlockHeader>[] = [
      { rawBytes: 2 ** 31 },
      { rawBytes: 100 },
      { storedBytes: 10 },
      { storedBytes: 900 },
      { storedBytes: 400_000 },
      { messageCount: 1499 },
    ];
    for (const change of wrong) {
      const forged = encodeBlockHeader({ ...block, ...change }, segmentId, position);
      assert.equal(decodeBlockHeader(forged, segmentId, position), undefined, JSON.stringify(change));
    }
  });

  it("costs at most 100 bytes for a block of plain batches", () => {
    const plain = { ...block, runs: [{ messageCount: 1500, ingestMs: block.firstIngestMs }] };
    assert.ok(encodeBlockHeader(plain, segmentId, position).length <= 100);
  });
});

describe("padding", () => {
  it("reaches the next multiple, or the one behind when 8 bytes do not fit, and holds zeros", () => {
    for (let position = 4096; position < 8193; position++) {
      const padding = encodePadding(position, 4096);
      if (position % 4096 === 0) assert.equal(padding, undefined);
      else {
        assert.ok(padding !== undefined && (position + padding.length) % 4096 === 0);
        assert.equal(paddingBytes(padding, position), padding.length);
        assert.ok(padding.subarray(8).every((byte) => byte === 0));
      }
    }
    assert.equal(encodePadding(5000, 0), undefined);
  });
});
