import { crc32 } from "node:zlib";

import { COMPRESSION_PROBE_BLOCKS, INCOMPRESSIBLE_BLOCKS_MAX } from "../core/compression-limits.ts";
import type { BatchRun, BlockContent } from "./block-builder.ts";
import { type BlockHeader, BlockKind } from "./block-layout.ts";
import { type EncodedFrame, encodeFrame, frameProducerBlock } from "./lz4-frame.ts";
import type { StoredBlock } from "./segment-writer.ts";
import type { TimeMark } from "./stream-clock.ts";

/** Turns gathered batches into blocks as they are stored. */
export class BlockEncoder {
  readonly #epoch: number;
  #incompressibleBlocks = 0;
  /** Of the newest message that was stored in this clock era. */
  lastIngestMs: number;

  constructor(options: { readonly epoch: number; readonly lastIngestMs: number }) {
    this.#epoch = options.epoch;
    this.lastIngestMs = options.lastIngestMs;
  }

  encode(
    content: BlockContent,
    at: { readonly firstSequence: number; readonly payloadOffset: number },
    time: TimeMark,
  ): StoredBlock {
    const { raw, messageCount, producerBlock } = content;
    const frame = producerBlock === undefined ? this.#encodeFrame(raw) : frameProducerBlock(producerBlock);
    let storedCrc = 0;
    for (const piece of frame.pieces) storedCrc = crc32(piece, storedCrc);
    const runs = this.#clampRuns(content.runs);
    const header: BlockHeader = {
      kind: BlockKind.Data,
      storedBytes: frame.sizeBytes,
      rawBytes: raw.length,
      storedCrc,
      rawCrc: crc32(raw),
      firstSequence: at.firstSequence,
      payloadOffset: at.payloadOffset,
      messageCount,
      firstIngestMs: runs[0]!.ingestMs,
      lastIngestMs: runs.at(-1)!.ingestMs,
      epoch: this.#epoch,
      syncedPosition: 0,
      ageDeltaMs: 0,
      isAgeProven: time.isAgeProven,
      isStampProven: time.isStampProven,
      runMs: 0,
      runs,
      summary: undefined,
    };
    // The block outlives the builder's buffer: what LZ4 did not shrink is still a view of it.
    const pieces = frame.pieces.map((piece) => (piece.buffer === raw.buffer ? Buffer.from(piece) : piece));
    return { header, frame: pieces, age: { ageMs: time.ageMs, runMs: time.runMs }, clockEra: time.clockEra };
  }

  /** What does not compress is tried only now and then. */
  #encodeFrame(raw: Buffer): EncodedFrame {
    const tryToCompress =
      this.#incompressibleBlocks < INCOMPRESSIBLE_BLOCKS_MAX ||
      this.#incompressibleBlocks % COMPRESSION_PROBE_BLOCKS === 0;
    const frame = encodeFrame(raw, { tryToCompress });
    this.#incompressibleBlocks = frame.compressed ? 0 : this.#incompressibleBlocks + 1;
    return frame;
  }

  /** Ingest times never go back within a clock era (2.5). */
  #clampRuns(runs: readonly BatchRun[]): readonly BatchRun[] {
    let floorMs = this.lastIngestMs;
    let isClamped = false;
    for (const run of runs) {
      if (run.ingestMs < floorMs) isClamped = true;
      floorMs = Math.max(floorMs, run.ingestMs);
    }
    if (!isClamped) return runs;
    floorMs = this.lastIngestMs;
    return runs.map((run) => {
      floorMs = Math.max(floorMs, run.ingestMs);
      return { ...run, ingestMs: floorMs };
    });
  }
}
