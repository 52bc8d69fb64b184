import type { Writable } from "node:stream";
import { writeAll } from "./command-context.ts";

const FLUSH_BYTES = 64 * 1024;

/** Gathers small pieces into large writes: at 64 KiB, and else as soon as the event loop has nothing else to do. */
export class BufferedOutput {
  readonly #target: Writable;
  #pieces: Uint8Array[] = [];
  #bytes = 0;
  #isFlushScheduled = false;

  constructor(target: Writable) {
    this.#target = target;
  }

  /** Takes one piece, which must not change any more. Returns a promise when the caller has to wait for the reader. */
  add(piece: Uint8Array): Promise<void> | undefined {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    if (this.#bytes >= FLUSH_BYTES) return this.flush();
    if (!this.#isFlushScheduled) {
      this.#isFlushScheduled = true;
      setImmediate(() => {
        this.#isFlushScheduled = false;
        void this.flush();
      });
    }
    return undefined;
  }

  async flush(): Promise<void> {
    if (this.#bytes === 0) return;
    const pieces = Buffer.concat(this.#pieces, this.#bytes);
    this.#pieces = [];
    this.#bytes = 0;
    await writeAll(this.#target, pieces);
  }
}
