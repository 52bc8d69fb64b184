import { compressSync, uncompressSync } from "lz4-napi";
import { assert } from "../core/assert.ts";
import { readU32 } from "../wire/little-endian.ts";
import type { BlockCodec } from "./environment.ts";

/** What lz4-napi has in front of a block: the raw size. */
const SIZE_BYTES = 4;

export const nodeLz4: BlockCodec = {
  compress(raw) {
    const sized = compressSync(Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength));
    assert(readU32(sized, 0) === raw.length, "lz4-napi puts the raw size in front of a block");
    return sized.subarray(SIZE_BYTES);
  },
  decompress(block, rawBytes) {
    const sized = Buffer.allocUnsafe(SIZE_BYTES + block.length);
    sized.writeUInt32LE(rawBytes, 0);
    sized.set(block, SIZE_BYTES);
    const raw = uncompressSync(sized);
    assert(raw.length === rawBytes, "a block unpacks to what it was made of");
    return raw;
  },
};
