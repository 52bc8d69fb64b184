import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, it } from "node:test";
import { compressSync, uncompressSync } from "lz4-napi";
import { MillraceError } from "../../src/core/errors.ts";
import { LZ4_BLOCK_RAW_BYTES_MAX } from "../../src/core/limits.ts";
import { endsInLiterals } from "../../src/log/lz4-block-end.ts";
import { decodeFrame, decodeLz4Block, frameProducerBlock } from "../../src/log/lz4-frame.ts";
import { requireProgram } from "../support/require-program.ts";
import { seededRandom, testSeed } from "../support/seeded-random.ts";
import { decodeStrictly, sequenceOf } from "../support/strict-lz4.ts";

const RUN = Buffer.from("a".repeat(40));
/** One literal, a match of 34 at offset 1, five literals. */
const RUN_BLOCK = Buffer.from("1f6101000f506161616161", "hex");

const refused = (error: unknown): boolean =>
  error instanceof MillraceError && error.code === "INVALID_REQUEST" && /LZ4 block: it /.test(error.message);

describe("decodeLz4Block", () => {
  it("unpacks a block of the format, and frames the very bytes", () => {
    const block = decodeLz4Block(RUN_BLOCK, RUN.length);
    assert.deepEqual(block.raw, RUN);
    const { pieces, sizeBytes, compressed } = frameProducerBlock(block);
    const frame = Buffer.concat(pieces);
    assert.equal(frame.toString("hex"), "04224d186070730b0000001f6101000f50616161616100000000");
    assert.deepEqual([sizeBytes, compressed], [frame.length, true]);
    assert.deepEqual(decodeFrame(frame, RUN.length), RUN);
  });

  it("gives bytes of its own", () => {
    const input = Buffer.from(RUN_BLOCK);
    const block = decodeLz4Block(input, RUN.length);
    input.fill(0);
    assert.deepEqual(block.raw, RUN);
    assert.deepEqual(block.sizedBlock.subarray(4), RUN_BLOCK);
  });

  it("refuses every proper prefix, every longer block, and every other size", () => {
    for (let size = 0; size < RUN_BLOCK.length; size++)
      assert.throws(() => decodeLz4Block(RUN_BLOCK.subarray(0, size), RUN.length), refused, `${size} bytes`);
    assert.throws(() => decodeLz4Block(Buffer.concat([RUN_BLOCK, Buffer.alloc(1)]), RUN.length), refused);
    for (const claimed of [0, 1, RUN.length - 1, RUN.length + 1, 2 ** 20, LZ4_BLOCK_RAW_BYTES_MAX, 2 ** 31])
      assert.throws(() => decodeLz4Block(RUN_BLOCK, claimed), refused, `${claimed} bytes`);
  });

  it("takes of all flips of a bit only those that are blocks by the letter of the format", () => {
    const raw = Buffer.from('{"ts":1762495200003,"v":12.5}{"ts":1762495200006,"v":12.75}'.repeat(4));
    const block = compressSync(raw).subarray(4);
    for (let bit = 0; bit < block.length * 8; bit++) {
      const flipped = Buffer.from(block);
      flipped[bit >>> 3]! ^= 1 << (bit & 7);
      const expected = decodeStrictly(flipped);
      if (expected?.length === raw.length)
        assert.deepEqual(decodeLz4Block(flipped, raw.length).raw, Buffer.from(expected));
      else assert.throws(() => decodeLz4Block(flipped, raw.length), refused, `bit ${bit}`);
    }
  });
});

/** Blocks of few sequences over few letters, so that ends that only look like one are common. */
function* smallBlocks(count: number): Generator<Buffer> {
  const random = seededRandom(testSeed);
  const pick = (from: number, to: number): number => from + Math.floor(random.fraction() * (to - from + 1));
  // Letters, and bytes that are tokens of few literals, offsets, and lengths that go on.
  const letters = [0x61, 0x62, 0x00, 0x01, 0x10, 0x20, 0x30, 0x40, 0xff];
  for (let made = 0; made < count; made++) {
    const literals = (least: number, most: number): Uint8Array =>
      Uint8Array.from({ length: pick(least, most) }, () => letters[pick(0, letters.length - 1)]!);
    const sequences: Buffer[] = [];
    let rawBytes = 0;
    for (let left = pick(0, 3); left > 0; left--) {
      const before = literals(1, 9);
      rawBytes += before.length;
      const match = { offset: pick(1, rawBytes), length: pick(4, pick(0, 3) === 0 ? 800 : 30) };
      rawBytes += match.length;
      sequences.push(sequenceOf(before, match));
    }
    yield Buffer.concat([...sequences, sequenceOf(literals(0, 9))]);
  }
}

function unpack(block: Buffer, sizeMax: number): Buffer | undefined {
  for (let size = 1; size <= sizeMax; size++) {
    const head = Buffer.alloc(4);
    head.writeUInt32LE(size);
    try {
      const raw = uncompressSync(Buffer.concat([head, block]));
      if (raw.length === size) return raw;
    } catch {
      // Another size, or none.
    }
  }
  return undefined;
}

describe("endsInLiterals", () => {
  it("says of every block that lz4-napi unpacks whether the format allows its end", () => {
    const counts = { allowed: 0, refused: 0 };
    for (const block of smallBlocks(4000)) {
      const strict = decodeStrictly(block);
      const raw = strict === undefined ? unpack(block, 3000) : Buffer.from(strict);
      if (raw === undefined || raw.length === 0) continue;
      assert.equal(endsInLiterals(block, raw), strict !== undefined, block.toString("hex"));
      counts[strict === undefined ? "refused" : "allowed"] += 1;
    }
    assert.ok(counts.allowed > 1000 && counts.refused > 100, JSON.stringify(counts));
  });

  it("is no easier on a block than the lz4 program", (t) => {
    if (!requireProgram(t, "lz4", "compare what it takes")) return;
    const abc = Buffer.from("abcdefgh");
    const match = { offset: 8, length: 40 };
    for (const [last, isTaken] of [
      [0, false],
      [2, false],
      [4, false],
      [5, true],
      [8, true],
    ] as const) {
      const block = Buffer.concat([sequenceOf(abc, match), sequenceOf(abc.subarray(0, last))]);
      const rawBytes = 48 + last;
      const take = (): Buffer => Buffer.concat(frameProducerBlock(decodeLz4Block(block, rawBytes)).pieces);
      if (!isTaken) {
        assert.throws(take, /does not end in 5 literals/);
        continue;
      }
      const { status, stdout } = spawnSync("lz4", ["-dc"], { input: take() });
      assert.deepEqual([status, stdout.length], [0, rawBytes]);
    }
  });
});
