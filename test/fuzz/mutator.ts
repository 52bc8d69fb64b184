import type { SeededRandom } from "../support/deterministic.ts";

const EDGES = [
  0n,
  1n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
];
const WIDTHS = [1, 2, 4, 8] as const;
const STEPS_MAX = 5;
const DELTA_MAX = 16;
const RUN_BYTES_MAX = 16;
const START_BYTES = 8;

/** Changes inputs at random, the same way under the same seed. */
export class Mutator {
  readonly #random: SeededRandom;
  readonly #words: readonly Uint8Array[];
  readonly #bytesMax: number;

  constructor(random: SeededRandom, options: { words: readonly Uint8Array[]; inputBytesMax: number }) {
    this.#random = random;
    this.#words = options.words;
    this.#bytesMax = options.inputBytesMax;
  }

  /** A changed copy; `other` is an input to take parts from. */
  mutate(input: Uint8Array, other: Uint8Array): Buffer {
    let bytes: Buffer = Buffer.from(input);
    for (let steps = this.#random.between(1, STEPS_MAX); steps > 0; steps--) bytes = this.#step(bytes, other);
    return bytes.length <= this.#bytesMax ? bytes : bytes.subarray(0, this.#bytesMax);
  }

  #step(bytes: Buffer, other: Uint8Array): Buffer {
    const at = this.#place(bytes);
    switch (this.#random.between(0, 11)) {
      case 0:
        if (at < bytes.length) bytes[at]! ^= 1 << this.#random.between(0, 7);
        return bytes;
      case 1:
        if (at < bytes.length) bytes[at] = this.#random.between(0, 255);
        return bytes;
      case 2:
        return insert(bytes, at, this.#random.bytes(this.#random.between(1, 4)));
      case 3:
        return this.#without(bytes, at);
      case 4:
        return bytes.subarray(0, at);
      case 5:
        return this.#putNumber(bytes, at, () => EDGES[this.#random.between(0, EDGES.length - 1)]!);
      case 6:
        return this.#putNumber(
          bytes,
          at,
          (value) => value + BigInt(this.#random.between(-DELTA_MAX, DELTA_MAX)),
        );
      case 7:
      case 8:
        return this.#putWord(bytes, at);
      case 9:
        return this.#splice(bytes, at, other);
      case 10:
        return this.#splice(bytes, at, bytes);
      default:
        return insert(
          bytes,
          at,
          Buffer.alloc(this.#random.between(1, RUN_BYTES_MAX), bytes[at] ?? this.#random.between(0, 255)),
        );
    }
  }

  /** Anywhere, and at the start more often: most layouts begin with what decides about the rest. */
  #place(bytes: Uint8Array): number {
    const isNearStart = this.#random.between(0, 3) === 0;
    return this.#random.between(0, isNearStart ? Math.min(START_BYTES, bytes.length) : bytes.length);
  }

  #without(bytes: Buffer, at: number): Buffer {
    const end = Math.min(bytes.length, at + this.#random.between(1, RUN_BYTES_MAX));
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(end)]);
  }

  #putNumber(bytes: Buffer, at: number, change: (value: bigint) => bigint): Buffer {
    const width = WIDTHS[this.#random.between(0, WIDTHS.length - 1)]!;
    if (at + width > bytes.length) return bytes;
    const isLittle = this.#random.between(0, 1) === 1;
    const place = bytes.subarray(at, at + width);
    if (isLittle) place.reverse();
    const wide = Buffer.alloc(8);
    place.copy(wide, 8 - width);
    wide.writeBigUInt64BE(BigInt.asUintN(64, change(wide.readBigUInt64BE())));
    wide.copy(place, 0, 8 - width);
    if (isLittle) place.reverse();
    return bytes;
  }

  #putWord(bytes: Buffer, at: number): Buffer {
    if (this.#words.length === 0) return bytes;
    const word = this.#words[this.#random.between(0, this.#words.length - 1)]!;
    if (this.#random.between(0, 1) === 0 || at + word.length > bytes.length) return insert(bytes, at, word);
    bytes.set(word, at);
    return bytes;
  }

  /** Puts a part of `source` at `at`, over what is there or before it. */
  #splice(bytes: Buffer, at: number, source: Uint8Array): Buffer {
    const start = this.#place(source);
    const part = Buffer.from(source.subarray(start, start + this.#random.between(1, source.length + 1)));
    if (this.#random.between(0, 1) === 0) return insert(bytes, at, part);
    return Buffer.concat([bytes.subarray(0, at), part, bytes.subarray(at + part.length)]);
  }
}

function insert(bytes: Buffer, at: number, part: Uint8Array): Buffer {
  return Buffer.concat([bytes.subarray(0, at), part, bytes.subarray(at)]);
}
