import { compressSync, uncompressSync } from "lz4-napi";

import { assert } from "../core/assert.ts";
import { MillraceError } from "../core/errors.ts";
import { BLOCK_RAW_BYTES_MAX, LZ4_BLOCK_RAW_BYTES_MAX, LZ4_RATIO_MAX } from "../core/limits.ts";
import { endsInLiterals } from "./lz4-block-end.ts";

/**
 * One LZ4 frame, little-endian:
 *
 *   0        4    5    6    7            11                                        n-4      n
 *   +--------+----+----+----+------------+----------------------------------- ... -+--------+
 *   | magic  | 60 | 70 | 73 | block size | block | block size | block | ...        | 0      |
 *   +--------+----+----+----+------------+----------------------------------- ... -+--------+
 *
 * 60: version 1, independent blocks, no checksums; 70: blocks of at most 4 MiB raw; 73: checksum of these two. Bit 31 of a
 * block size says that the block is stored as it was. A frame with one block larger than 4 MiB does not decode elsewhere.
 *
 * lz4-napi puts the raw size in the 4 bytes before a block. On the way out the block size is written over them; on the way
 * in they are rebuilt from a size that was checked, because the library allocates whatever they say.
 */
const FRAME_HEADER = Buffer.from("04224d18607073", "hex");
const FRAME_END = Buffer.alloc(4);
const STORED_RAW = 0x80000000;
const SIZE_BYTES = 4;

export const LZ4_FRAME_OVERHEAD_BYTES = FRAME_HEADER.length + SIZE_BYTES + FRAME_END.length;

export interface EncodedFrame {
  /** The frame in pieces, for one writev. They may view `raw`: write them before `raw` is reused. */
  readonly pieces: readonly Uint8Array[];
  readonly sizeBytes: number;
  /** Whether LZ4 made it smaller. */
  readonly compressed: boolean;
}

/** Encodes `raw` as one frame; what does not shrink is stored as it is. `tryToCompress: false` stores without trying. */
export function encodeFrame(raw: Buffer, options: { readonly tryToCompress: boolean }): EncodedFrame {
  assert(raw.length > 0 && raw.length <= BLOCK_RAW_BYTES_MAX, `frame of ${raw.length} raw bytes`);
  const pieces: Uint8Array[] = [FRAME_HEADER];
  let sizeBytes = FRAME_HEADER.length + FRAME_END.length;
  let compressed = false;
  for (let start = 0; start < raw.length; start += LZ4_BLOCK_RAW_BYTES_MAX) {
    const part = raw.subarray(start, start + LZ4_BLOCK_RAW_BYTES_MAX);
    const block = options.tryToCompress ? compressSync(part) : undefined;
    if (block !== undefined && block.length - SIZE_BYTES < part.length) {
      assert(block.readUInt32LE(0) === part.length, "lz4-napi puts the raw size in front of a block");
      block.writeUInt32LE(block.length - SIZE_BYTES, 0);
      pieces.push(block);
      sizeBytes += block.length;
      compressed = true;
    } else {
      const size = Buffer.alloc(SIZE_BYTES);
      size.writeUInt32LE((STORED_RAW | part.length) >>> 0, 0);
      pieces.push(size, part);
      sizeBytes += SIZE_BYTES + part.length;
    }
  }
  pieces.push(FRAME_END);
  return { pieces, sizeBytes, compressed };
}

/**
 * Decodes one frame that must hold exactly `rawBytes`. Nothing is allocated before the sizes in the frame have been
 * checked against `rawBytes`. The result may view `frame`; copy to keep.
 * @throws {MillraceError} STORE_READ_ERROR when the frame is not one of ours or is damaged
 */
