import assert from "node:assert/strict";
import { compressSync } from "lz4-napi";
import { checkFraming, FramingFault } from "../../src/core/message-framing.ts";
import { decodeFrame, frameProducerBlock } from "../../src/log/lz4-frame.ts";
import { checkBatch } from "../../src/stream/checked-batch.ts";
import { APPEND_FLAG_LZ4 } from "../../src/stream/stream-channel.ts";
import { decodeStrictly } from "../support/strict-lz4.ts";
import { type FuzzTarget, plainAllocation } from "./fuzz-target.ts";
import { accepted } from "./wire-targets.ts";

/** An input: what the batch says of itself, raw size and message count, and its block. */
const HEAD_BYTES = 4;

function inputOf(messages: readonly string[], block?: Buffer): Buffer {
  const raw = Buffer.concat(
    messages.flatMap((message) => {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(message.length);
      return [length, Buffer.from(message)];
    }),
  );
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt16LE(raw.length, 0);
  head.writeUInt16LE(messages.length, 2);
  return Buffer.concat([head, block ?? compressSync(raw).subarray(4)]);
}

/** Batches that their producer compressed, as a stream worker gets them. */
export const compressedBatchTarget: FuzzTarget = {
  name: "compressed-batches",
  sources: [
    "src/stream/checked-batch.js",
    "src/log/lz4-frame.js",
    "src/log/lz4-block-end.js",
    "src/core/message-framing.js",
  ],
  inputBytesMax: 512,
  inputsPerCount: 64,
  // LZ4 packs at most 255 bytes into one; the frame is unpacked once more, and the comparison has an array of numbers.
  allocatedBytesMax: (input) => plainAllocation(input) + 4 * 255 * input.length,
  seeds: () => [
    inputOf(["a".repeat(300)]),
    inputOf(["first", "second", "first and second"]),
    inputOf(Array.from({ length: 20 }, (_, index) => `{"reading":${index},"value":${index * 17}}`)),
    // Literals that look like the end of a match.
    inputOf(["abcdefgh".repeat(9), "\u0010ab"]),
    // Four literals at the end: one too few.
    inputOf(["a".repeat(40)], Buffer.from("1f61010010406161616161", "hex")),
  ],
  run(input) {
    if (input.length < HEAD_BYTES) return;
    const bytes = Buffer.from(input);
    const request = {
      token: 1,
      flags: APPEND_FLAG_LZ4,
      rawBytes: bytes.readUInt16LE(0),
      messageCount: bytes.readUInt16LE(2),
      producer: undefined,
      bytes,
      start: HEAD_BYTES,
      end: bytes.length,
    };
    const batch = accepted(() => checkBatch(request));
    assert.ok(bytes.equals(input), "the input is left as it was");
    if (batch === undefined) return;
    const { source, start, end, producerBlock } = batch;
    assert.equal(end - start, request.rawBytes);
    assert.equal(checkFraming(source, start, end, request.messageCount), FramingFault.None);
    const strict = decodeStrictly(bytes.subarray(HEAD_BYTES));
    assert.deepEqual(strict, new Uint8Array(source.subarray(start, end)), "any LZ4 program reads the block");
    if (producerBlock === undefined) return;
    const frame = Buffer.concat(frameProducerBlock(producerBlock).pieces);
    assert.ok(frame.length < request.rawBytes + 15);
    assert.ok(decodeFrame(frame, request.rawBytes).equals(producerBlock.raw), "the store reads it again");
  },
};
