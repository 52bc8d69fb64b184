import { assert } from "../core/assert.ts";

const INITIAL_BYTES = 256;
const TWO_32 = 2 ** 32;
const encoder = new TextEncoder();

/**
 * Writes one frame: an operation and CBOR in definite form, with the shortest integers. A number above 2^53 - 1 becomes a
 * float64, which all official clients take and a longer integer kills (PROTOCOL 3.6).
 */
export class CborWriter {
  #bytes: Uint8Array;
  #at = 1;

  /** `bytesExpected` saves growing when the size is about known. */
  constructor(operation: number, bytesExpected = INITIAL_BYTES) {
    this.#bytes = new Uint8Array(bytesExpected);
    this.#bytes[0] = operation;
  }

  /** The frame, operation first: a view of the writer's buffer, which the writer gives up. */
  finish(): Uint8Array {
    const frame = this.#bytes.subarray(0, this.#at);
    this.#bytes = new Uint8Array(0);
    return frame;
  }

  /** `count` keys with their values follow. */
  map(count: number): this {
    this.#head(5, count);
    return this;
  }

  array(count: number): this {
    this.#head(4, count);
    return this;
  }

  text(text: string): this {
    if (text.length < 24 && isAscii(text)) {
      this.#reserve(1 + text.length);
      this.#bytes[this.#at++] = 0x60 | text.length;
      for (let index = 0; index < text.length; index++) this.#bytes[this.#at++] = text.charCodeAt(index);
      return this;
    }
    const bytes = encoder.encode(text);
    this.#head(3, bytes.length);
    this.#append(bytes);
    return this;
  }

  bytes(bytes: Uint8Array): this {
    this.#head(2, bytes.length);
    this.#append(bytes);
    return this;
  }

  boolean(value: boolean): this {
    this.#reserve(1);
    this.#bytes[this.#at++] = value ? 0xf5 : 0xf4;
    return this;
  }

  /** An integer; it may lie outside the safe range. */
  integer(value: number): this {
    assert(Number.isInteger(value), "an integer field holds an integer");
    if (Number.isSafeInteger(value)) {
      if (value < 0) this.#head(1, -1 - value);
      else this.#head(0, value);
      return this;
    }
    this.#reserve(9);
    this.#bytes[this.#at] = 0xfb;
    new DataView(this.#bytes.buffer).setFloat64(this.#at + 1, value);
    this.#at += 9;
    return this;
  }

  #head(major: number, argument: number): void {
    this.#reserve(9);
    const bytes = this.#bytes;
    const top = major << 5;
    if (argument < 24) {
      bytes[this.#at++] = top | argument;
    } else if (argument < 0x100) {
      bytes[this.#at++] = top | 24;
      bytes[this.#at++] = argument;
    } else if (argument < 0x10000) {
      bytes[this.#at++] = top | 25;
      bytes[this.#at++] = argument >>> 8;
      bytes[this.#at++] = argument;
    } else if (argument < TWO_32) {
      bytes[this.#at++] = top | 26;
      this.#word(argument);
    } else {
      bytes[this.#at++] = top | 27;
      this.#word(Math.floor(argument / TWO_32));
      this.#word(argument % TWO_32);
    }
  }

  #word(value: number): void {
    this.#bytes[this.#at++] = value >>> 24;
    this.#bytes[this.#at++] = value >>> 16;
    this.#bytes[this.#at++] = value >>> 8;
    this.#bytes[this.#at++] = value;
  }

  #append(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #reserve(count: number): void {
    if (this.#at + count <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + count));
    grown.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = grown;
  }
}

function isAscii(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) >= 0x80) return false;
  return true;
}
