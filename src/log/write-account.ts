import { textOf } from "../core/errors.ts";
import { REWRITE_WRITTEN_SHARE_MAX, WRITE_AMPLIFICATION_MAX } from "../core/limits.ts";

/** Rewrites that failed: they cost nothing but room on the disk, and are tried again. */
export interface RewriteFaults {
  readonly count: number;
  readonly last: string;
}

/** What a stream wrote to its medium since it was opened. */
export class WriteAccount {
  #writtenBytes = 0;
  #rewrittenBytes = 0;
  #syncCount = 0;
  #startOffset = 0;
  #storedBefore = 0;
  #rewriteFaults: RewriteFaults | undefined;
  /** Counts what is written to copies, also to those that come to nothing. */
  readonly rewrites = {
    add: (sizeBytes: number): void => {
      this.#rewrittenBytes += sizeBytes;
    },
  };

  /** To segments that grow: heads, blocks, marks and padding, also where a failed sync made it write again. */
  get writtenBytes(): number {
    return this.#writtenBytes;
  }
  /** To rewritten segments. */
  get rewrittenBytes(): number {
    return this.#rewrittenBytes;
  }

  /** Syncs of the segments that grow; one makes all durable that came before it. */
  get syncCount(): number {
    return this.#syncCount;
  }

  /** Undefined while there were none. */
  get rewriteFaults(): RewriteFaults | undefined {
    return this.#rewriteFaults;
  }

  noteRewriteFault(error: unknown): void {
    this.#rewriteFaults = { count: (this.#rewriteFaults?.count ?? 0) + 1, last: textOf(error) };
  }

  noteSync(): void {
    this.#syncCount += 1;
  }

  add(sizeBytes: number): void {
    this.#writtenBytes += sizeBytes;
  }

  /** What the stream held when it was opened counts as written once: from `payloadOffset` on, in so many bytes. */
  startFrom(held: { readonly payloadOffset: number; readonly storedBytes: number }): void {
    this.#startOffset = held.payloadOffset;
    this.#storedBefore = held.storedBytes;
  }

  /** Whether a rewrite of about so many bytes keeps within what rewrites may cost, with all payload before `payloadOffset`. */
  allowsRewrite(sizeBytes: number, payloadOffset: number): boolean {
    const writtenBytes = this.#storedBefore + this.#writtenBytes;
    const payloadBytes = payloadOffset - this.#startOffset;
    const budgetBytes = Math.max(
      payloadBytes * WRITE_AMPLIFICATION_MAX - writtenBytes,
      writtenBytes * REWRITE_WRITTEN_SHARE_MAX,
    );
    return this.#rewrittenBytes + sizeBytes <= budgetBytes;
  }
}
