import { type BlockHeader, BlockKind, blockEndSequence } from "./block-layout.ts";
import type { RecoveredProducers } from "./producer-keeper.ts";
import { ProducerTable } from "./producer-table.ts";
import { readProducers } from "./producers-file.ts";
import type { StoredProducers } from "./producers-layout.ts";
import { nextBlock, type SegmentSource } from "./segment-scanner.ts";
import { SEGMENT_HEADER_BYTES } from "./segment-layout.ts";
import type { Storage } from "./storage.ts";

/** Puts together what the file and the block headers behind it say of a stream's producers. */
export class ProducerRecovery {
  /** There is a file, and it cannot be trusted: the block headers that exist say what they can. */
  readonly isDamaged: boolean;
  readonly #stored: StoredProducers;
  readonly #table = new ProducerTable();
  #recordedEnd = 0;

  constructor(storage: Storage, directory: string) {
    const found = readProducers(storage, directory);
    this.isDamaged = found === "damaged";
    this.#stored = typeof found === "string" ? { endSequence: 0, states: [] } : found;
    for (const state of this.#stored.states) this.#table.restore(state);
  }

  /** Messages below were durable when the file was written (R4). */
  get provenSequence(): number {
    return this.#stored.endSequence;
  }

  /** A complete segment; segments come in order. */
  addSegment(
    source: SegmentSource,
    segment: { readonly endSequence: number; readonly endBytes: number; readonly namesProducers: boolean },
  ): void {
    const { endSequence, endBytes, namesProducers } = segment;
    if (endSequence <= this.#stored.endSequence || !namesProducers) return;
    let position = SEGMENT_HEADER_BYTES;
    while (position < endBytes) {
      const step = nextBlock(source, position, endBytes);
      if (step === undefined) return;
      if (blockEndSequence(step.header) <= endSequence) this.addBlock(step.header);
      position = step.nextPosition;
    }
  }

  /** A block of the log; blocks come in order. */
  addBlock(header: Pick<BlockHeader, "kind" | "firstSequence" | "messageCount" | "runs">): void {
    if (header.kind !== BlockKind.Data || header.firstSequence < this.#stored.endSequence) return;
    this.#recordedEnd = this.#table.recordRuns(header.runs, header.firstSequence) ?? this.#recordedEnd;
  }

  /** The log ends at `endSequence`. The file tells of what lies behind it only if the medium has lost what was durable. */
  finish(endSequence: number): RecoveredProducers {
    const evidenceSequence = this.#stored.endSequence;
    if (evidenceSequence <= endSequence) {
      const recordedEnd = this.#recordedEnd;
      return { table: this.#table, savedSequence: evidenceSequence, evidenceSequence, recordedEnd };
    }
    // The file is to be written anew: it must not speak of batches that are gone once the log has grown past them.
    const table = new ProducerTable();
    for (const state of this.#table.statesBelow(endSequence)) table.restore(state);
    return { table, savedSequence: 0, evidenceSequence, recordedEnd: evidenceSequence };
  }
}
