import { assert } from "../core/assert.ts";
import type { StreamPlace } from "../core/stream-ledger.ts";
import { blockEndSequence, payloadBytesOf } from "./block-layout.ts";
import { type DecodedBlock, decodeBody } from "./decoded-block.ts";
import type { StoredBlock } from "./segment-writer.ts";
import { blockPlace } from "./stream-places.ts";

/** Stored blocks that are not durable yet, oldest first. A failed sync is answered by writing them again elsewhere. */
export class UnsyncedWindow {
  #blocks: StoredBlock[] = [];
  #storedBytes = 0;
  #since = 0;

  get blocks(): readonly StoredBlock[] {
    return this.#blocks;
  }
  get storedBytes(): number {
    return this.#storedBytes;
  }
  get isEmpty(): boolean {
    return this.#blocks.length === 0;
  }
  get firstSequence(): number | undefined {
    return this.#blocks[0]?.header.firstSequence;
  }
  /** Of the first message that is not durable. */
  get place(): StreamPlace | undefined {
    const header = this.#blocks[0]?.header;
    return header && blockPlace(header);
  }
  /** Monotonic ms since which something waits to become durable; of no meaning while empty. */
  get sinceMs(): number {
    return this.#since;
  }

  push(block: StoredBlock, monotonicMs: number): void {
    const last = this.#blocks.at(-1);
    if (last === undefined) this.#since = monotonicMs;
    else assert(blockEndSequence(last.header) <= block.header.firstSequence, "the window is in order");
    this.#blocks.push(block);
    this.#storedBytes += block.header.storedBytes;
  }

  /** Everything below `sequence` has become durable; the rest has waited at most since `monotonicMs`. */
  dropBelow(sequence: number, monotonicMs: number): void {
    let count = 0;
    while (count < this.#blocks.length && blockEndSequence(this.#blocks[count]!.header) <= sequence) {
      this.#storedBytes -= this.#blocks[count]!.header.storedBytes;
      count += 1;
    }
    if (count > 0) this.#blocks = this.#blocks.slice(count);
    this.#since = monotonicMs;
  }

  messageTotals(): {
    readonly messageCount: number;
    readonly payloadBytes: number;
    readonly rawBytes: number;
    readonly blockCount: number;
  } {
    let messageCount = 0;
    let payloadBytes = 0;
    let rawBytes = 0;
    for (const { header } of this.#blocks) {
      messageCount += header.messageCount;
      payloadBytes += payloadBytesOf(header);
      rawBytes += header.rawBytes;
    }
    return { messageCount, payloadBytes, rawBytes, blockCount: this.#blocks.length };
  }

  /** The block that holds `sequence`, decoded from memory. */
  read(sequence: number): DecodedBlock {
    let low = 0;
    let high = this.#blocks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#blocks[middle]!.header.firstSequence <= sequence) low = middle;
      else high = middle - 1;
    }
    const block = this.#blocks[low];
    assert(
      block !== undefined && sequence < blockEndSequence(block.header),
      `sequence ${sequence} is not in the window`,
    );
    const decoded = decodeBody(block.header, Buffer.concat(block.frame));
    assert(decoded !== undefined, "a block in memory decodes");
    return decoded;
  }
}
