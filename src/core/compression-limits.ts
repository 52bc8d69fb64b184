import { assert } from "./assert.ts";
import { BLOCK_TARGET_BYTES } from "./limits.ts";

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
/** As large as a block of the store, which it becomes as it comes. */
export const CLIENT_COMPRESSED_BATCH_BYTES_DEFAULT = BLOCK_TARGET_BYTES;
/** A producer sends smaller batches as they are, and those of which LZ4 leaves more than this share. */
export const COMPRESSED_BATCH_BYTES_MIN = KIB;
export const COMPRESSED_BATCH_SHARE_MAX = 15 / 16;

assert(PRODUCER_BLOCK_SHARE_MIN * BLOCK_TARGET_BYTES < 64 * KIB, "batches of 64 KiB become blocks");
