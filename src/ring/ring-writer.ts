import { assert } from "../core/assert.ts";
import {
  COUNTERS_INDEX,
  DATA_OFFSET_BYTES,
  HEAD_INDEX,
  RECORD_HEADER_BYTES,
  RECORD_TYPE_PADDING,
  RingCounter,
  SPACE_WANTED_INDEX,
  TAIL_INDEX,
  alignRecord,
  recordBytesMax,
  ringCapacity,
} from "./ring-layout.ts";

/** Told after each record; may wake the reader later, if it is certain to. */
export interface ReaderDoorbell {
  ring(): void;
}

/** For a writer whose owner rings by itself when it has written all it has. */
export const silentDoorbell: ReaderDoorbell = { ring: () => undefined };

/** The writing half of a ring. Never blocks and never throws for want of room: `claim` then answers -1. */
export class RingWriter {
  /** The whole shared memory; a claimed body is `bytes[at, at + length)`. */
  readonly bytes: Buffer;
  readonly recordBytesMax: number;
  readonly #words: Int32Array;
  readonly #capacityBytes: number;
  readonly #readerDoorbell: ReaderDoorbell;
  #tail: number;
  /** The reader's position when last looked at: reading it each time would bounce its cache line between the cores. */
  #headSeen: number;
  #claimedBytes = 0;

  constructor(memory: SharedArrayBuffer, readerDoorbell: ReaderDoorbell) {
    this.bytes = Buffer.from(memory);
    this.#words = new Int32Array(memory);
    this.#capacityBytes = ringCapacity(memory);
    this.recordBytesMax = recordBytesMax(this.#capacityBytes);
    this.#readerDoorbell = readerDoorbell;
    this.#tail = Atomics.load(this.#words, TAIL_INDEX);
    this.#headSeen = Atomics.load(this.#words, HEAD_INDEX);
  }

  /**
   * Reserves room for one record. @returns the offset of its body in `bytes`, to be filled before `commit`, or -1 when the
   * ring has no room; the reader then rings this thread's doorbell once it has made some.
   */
  claim(type: number, lengthBytes: number): number {
    assert(
      lengthBytes <= this.recordBytesMax,
      `record of ${lengthBytes} bytes, at most ${this.recordBytesMax}`,
    );
    assert(this.#claimedBytes === 0, "a claim is committed before the next one");
    const sizeBytes = alignRecord(lengthBytes);
    const index = this.#tail & (this.#capacityBytes - 1);
    const contiguousBytes = this.#capacityBytes - index;
    const paddingBytes = contiguousBytes < sizeBytes ? contiguousBytes : 0;
    if (!this.#hasRoom(paddingBytes + sizeBytes)) return -1;
    if (paddingBytes > 0) this.#writeHeader(index, paddingBytes - RECORD_HEADER_BYTES, RECORD_TYPE_PADDING);
    const at = paddingBytes > 0 ? 0 : index;
    this.#writeHeader(at, lengthBytes, type);
    this.#claimedBytes = paddingBytes + sizeBytes;
    return DATA_OFFSET_BYTES + at + RECORD_HEADER_BYTES;
  }

  /** Shows the claimed record to the reader and wakes it if it sleeps. */
  commit(): void {
    assert(this.#claimedBytes > 0, "commit follows a claim");
    this.#tail = (this.#tail + this.#claimedBytes) | 0;
    this.#claimedBytes = 0;
    this.#count(RingCounter.Records);
    // Tail is stored last: a reader that sees it sees the whole record.
    Atomics.store(this.#words, TAIL_INDEX, this.#tail);
    this.#readerDoorbell.ring();
  }

  /** Bytes written and not yet read, padding and headers included. */
  get usedBytes(): number {
    return (this.#tail - Atomics.load(this.#words, HEAD_INDEX)) | 0;
  }

  countFragment(): void {
    this.#count(RingCounter.Fragments);
  }

  counter(which: RingCounter): number {
    return this.#words[COUNTERS_INDEX + which]! >>> 0;
  }

  #count(which: RingCounter): void {
    this.#words[COUNTERS_INDEX + which] = (this.#words[COUNTERS_INDEX + which]! + 1) | 0;
  }

  #hasRoom(neededBytes: number): boolean {
    if (this.#freeBytes() >= neededBytes) return true;
    this.#headSeen = Atomics.load(this.#words, HEAD_INDEX);
    if (this.#freeBytes() >= neededBytes) return true;
    this.#count(RingCounter.Stalls);
    Atomics.store(this.#words, SPACE_WANTED_INDEX, 1);
    // Look again: the reader may have moved between the two reads and would not see the wish in time.
    this.#headSeen = Atomics.load(this.#words, HEAD_INDEX);
    return this.#freeBytes() >= neededBytes;
  }

  #freeBytes(): number {
    return this.#capacityBytes - ((this.#tail - this.#headSeen) | 0);
  }

  #writeHeader(index: number, lengthBytes: number, type: number): void {
    const word = (DATA_OFFSET_BYTES + index) >> 2;
    this.#words[word] = lengthBytes;
    this.#words[word + 1] = type;
  }
}
