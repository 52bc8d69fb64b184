import { assert } from "../core/assert.ts";
import { MillraceError } from "../core/errors.ts";
import { CBOR_DEPTH_MAX, CBOR_KEY_BYTES_MAX, CBOR_MAP_KEYS_MAX } from "../core/limits.ts";
import { decodeText } from "./text.ts";

/*
 * A strict pull reader for CBOR (RFC 8949), as PROTOCOL 2.1 and RELIABILITY 4 rows 22 to 27 want it.
 *
 * Why not a library: cborg, the strictest one, refuses the chunked text and cannot limit the depth; all of them build a tree
 * of whatever the peer sends before a schema sees it, so that 16 MiB of empty arrays become half a gigabyte. Here the caller
 * asks for the fields it knows, the rest is walked over and never kept, and nothing is made from a length before the bytes
 * behind it are there.
 *
 * Accepted: definite and indefinite maps, arrays and text, integers in any width, floats of 16, 32 and 64 bits, booleans, null.
 * Refused: tags (so bignums), indefinite byte strings, other simple values, keys that are not text, the same key twice, nesting
 * over CBOR_DEPTH_MAX, bytes behind the value, invalid UTF-8.
 */
const Major = { Unsigned: 0, Negative: 1, Bytes: 2, Text: 3, Array: 4, Map: 5, Tag: 6, Simple: 7 } as const;

const INFO_INDEFINITE = 31;
const BREAK = 0xff;
const INDEFINITE = -1;
const TWO_32 = 2 ** 32;
/** Low word holds 32 bits, so a high word below this keeps the value within 2^53 - 1. */
const SAFE_HIGH_WORD = 2 ** 21;

const majorNames = ["an integer", "an integer", "bytes", "text", "an array", "a map", "a tag"] as const;

interface Level {
  /** Keys or items still to come; INDEFINITE until the break. */
  remaining: number;
  /** Keys of a map so far; undefined for an array. */
  readonly keys: Set<string> | undefined;
}

