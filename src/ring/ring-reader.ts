import { assert } from "../core/assert.ts";
import type { Doorbell } from "./doorbell.ts";
import {
  DATA_OFFSET_BYTES,
  FRAGMENT_BEGIN,
  FRAGMENT_END,
  FRAGMENT_TOTAL_BYTES,
  HEAD_INDEX,
  RECORD_HEADER_BYTES,
  RECORD_TYPE_MASK,
  RECORD_TYPE_PADDING,
  SPACE_WANTED_INDEX,
  TAIL_INDEX,
  alignRecord,
  ringCapacity,
} from "./ring-layout.ts";

/** Takes one record: `bytes[start, end)` is valid during the call only, for the ring reuses it afterwards. */
export type RecordHandler = (type: number, bytes: Buffer, start: number, end: number) => void;

/** The reading half of a ring. */
export class RingReader {
  readonly #bytes: Buffer;
  readonly #words: Int32Array;
  readonly #capacityBytes: number;
  readonly #writerDoorbell: Doorbell;
  #head: number;
  #assembly: Buffer | undefined;
  #assembledBytes = 0;

  constructor(memory: SharedArrayBuffer, writerDoorbell: Doorbell) {
    this.#bytes = Buffer.from(memory);
    this.#words = new Int32Array(memory);
    this.#capacityBytes = ringCapacity(memory);
    this.#writerDoorbell = writerDoorbell;
    this.#head = Atomics.load(this.#words, HEAD_INDEX);
  }

  get isEmpty(): boolean {
    return Atomics.load(this.#words, TAIL_INDEX) === this.#head;
  }

  /**
   * Hands out records until the ring is empty or `bytesMax` bytes were handed out. @returns the number of bytes consumed.
   * The room is given back even if `handle` throws, so that one bad record cannot be met twice.
   */
  read(handle: RecordHandler, bytesMax: number): number {
    const tail = Atomics.load(this.#words, TAIL_INDEX);
    const startHead = this.#head;
    try {
      while (this.#head !== tail && ((this.#head - startHead) | 0) < bytesMax) this.#readOne(handle);
    } finally {
      if (this.#head !== startHead) this.#release();
    }
    return (this.#head - startHead) | 0;
  }

  #readOne(handle: RecordHandler): void {
    const at = DATA_OFFSET_BYTES + (this.#head & (this.#capacityBytes - 1));
    const lengthBytes = this.#words[at >> 2]!;
    const type = this.#words[(at >> 2) + 1]!;
    assert(lengthBytes >= 0 && lengthBytes <= this.#capacityBytes, "a record lies within its ring");
    const start = at + RECORD_HEADER_BYTES;
    this.#head = (this.#head + alignRecord(lengthBytes)) | 0;
    if (type === RECORD_TYPE_PADDING) return;
    if (type <= RECORD_TYPE_MASK) handle(type, this.#bytes, start, start + lengthBytes);
    else this.#assemble(type, start, start + lengthBytes, handle);
  }

  #assemble(type: number, start: number, end: number, handle: RecordHandler): void {
    let from = start;
    if ((type & FRAGMENT_BEGIN) !== 0) {
      this.#assembly = Buffer.allocUnsafeSlow(this.#bytes.readUInt32LE(start));
      this.#assembledBytes = 0;
      from += FRAGMENT_TOTAL_BYTES;
    }
    const assembly = this.#assembly;
    assert(assembly !== undefined, "a fragment follows its first fragment");
    this.#assembledBytes += this.#bytes.copy(assembly, this.#assembledBytes, from, end);
    if ((type & FRAGMENT_END) === 0) return;
    assert(this.#assembledBytes === assembly.length, "fragments add up to the announced size");
    this.#assembly = undefined;
    handle(type & RECORD_TYPE_MASK, assembly, 0, assembly.length);
  }

  #release(): void {
    Atomics.store(this.#words, HEAD_INDEX, this.#head);
    if (Atomics.load(this.#words, SPACE_WANTED_INDEX) === 0) return;
    Atomics.store(this.#words, SPACE_WANTED_INDEX, 0);
    this.#writerDoorbell.ringAlways();
  }
}
