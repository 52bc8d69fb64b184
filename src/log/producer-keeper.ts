import type { BatchProducer, BatchRun } from "./block-builder.ts";
import { removeIfThere } from "./durable-file.ts";
import { ProducerTable, type StoredBatch } from "./producer-table.ts";
import { producersPath, writeProducers } from "./producers-file.ts";
import { isExhausted } from "./read-refusals.ts";
import type { Storage } from "./storage.ts";

/** What a start has found out about a stream's producers. */
export interface RecoveredProducers {
  readonly table: ProducerTable;
  /** The file tells of all messages below; 0 without a file that can be trusted to. */
  readonly savedSequence: number;
  /** Everything below was durable when the file was written (R4). */
  readonly evidenceSequence: number;
  /** Exclusive: where the newest batch of a producer ends; 0 when there is none. */
  readonly recordedEnd: number;
}

/**
 * A stream's producers, in memory and across restarts. Block headers name the producer of each batch; the file holds what
 * complete segments say, so that a start reads the headers of the newest segment only, and so that a batch is remembered longer
 * than its messages are kept. Only what is durable is saved: after a power cut the file would else tell of batches that are gone.
 */
export class ProducerKeeper {
  readonly #storage: Storage;
  readonly #directory: string;
  readonly #table: ProducerTable;
  #savedSequence: number;
  #recordedEnd: number;

  constructor(options: {
    readonly storage: Storage;
    readonly directory: string;
    readonly recovered: RecoveredProducers | undefined;
  }) {
    this.#storage = options.storage;
    this.#directory = options.directory;
    this.#table = options.recovered?.table ?? new ProducerTable();
    this.#savedSequence = options.recovered?.savedSequence ?? 0;
    this.#recordedEnd = options.recovered?.recordedEnd ?? 0;
  }

  /** As `ProducerTable.find` does. @throws {SequenceGapError} */
  find(producer: BatchProducer, messageCount: number): StoredBatch | undefined {
    return this.#table.find(producer, messageCount);
  }

  /** The runs of a block that the log has accepted. */
  record(runs: readonly BatchRun[], firstSequence: number): void {
    this.#recordedEnd = this.#table.recordRuns(runs, firstSequence) ?? this.#recordedEnd;
  }

  /** A segment is complete, and everything below `durableEnd` is durable. What cannot be saved is so at a later roll. */
  saveAfterRoll(durableEnd: number): void {
    try {
      this.#save(durableEnd);
    } catch {
      // The block headers still say all of it.
    }
  }

  /**
   * The segment that ends at `endSequence` is about to be deleted, and its block headers with it. Rather than a file that lacks
   * what they say, there is none: a producer that nothing tells of is not known, and has nothing stored twice.
   * @throws the system's error when neither can be done
   */
  saveBeforeDrop(endSequence: number, durableEnd: number): void {
    if (endSequence <= this.#savedSequence) return;
    try {
      this.#save(durableEnd);
    } catch (error) {
      // It can be saved as soon as somebody closes a file: nothing is deleted until then.
      if (isExhausted(error)) throw error;
      removeIfThere(this.#storage, producersPath(this.#directory));
      this.#savedSequence = 0;
      this.#storage.syncDirectory(this.#directory);
    }
  }

  #save(durableEnd: number): void {
    if (this.#recordedEnd <= this.#savedSequence) return;
    const states = this.#table.statesBelow(durableEnd);
    writeProducers(this.#storage, this.#directory, { endSequence: durableEnd, states });
    this.#savedSequence = durableEnd;
  }
}
