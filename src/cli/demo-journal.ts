import { closeSync, openSync, writeSync } from "node:fs";
import { digestOf, DIGEST_BYTES } from "./demo-compare.ts";

const BUFFER_DIGESTS = 4096;

/** What was sent, as a file of digests in order of the messages' numbers. It is complete once it was closed. */
export class JournalWriter {
  readonly #descriptor: number;
  readonly #buffer = Buffer.alloc(BUFFER_DIGESTS * DIGEST_BYTES);
  #usedBytes = 0;

  constructor(file: string) {
    this.#descriptor = openSync(file, "wx", 0o600);
  }

  add(payload: Uint8Array): void {
    this.#usedBytes += digestOf(payload).copy(this.#buffer, this.#usedBytes);
    if (this.#usedBytes === this.#buffer.length) this.#flush();
  }

  close(): void {
    this.#flush();
    closeSync(this.#descriptor);
  }

  #flush(): void {
    let writtenBytes = 0;
    while (writtenBytes < this.#usedBytes) {
      writtenBytes += writeSync(this.#descriptor, this.#buffer, writtenBytes, this.#usedBytes - writtenBytes);
    }
    this.#usedBytes = 0;
  }
}
