import {
  COMPRESSED_BATCH_BYTES_MIN,
  COMPRESSED_BATCH_SHARE_MAX,
  COMPRESSED_LOCAL_BATCH_BYTES_MIN,
  COMPRESSION_PROBE_BLOCKS,
  INCOMPRESSIBLE_BLOCKS_MAX,
} from "../core/compression-limits.ts";
import { LZ4_BLOCK_RAW_BYTES_MAX } from "../core/limits.ts";
import type { Batch } from "./batch.ts";
import { isLoopback } from "./endpoint-url.ts";
import type { BlockCodec, Environment } from "./environment.ts";
import type { Compression } from "./producer-options.ts";

/** Compresses the batches of one producer, where it pays: what hardly shrinks travels as it is, and is tried only now and then. */
export class BatchPacker {
  readonly #codec: BlockCodec;
  readonly #bytesMin: number;
  #futileTries = 0;
  #skipped = 0;

  constructor(codec: BlockCodec, { isLocal }: { readonly isLocal: boolean }) {
    this.#codec = codec;
    this.#bytesMin = isLocal ? COMPRESSED_LOCAL_BATCH_BYTES_MIN : COMPRESSED_BATCH_BYTES_MIN;
  }

  /** `batch` is sealed. */
  pack(batch: Batch): void {
    const raw = batch.rawMessages;
    if (raw.length < this.#bytesMin || raw.length > LZ4_BLOCK_RAW_BYTES_MAX) return;
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

/** What a producer of the engine at `url` packs with, if it does. @throws {MillraceError} INVALID_SETTING where there is no LZ4 */
export async function loadPacker(
  compression: Compression | undefined,
  { environment, url }: { readonly environment: Environment; readonly url: string },
): Promise<BatchPacker | undefined> {
  if (compression !== "lz4") return undefined;
  return new BatchPacker(await environment.loadLz4(), { isLocal: isLoopback(url) });
}
