import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { crc32 } from "node:zlib";

import {
  type BlockHeader,
  BlockKind,
  decodeBlockHeader,
  encodeBlockHeader,
  encodePadding,
  paddingBytes,
} from "../../src/log/block-layout.ts";
import {
  blockSeed,
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
  basePayloadOffset: 2 ** 41 + 6,
  generation: 3,
  epoch: 9,
  createdMs: 1_700_000_000_123,
  clockEra: 1,
  rewritten: undefined,
  ageMs: 2 ** 36 + 7,
  runMs: 2 ** 34 + 3,
  reference: { stampMs: 1_600_000_000_123, ageMs: 2 ** 35 + 1 },
  predecessor: {
    segmentId: Buffer.alloc(16, 0xb2),
    baseSequence: 77,
    endSequence: 2 ** 40 + 5,
    endBytes: 16384,
    endPayloadOffset: 2 ** 41 + 4,
  },
};

const block: BlockHeader = {
  kind: BlockKind.Data,
  storedBytes: 70_000,
  rawBytes: 250_000,
  storedCrc: 0x11223344,
  rawCrc: 0xfedcba98,
  firstSequence: 2 ** 33 + 1,
  payloadOffset: 2 ** 42 + 3,
  messageCount: 1500,
  firstIngestMs: 1_700_000_000_000,
  lastIngestMs: 1_700_000_000_250,
  epoch: 9,
  syncedPosition: 2 ** 34,
  ageDeltaMs: 2 ** 31 + 9,
  isAgeProven: true,
  isStampProven: false,
  runMs: 0,
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
      area.subarray(0, 184).toString("hex"),
      "5a2a4d18f80700004d525347fbe9b9040100010009000000" +
        "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1" +
        "00112233445566778899aabbccddeeff" +
        "05000000000100007b68e5cf8b010000" +
        "4d00000000000000b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2" +
        "050000000001000000400000000000000300000001000000" +
        "0600000000020000040000000002000000000000000000000000000000000000" +
        "070000001000000003000000040000007b806e87740100000100000008000000",
    );
  });

  it("of a rewritten segment says where it ends", () => {
    const rewritten = { endSequence: 2 ** 41, endPayloadOffset: 2 ** 45 };
    const area = encodeSegmentHeader({ ...segment, rewritten });
    assert.equal(area.subarray(16, 20).toString("hex"), "01000300");
    assert.equal(area.subarray(136, 152).toString("hex"), "00000000000200000000000000200000");
    assert.deepEqual(decodeSegmentHeader(area), { ...segment, rewritten });
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
      "5b2a4d185c0000004d52424bf1aaacad70110100" +
        "90d0030044332211" +
        "98badcfe0100000002000000dc0500000104020000" +
        "68e5cf8b010000fa000000" +
        "0900000000000000040000000900008003000000" +
        "00040000" +
        "a01f00" +
        "d10ffa0180808080808080020c",
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

  it("costs 86 bytes for a block of one batch", () => {
    const plain = { ...block, messageCount: 1, runs: [{ messageCount: 1, ingestMs: block.firstIngestMs }] };
    assert.equal(encodeBlockHeader(plain, segmentId, position).length, 86);
  });

  it("of a seal carries the summary of its segment, and no runs", () => {
    const summary = {
      messageCount: 2 ** 33,
      payloadBytes: 2 ** 40 + 1,
      rawBytes: 2 ** 40 + 2,
      firstIngestMs: 1_700_000_000_000,
      lastIngestMs: 1_700_000_000_001,
      blockCount: 2 ** 32 + 7,
      namesProducers: true,
      lastAge: { ageMs: 2 ** 36 + 8, runMs: 2 ** 35 + 9 },
    };
    const nothing = { storedBytes: 0, rawBytes: 0, storedCrc: 0, rawCrc: 0, messageCount: 0 };
    const runMs = 2 ** 35 + 10;
    const seal: BlockHeader = { ...block, ...nothing, kind: BlockKind.Seal, runs: [], runMs, summary };
    const decoded = decodeBlockHeader(encodeBlockHeader(seal, segmentId, position), segmentId, position);
    assert.deepEqual(decoded?.summary, summary);
    const unnamed = { ...seal, summary: { ...summary, namesProducers: false } };
    const plain = decodeBlockHeader(encodeBlockHeader(unnamed, segmentId, position), segmentId, position);
    assert.equal(plain?.summary?.namesProducers, false);
    assert.deepEqual([decoded.runMs, decoded.storedCrc, decoded.rawCrc], [runMs, 0, 0]);
    const forged = encodeBlockHeader({ ...seal, runs: block.runs }, segmentId, position);
    assert.equal(decodeBlockHeader(forged, segmentId, position), undefined);
  });
});

describe("a header with a right checksum around what no writer writes", () => {
  const COPY_BYTES = SEGMENT_HEADER_BYTES / 2;

  /** Both copies with `change` made, and the checksum that fits. */
  function forged(change: (copy: Buffer) => void): Buffer {
    const area = encodeSegmentHeader(segment);
    const copy = Buffer.from(area.subarray(0, COPY_BYTES));
    change(copy);
    copy.writeUInt32LE(crc32(copy.subarray(16), crc32(copy.subarray(0, 12))), 12);
    return Buffer.concat([copy, copy]);
  }

  it("is read where nothing else was changed", () => {
    assert.deepEqual(decodeSegmentHeader(forged(() => undefined)), segment);
  });

  it("is none when a number is above 2^53 - 1", () => {
    for (const at of [56, 64, 72, 96, 104, 120, 128, 152, 160, 168, 176]) {
      const area = forged((copy) => copy.writeBigUInt64LE(2n ** 53n, at));
      assert.equal(decodeSegmentHeader(area), undefined, `at ${at}`);
    }
  });

  it("is none when the generation has no name", () => {
    const area = forged((copy) => copy.writeUInt32LE(10_000, 112));
    assert.equal(decodeSegmentHeader(area), undefined);
  });

  it("is none of a block either", () => {
    for (const at of [32, 48, 64, 76]) {
      const header = encodeBlockHeader(block, segmentId, 8192);
      header.writeBigUInt64LE(2n ** 53n, at);
      const head = crc32(header.subarray(0, 12), blockSeed(segmentId, 8192));
      header.writeUInt32LE(crc32(header.subarray(16), head), 12);
      assert.equal(decodeBlockHeader(header, segmentId, 8192), undefined, `at ${at}`);
    }
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
