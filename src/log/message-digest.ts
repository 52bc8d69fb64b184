import { crc32 } from "node:zlib";

import { type BatchRun, goesOn } from "./block-builder.ts";

const RUN_FIELDS = 4;

/**
 * What messages are, however they lie in blocks: their bytes and order, their ingest times, their batches where a producer
 * named itself. Two ways to store the same messages have equal digests.
 */
export class MessageDigest {
  #messageCount = 0;
  #rawCrc = 0;
  #runsCrc = 0;
  /** Not yet in the checksum: the next one may go on with it. */
  #lastRun: BatchRun | undefined;
  readonly #fields = new Float64Array(RUN_FIELDS);
  readonly #fieldBytes = new Uint8Array(this.#fields.buffer);

  /** Messages that follow those before: `u32 LE length, bytes` each, and the runs that they came in. */
  add(raw: Uint8Array, runs: readonly BatchRun[]): void {
    this.#rawCrc = crc32(raw, this.#rawCrc);
    for (const run of runs) {
      this.#messageCount += run.messageCount;
      const last = this.#lastRun;
      if (last !== undefined && goesOn(last, run)) last.messageCount += run.messageCount;
      else {
        this.#take();
        this.#lastRun = { ...run };
      }
    }
  }

  #take(): void {
    const run = this.#lastRun;
    if (run === undefined) return;
    this.#fields[0] = run.messageCount;
    this.#fields[1] = run.ingestMs;
    this.#fields[2] = run.producer?.id ?? 0;
    this.#fields[3] = run.producer?.sequence ?? 0;
    this.#runsCrc = crc32(this.#fieldBytes, this.#runsCrc);
    this.#lastRun = undefined;
  }

  equals(other: MessageDigest): boolean {
    this.#take();
    other.#take();
    return (
      this.#messageCount === other.#messageCount &&
      this.#rawCrc === other.#rawCrc &&
      this.#runsCrc === other.#runsCrc
    );
  }
}
