import {
  COMPRESSED_BATCH_BYTES_MIN,
  COMPRESSED_BATCH_SHARE_MAX,
  COMPRESSION_PROBE_BLOCKS,
  INCOMPRESSIBLE_BLOCKS_MAX,
} from "../core/compression-limits.ts";
import { LZ4_BLOCK_RAW_BYTES_MAX } from "../core/limits.ts";
import type { Batch } from "./batch.ts";
import type { BlockCodec, Environment } from "./environment.ts";

/** Compresses the batches of one producer, where it pays: what hardly shrinks travels as it is, and is tried only now and then. */
export class BatchPacker {
  readonly #codec: BlockCodec;
  #futileTries = 0;
  #skipped = 0;

  constructor(codec: BlockCodec) {
    this.#codec = codec;
  }

  /** `batch` is sealed. */
  pack(batch: Batch): void {
    const raw = batch.rawMessages;
    if (raw.length < COMPRESSED_BATCH_BYTES_MIN || raw.length > LZ4_BLOCK_RAW_BYTES_MAX) return;
    if (this.#futileTries >= INCOMPRESSIBLE_BLOCKS_MAX && ++this.#skipped < COMPRESSION_PROBE_BLOCKS) return;
    this.#skipped = 0;
    const block = this.#codec.compress(raw);
    if (block.length > raw.length * COMPRESSED_BATCH_SHARE_MAX) {
      this.#futileTries++;
      return;
    }
    this.#futileTries = 0;
    batch.packAs(block, this.#codec);
  }
}

/** @throws {MillraceError} INVALID_SETTING where there is no LZ4 */
export async function loadPacker(environment: Environment): Promise<BatchPacker> {
  return new BatchPacker(await environment.loadLz4());
}