export class CborReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #end: number;
  #at: number;
  readonly #levels: Level[] = [];
  #key = "";

  /** Reads `bytes` from `start` on; the bytes are not copied. */
  constructor(bytes: Uint8Array, start = 0) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = start;
    this.#end = bytes.length;
  }

  /** The key that `nextKey` has read last. */
  get key(): string {
    return this.#key;
  }

  /** Throws unless every byte was read. */
  finish(): void {
    assert(this.#levels.length === 0, "every map and array was read to its end");
    if (this.#at !== this.#end) throw this.#malformed(`${this.#end - this.#at} bytes behind the value`);
  }

  /** Enters a map; `path` names it in errors. Then: while nextKey(), read or skip one value. */
  openMap(path: string): void {
    this.#expect(Major.Map, "a map", path);
    const count = this.#readLength(2);
    if (count > CBOR_MAP_KEYS_MAX) {
      throw this.#malformed(`a map of ${count} keys, the maximum is ${CBOR_MAP_KEYS_MAX}`);
    }
    this.#open({ remaining: count, keys: new Set() });
  }

  /** Reads the next key of the innermost map, or leaves the map and returns false. */
  nextKey(): boolean {
    const level = this.#levels.at(-1);
    assert(level?.keys !== undefined, "nextKey is called within a map");
    if (!this.#hasNext(level)) return false;
    const key = this.#readTextValue("a key", CBOR_KEY_BYTES_MAX);
    if (level.keys.has(key)) throw this.#malformed(`the key ${JSON.stringify(key)} twice in one map`);
    if (level.keys.size === CBOR_MAP_KEYS_MAX) {
      throw this.#malformed(`a map of more than ${CBOR_MAP_KEYS_MAX} keys`);
    }
    level.keys.add(key);
    this.#key = key;
    return true;
  }

  /** Enters an array. Then: while nextItem(), read or skip one value. */
  openArray(path: string): void {
    this.#expect(Major.Array, "an array", path);
    this.#open({ remaining: this.#readLength(1), keys: undefined });
  }

  nextItem(): boolean {
    const level = this.#levels.at(-1);
    assert(level !== undefined && level.keys === undefined, "nextItem is called within an array");
    return this.#hasNext(level);
  }

  /** Reads text of at most `bytesMax` bytes. */
  readText(path: string, bytesMax: number): string {
    this.#expect(Major.Text, "text", path);
    return this.#readTextValue(path, bytesMax);
  }

  /** Reads a byte string as a view. */
  readBytes(path: string): Uint8Array {
    this.#expect(Major.Bytes, "a byte string", path);
    const start = this.#readByteStringStart();
    return this.#bytes.subarray(start, this.#at);
  }

  /** Reads an integer or a float: a number where that is exact, else a bigint. May be fractional, infinite or NaN. */
  readNumber(path: string): number | bigint {
    const major = this.#peekMajor();
    if (major === Major.Unsigned) return this.#readArgument();
    if (major === Major.Negative) {
      const argument = this.#readArgument();
      if (typeof argument === "bigint") return -1n - argument;
      const value = -1 - argument;
      return Number.isSafeInteger(value) ? value : -1n - BigInt(argument);
    }
    const initial = this.#bytes[this.#at]!;
    const widthBytes = initial === 0xf9 ? 2 : initial === 0xfa ? 4 : initial === 0xfb ? 8 : 0;
    if (widthBytes === 0) throw this.#wrongType("a number", path);
    const at = this.#at + 1;
    this.#take(1 + widthBytes);
    if (widthBytes === 2) return halfFloat(this.#view.getUint16(at));
    return widthBytes === 4 ? this.#view.getFloat32(at) : this.#view.getFloat64(at);
  }

  readBoolean(path: string): boolean {
    this.#peekMajor();
    const initial = this.#bytes[this.#at]!;
    if (initial !== 0xf4 && initial !== 0xf5) throw this.#wrongType("a boolean", path);
    this.#at++;
    return initial === 0xf5;
  }

  /** Takes a null and returns true, or leaves the value where it is. A key whose value is null counts as absent. */
  takeNull(): boolean {
    if (this.#at >= this.#end || this.#bytes[this.#at] !== 0xf6) return false;
    this.#at++;
    return true;
  }

  /** Walks over one value of any kind, with every check. */
  skip(): void {
    switch (this.#peekMajor()) {
      case Major.Unsigned:
      case Major.Negative:
        this.#readArgument();
        return;
      case Major.Bytes:
        this.#readByteStringStart();
        return;
      case Major.Text:
        this.#readTextValue("text", this.#end);
        return;
      case Major.Array:
        this.openArray("array");
        while (this.nextItem()) this.skip();
        return;
      case Major.Map:
        this.openMap("map");
        while (this.nextKey()) this.skip();
        return;
      case Major.Tag:
        throw this.#malformed("a tag");
      default:
        this.#skipSimple();
    }
  }

  #skipSimple(): void {
    const initial = this.#bytes[this.#at]!;
    if (initial >= 0xf9 && initial <= 0xfb) {
      this.readNumber("number");
    } else if (initial >= 0xf4 && initial <= 0xf6) {
      this.#at++;
    } else {
      throw this.#malformed(`the simple value 0x${initial.toString(16)}`);
    }
  }

  #open(level: Level): void {
    if (this.#levels.length === CBOR_DEPTH_MAX) {
      throw this.#malformed(`nesting deeper than ${CBOR_DEPTH_MAX}`);
    }
    this.#levels.push(level);
  }

  #hasNext(level: Level): boolean {
    if (level.remaining === INDEFINITE) {
      if (this.#at >= this.#end) throw this.#truncated();
      if (this.#bytes[this.#at] !== BREAK) return true;
      this.#at++;
    } else if (level.remaining > 0) {
      level.remaining--;
      return true;
    }
    this.#levels.pop();
    return false;
  }

  #expect(major: number, wanted: string, path: string): void {
    if (this.#peekMajor() !== major) throw this.#wrongType(wanted, path);
  }

  #peekMajor(): number {
    if (this.#at >= this.#end) throw this.#truncated();
    return this.#bytes[this.#at]! >> 5;
  }

  /** The count of a map or array whose entries take at least `bytesEach`: compared with the bytes left before it is used. */
  #readLength(bytesEach: number): number {
    if ((this.#bytes[this.#at]! & 31) === INFO_INDEFINITE) {
      this.#at++;
      return INDEFINITE;
    }
    const count = this.#readArgument();
    const most = Math.floor((this.#end - this.#at) / bytesEach);
    if (count > most) throw this.#malformed(`${count} entries announced, at most ${most} can follow`);
    return Number(count);
  }

  /** Moves behind a definite byte or text string and returns where its bytes start. */
  #readByteStringStart(): number {
    if ((this.#bytes[this.#at]! & 31) === INFO_INDEFINITE) throw this.#malformed("an indefinite byte string");
    const length = this.#readArgument();
    if (length > this.#end - this.#at) {
      throw this.#malformed(`${length} bytes announced, ${this.#end - this.#at} left`);
    }
    const start = this.#at;
    this.#at += Number(length);
    return start;
  }

  #readTextValue(path: string, bytesMax: number): string {
    if (this.#peekMajor() !== Major.Text) throw this.#wrongType("text", path);
    const tooLong = (): MillraceError =>
      new MillraceError("INVALID_REQUEST", `Cannot decode request: ${path} is longer than ${bytesMax} bytes`);
    if ((this.#bytes[this.#at]! & 31) !== INFO_INDEFINITE) {
      const start = this.#readByteStringStart();
      if (this.#at - start > bytesMax) throw tooLong();
      return this.#decodeText(path, start);
    }
    this.#at++;
    let text = "";
    let textBytes = 0;
    for (;;) {
      if (this.#at >= this.#end) throw this.#truncated();
      const initial = this.#bytes[this.#at]!;
      if (initial === BREAK) break;
      // RFC 8949 3.2.3: chunks are definite strings of the same type, each valid UTF-8 by itself.
      if (initial >> 5 !== Major.Text || (initial & 31) === INFO_INDEFINITE) {
        throw this.#malformed("a chunk of text that is no text");
      }
      const start = this.#readByteStringStart();
      textBytes += this.#at - start;
      if (textBytes > bytesMax) throw tooLong();
      text += this.#decodeText(path, start);
    }
    this.#at++;
    return text;
  }

  /** The text from `start` to where the reader stands. */
  #decodeText(path: string, start: number): string {
    try {
      return decodeText(this.#bytes, start, this.#at);
    } catch (cause) {
      throw this.#malformed(`${path} is not UTF-8`, { cause });
    }
  }

  /** The argument of an initial byte (RFC 8949 3), any width. */
  #readArgument(): number | bigint {
    const info = this.#bytes[this.#at]! & 31;
    const at = this.#at + 1;
    if (info < 24) {
      this.#at = at;
      return info;
    }
    if (info > 27) throw this.#malformed(`the initial byte 0x${this.#bytes[this.#at]!.toString(16)}`);
    this.#take(1 + (1 << (info - 24)));
    if (info === 24) return this.#bytes[at]!;
    if (info === 25) return this.#view.getUint16(at);
    if (info === 26) return this.#view.getUint32(at);
    const high = this.#view.getUint32(at);
    return high < SAFE_HIGH_WORD ? high * TWO_32 + this.#view.getUint32(at + 4) : this.#view.getBigUint64(at);
  }

  #take(count: number): void {
    if (count > this.#end - this.#at) throw this.#truncated();
    this.#at += count;
  }

  #wrongType(wanted: string, path: string): MillraceError {
    const initial = this.#bytes[this.#at]!;
    const major = initial >> 5;
    const found =
      major < Major.Simple
        ? majorNames[major]!
        : initial === 0xf4 || initial === 0xf5
          ? "a boolean"
          : initial >= 0xf9 && initial <= 0xfb
            ? "a float"
            : `the simple value 0x${initial.toString(16)}`;
    if (major === Major.Tag) return this.#malformed("a tag");
    return new MillraceError(
      "INVALID_REQUEST",
      `Cannot decode request: ${path} is ${found}, must be ${wanted}`,
    );
  }

  #truncated(): MillraceError {
    return this.#malformed("the bytes end within a value");
  }

  #malformed(what: string, options?: ErrorOptions): MillraceError {
    return new MillraceError(
      "MALFORMED_CBOR",
      `Cannot decode CBOR: ${what} (at byte ${this.#at} of ${this.#end})`,
      options,
    );
  }
}

/** RFC 8949 appendix D. */
function halfFloat(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const magnitude =
    exponent === 0
      ? fraction * 2 ** -24
      : exponent === 31
        ? fraction === 0
          ? Infinity
          : NaN
        : (1024 + fraction) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}
