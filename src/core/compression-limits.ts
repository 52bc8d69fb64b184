import { assert } from "./assert.ts";
import { APPEND_BATCH_BYTES_MAX, BLOCK_TARGET_BYTES, LZ4_BLOCK_RAW_BYTES_MAX } from "./limits.ts";

/** What is worth compressing: in the store, and for a producer that compresses its batches itself. */
const KIB = 1024;

/** After this many blocks in a row that LZ4 could not shrink, it is tried on every COMPRESSION_PROBE_BLOCKS-th only. */
export const INCOMPRESSIBLE_BLOCKS_MAX = 4;
export const COMPRESSION_PROBE_BLOCKS = 16;
/**
 * A batch that its producer compressed becomes a block as it came if it has so large a part of a block's target, which batches of
 * 64 KiB have even where a message did not fit any more. A smaller one is compressed again, together with others: alone, LZ4
 * finds less in it (at 16 KiB 16 % less than at 256, on inference JSON), and the block's header counts for more.
 */
export const PRODUCER_BLOCK_SHARE_MIN = 3 / 16;
/** Nor does a larger one, which can only be a single message: within 12 bytes of 4 MiB liblz4 asks for more than the engine checks. */
export const PRODUCER_BLOCK_BYTES_MAX = APPEND_BATCH_BYTES_MAX;
/** A worker returns to its event loop when it has unpacked so much: a slice of its ring may hold 255 times as much as it has bytes. */
export const UNPACKED_BYTES_PER_TURN_MAX = 16 * KIB * KIB;
/** As large as a block of the store, which it becomes as it comes. */
export const CLIENT_COMPRESSED_BATCH_BYTES_DEFAULT = BLOCK_TARGET_BYTES;
/**
 * A producer sends smaller batches as they are, and those of which LZ4 leaves more than this share. To an engine on the same machine
 * it compresses only what becomes a block as it comes: no link carries less for the rest, and both would compress it.
 */
export const COMPRESSED_BATCH_BYTES_MIN = KIB;
export const COMPRESSED_LOCAL_BATCH_BYTES_MIN = PRODUCER_BLOCK_SHARE_MIN * BLOCK_TARGET_BYTES;
export const COMPRESSED_BATCH_SHARE_MAX = 15 / 16;

assert(
  PRODUCER_BLOCK_BYTES_MAX + 12 <= LZ4_BLOCK_RAW_BYTES_MAX,
  "any LZ4 program reads what is stored as it came",
);
assert(PRODUCER_BLOCK_SHARE_MIN * BLOCK_TARGET_BYTES < 64 * KIB, "batches of 64 KiB become blocks");
