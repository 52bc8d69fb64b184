import { assert } from "../core/assert.ts";
import { RING_FRAGMENT_BYTES_MAX } from "../core/limits.ts";
import { FRAGMENT_BEGIN, FRAGMENT_END, FRAGMENT_MORE, FRAGMENT_TOTAL_BYTES } from "./ring-layout.ts";
import type { RingWriter } from "./ring-writer.ts";

interface QueuedRecord {
  readonly type: number;
  readonly bytes: Uint8Array;
  sentBytes: number;
}

/**
 * Sends records of any size over a ring, in order. What the ring cannot take now waits here as a copy; the caller bounds
 * that by stopping its source when `send` answers false and going on when `flush` answers true.
 */
export class RingSender {
  readonly writer: RingWriter;
  readonly #fragmentBytesMax: number;
  readonly #queue: QueuedRecord[] = [];
  #queuedBytes = 0;

  constructor(writer: RingWriter) {
    this.writer = writer;
    this.#fragmentBytesMax = Math.min(RING_FRAGMENT_BYTES_MAX, writer.recordBytesMax);
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  get isClear(): boolean {
    return this.#queue.length === 0;
  }

  /** The offset in `writer.bytes` to write a body of `lengthBytes` to before `writer.commit()`, or -1: use `send` then. */
  claim(type: number, lengthBytes: number): number {
    if (this.#queue.length > 0 || lengthBytes > this.#fragmentBytesMax) return -1;
    return this.writer.claim(type, lengthBytes);
  }

  /** Sends `head` and `body` as one record. @returns false when part of it had to be queued. Both are copied during the call. */
  send(type: number, head: Uint8Array, body?: Uint8Array): boolean {
    const bodyBytes = body?.length ?? 0;
    const at = this.claim(type, head.length + bodyBytes);
    if (at >= 0) {
      this.writer.bytes.set(head, at);
      if (body !== undefined) this.writer.bytes.set(body, at + head.length);
      this.writer.commit();
      return true;
    }
    const bytes = new Uint8Array(head.length + bodyBytes);
    bytes.set(head);
    if (body !== undefined) bytes.set(body, head.length);
    this.#queue.push({ type, bytes, sentBytes: 0 });
    this.#queuedBytes += bytes.length;
    return this.flush();
  }

  /** Sends what waits, as far as the ring takes it. @returns true when nothing is left. */
  flush(): boolean {
    for (;;) {
      const record = this.#queue[0];
      if (record === undefined) return true;
      if (!this.#sendPart(record)) return false;
      if (record.sentBytes < record.bytes.length) continue;
      this.#queue.shift();
      this.#queuedBytes -= record.bytes.length;
    }
  }

  #sendPart(record: QueuedRecord): boolean {
    const { bytes, sentBytes } = record;
    if (sentBytes === 0 && bytes.length <= this.#fragmentBytesMax) return this.#sendWhole(record);
    const isFirst = sentBytes === 0;
    const headBytes = isFirst ? FRAGMENT_TOTAL_BYTES : 0;
    const partBytes = Math.min(bytes.length - sentBytes, this.#fragmentBytesMax - headBytes);
    const isLast = sentBytes + partBytes === bytes.length;
    assert(!(isFirst && isLast), "a record that fits one fragment is sent whole");
    const part = isFirst ? FRAGMENT_BEGIN : isLast ? FRAGMENT_END : FRAGMENT_MORE;
    const at = this.writer.claim(record.type | part, headBytes + partBytes);
    if (at < 0) return false;
    if (isFirst) this.writer.bytes.writeUInt32LE(bytes.length, at);
    this.writer.bytes.set(bytes.subarray(sentBytes, sentBytes + partBytes), at + headBytes);
    this.writer.countFragment();
    this.writer.commit();
    record.sentBytes += partBytes;
    return true;
  }

  #sendWhole(record: QueuedRecord): boolean {
    const at = this.writer.claim(record.type, record.bytes.length);
    if (at < 0) return false;
    this.writer.bytes.set(record.bytes, at);
    this.writer.commit();
    record.sentBytes = record.bytes.length;
    return true;
  }
}