export function decodeFrame(frame: Buffer, rawBytes: number): Buffer {
  if (rawBytes < 1 || rawBytes > BLOCK_RAW_BYTES_MAX) throw damaged(`announces ${rawBytes} raw bytes`);
  if (
    frame.length < LZ4_FRAME_OVERHEAD_BYTES ||
    !frame.subarray(0, FRAME_HEADER.length).equals(FRAME_HEADER)
  ) {
    throw damaged("does not begin with the frame descriptor");
  }
  const parts: Buffer[] = [];
  let at = FRAME_HEADER.length;
  for (let start = 0; start < rawBytes; start += LZ4_BLOCK_RAW_BYTES_MAX) {
    if (at + SIZE_BYTES > frame.length) throw damaged("ends inside a block size");
    const word = frame.readUInt32LE(at);
    const size = word & ~STORED_RAW;
    if (at + SIZE_BYTES + size > frame.length) throw damaged("ends inside a block");
    const partBytes = Math.min(LZ4_BLOCK_RAW_BYTES_MAX, rawBytes - start);
    if (word >>> 31 === 1) {
      if (size !== partBytes) throw damaged(`stores ${size} bytes where ${partBytes} belong`);
      parts.push(frame.subarray(at + SIZE_BYTES, at + SIZE_BYTES + size));
    } else {
      parts.push(decodeBlock(frame.subarray(at, at + SIZE_BYTES + size), partBytes));
    }
    at += SIZE_BYTES + size;
  }
  if (at + FRAME_END.length !== frame.length || frame.readUInt32LE(at) !== 0)
    throw damaged("does not end where it should");
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts, rawBytes);
}

/** A block as a producer sent it, once it was unpacked; both parts are bytes of their own. */
export interface ProducerBlock {
  readonly raw: Buffer;
  /** The size word of a frame, and the block. */
  readonly sizedBlock: Buffer;
}

/**
 * Decodes a bare LZ4 block that claims `rawBytes`, as a producer may send one. What passes is a block that any LZ4 program reads.
 * @throws {MillraceError} INVALID_REQUEST when it is not valid or does not give exactly so many bytes
 */
export function decodeLz4Block(block: Uint8Array, rawBytes: number): ProducerBlock {
  if (rawBytes < 1 || rawBytes > LZ4_BLOCK_RAW_BYTES_MAX)
    throw refusedBlock(`claims ${rawBytes} bytes, must be 1 to ${LZ4_BLOCK_RAW_BYTES_MAX}`);
  const sizedBlock = Buffer.allocUnsafe(SIZE_BYTES + block.length);
  sizedBlock.writeUInt32LE(block.length, 0);
  sizedBlock.set(block, SIZE_BYTES);
  const raw = decodeOrRefuse(sizedBlock, rawBytes);
  if (!endsInLiterals(sizedBlock.subarray(SIZE_BYTES), raw))
    throw refusedBlock("does not end in 5 literals, as the format asks");
  return { raw, sizedBlock };
}

function decodeOrRefuse(sizedBlock: Buffer, rawBytes: number): Buffer {
  try {
    return decodeBlock(sizedBlock, rawBytes);
  } catch (cause) {
    throw refusedBlock(`is not valid LZ4 of the announced ${rawBytes} bytes`, cause);
  }
}

/** The frame around a block as its producer sent it. */
export function frameProducerBlock({ sizedBlock }: ProducerBlock): EncodedFrame {
  const sizeBytes = FRAME_HEADER.length + sizedBlock.length + FRAME_END.length;
  return { pieces: [FRAME_HEADER, sizedBlock, FRAME_END], sizeBytes, compressed: true };
}

function refusedBlock(what: string, cause?: unknown): MillraceError {
  return new MillraceError("INVALID_REQUEST", `Cannot append an LZ4 block: it ${what}`, { cause });
}

/** `block` is the size word and the compressed bytes; the word is replaced by the raw size for the time of the call. */
function decodeBlock(block: Buffer, rawBytes: number): Buffer {
  const size = block.length - SIZE_BYTES;
  if (rawBytes > size * LZ4_RATIO_MAX) throw damaged(`claims ${rawBytes} bytes from ${size}`);
  const word = block.readUInt32LE(0);
  block.writeUInt32LE(rawBytes, 0);
  try {
    const raw = uncompressSync(block);
    if (raw.length !== rawBytes) throw damaged(`gives ${raw.length} bytes instead of ${rawBytes}`);
    return raw;
  } catch (error) {
    if (error instanceof MillraceError) throw error;
    throw damaged("is not valid LZ4", error);
  } finally {
    block.writeUInt32LE(word, 0);
  }
}

function damaged(what: string, cause?: unknown): MillraceError {
  return new MillraceError("STORE_READ_ERROR", `Cannot decode an LZ4 frame: it ${what}`, { cause });
}
