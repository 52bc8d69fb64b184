import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MillraceError } from "../../src/core/errors.ts";
import { APPEND_BATCH_BYTES_MAX, LZ4_BLOCK_RAW_BYTES_MAX } from "../../src/core/limits.ts";
import { decodeFrame, decodeLz4Block } from "../../src/log/lz4-frame.ts";
import {
  APPEND_BATCH_HEADER_BYTES,
  createAppendBatchHeader,
  readAppendBatchHeader,
  writeAppendBatchHeader,
} from "../../src/wire/append-batch-layout.ts";

const MIB = 1024 * 1024;
/** More than a real bomb would need, and far less than one gives. */
const SLACK_BYTES = 32 * MIB;

/** One literal, then one match of offset 1 as long as 255 for each byte; five literals at the end, as the format wants. */
function bomb(sizeBytes: number): Buffer {
  const head = Buffer.of(0x1f, 0x61, 1, 0);
  const tail = Buffer.of(0, 0x50, 0x61, 0x61, 0x61, 0x61, 0x61);
  return Buffer.concat([head, Buffer.alloc(sizeBytes - head.length - tail.length, 255), tail]);
}

/** How much larger this process has ever been, once `work` was refused. */
function grownBytes(work: () => unknown, code: string): number {
  const before = process.resourceUsage().maxRSS;
  assert.throws(work, (thrown) => thrown instanceof MillraceError && thrown.code === code);
  return (process.resourceUsage().maxRSS - before) * 1024;
}

describe("an LZ4 block that unpacks to far more than it is", () => {
  const block = bomb(MIB);

  it("is one: with its true size a small one unpacks to 255 times its own", () => {
    const small = bomb(4096);
    let raw = 0;
    for (let size = 4096 * 254; raw === 0; size++) {
      try {
        raw = decodeLz4Block(small, size).raw.length;
      } catch {
        assert.ok(size < 4096 * 255, "it does not unpack at all");
      }
    }
    assert.ok(raw > 4000 * 254);
  });

  it("is refused by the header of its batch where it says how large it is", () => {
    const frame = Buffer.concat([Buffer.alloc(APPEND_BATCH_HEADER_BYTES), block]);
    for (const rawSizeBytes of [256 * MIB, APPEND_BATCH_BYTES_MAX + 1, 2 ** 32 - 1]) {
      writeAppendBatchHeader(frame, {
        handle: 1,
        requestId: 1,
        messageCount: 1000,
        isLz4: true,
        rawSizeBytes,
      });
      const grown = grownBytes(() => {
        readAppendBatchHeader(frame, createAppendBatchHeader());
      }, "FRAME_TOO_LARGE");
      assert.ok(grown < SLACK_BYTES, `grew by ${grown} bytes`);
    }
  });

  it("is refused where it lies about its size, in no more memory than it claims", () => {
    for (const claimed of [1, 4096, APPEND_BATCH_BYTES_MAX, LZ4_BLOCK_RAW_BYTES_MAX]) {
      const grown = grownBytes(() => decodeLz4Block(block, claimed), "INVALID_REQUEST");
      assert.ok(grown < SLACK_BYTES, `grew by ${grown} bytes for ${claimed}`);
    }
    const grown = grownBytes(() => decodeLz4Block(block, 256 * MIB), "INVALID_REQUEST");
    assert.ok(grown < SLACK_BYTES, `grew by ${grown} bytes`);
  });

  it("is refused when four bytes claim four gigabytes", () => {
    for (const claimed of [2 ** 31, 2 ** 32 - 1, LZ4_BLOCK_RAW_BYTES_MAX]) {
      const grown = grownBytes(() => decodeLz4Block(Buffer.of(0x10, 0x61, 0, 0), claimed), "INVALID_REQUEST");
      assert.ok(grown < SLACK_BYTES, `grew by ${grown} bytes`);
    }
  });

  it("is refused in a segment, where its frame claims as much as a block may have", () => {
    const size = Buffer.alloc(4);
    size.writeUInt32LE(block.length);
    const frame = Buffer.concat([Buffer.from("04224d18607073", "hex"), size, block, Buffer.alloc(4)]);
    const grown = grownBytes(() => decodeFrame(frame, LZ4_BLOCK_RAW_BYTES_MAX), "STORE_READ_ERROR");
    assert.ok(grown < SLACK_BYTES, `grew by ${grown} bytes`);
  });
});
