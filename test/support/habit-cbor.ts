/** A value of a request. A bigint is an integer of any size; a number that is no integer, or -0, goes out as a float. */
export type HabitValue =
  | string
  | number
  | bigint
  | boolean
  | Uint8Array
  | readonly HabitValue[]
  | { readonly [key: string]: HabitValue };

/** What the clients' CBOR libraries do differently (PROTOCOL 2.1). */
export interface CborHabit {
  readonly maps: "definite" | "indefinite";
  readonly arrays: "definite" | "indefinite";
  /**
   * - `shortest`: whatever the value
   * - `wide`: in 8 bytes from 2^31 on, although 4 would do
   * - `float`: as a float from 2^53 on, as JavaScript must
   */
  readonly integers: "shortest" | "wide" | "float";
  /** Text of more bytes goes out in chunks of at most this many. */
  readonly textChunkBytes?: number;
}

const TWO_31 = 2n ** 31n;
const TWO_53 = 2n ** 53n;
const INDEFINITE = 31;
const BREAK = Buffer.of(0xff);

/** Encodes as one of the clients would. Independent of the engine's own codecs. */
export function encodeHabitually(value: HabitValue, habit: CborHabit): Buffer {
  if (typeof value === "boolean") return Buffer.of(value ? 0xf5 : 0xf4);
  if (typeof value === "string") return encodeText(value, habit);
  if (typeof value === "number" && (!Number.isInteger(value) || Object.is(value, -0)))
    return encodeFloat(value);
  if (typeof value === "number" || typeof value === "bigint") return encodeInteger(BigInt(value), habit);
  if (value instanceof Uint8Array) return Buffer.concat([head(2, BigInt(value.length)), value]);
  if (isArray(value)) return collection(4, habit.arrays, value.length, value, habit);
  const entries = Object.entries(value);
  return collection(5, habit.maps, entries.length, entries.flat(), habit);
}

function isArray(value: HabitValue): value is readonly HabitValue[] {
  return Array.isArray(value);
}

function collection(
  major: number,
  form: "definite" | "indefinite",
  count: number,
  items: readonly HabitValue[],
  habit: CborHabit,
): Buffer {
  const content = items.map((item) => encodeHabitually(item, habit));
  if (form === "definite") return Buffer.concat([head(major, BigInt(count)), ...content]);
  return Buffer.concat([Buffer.of((major << 5) | INDEFINITE), ...content, BREAK]);
}

function encodeText(text: string, { textChunkBytes = Number.POSITIVE_INFINITY }: CborHabit): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.length <= textChunkBytes) return Buffer.concat([head(3, BigInt(bytes.length)), bytes]);
  const parts: Uint8Array[] = [Buffer.of((3 << 5) | INDEFINITE)];
  for (let at = 0; at < bytes.length; at += textChunkBytes) {
    const chunk = bytes.subarray(at, at + textChunkBytes);
    parts.push(head(3, BigInt(chunk.length)), chunk);
  }
  return Buffer.concat([...parts, BREAK]);
}

function encodeInteger(value: bigint, { integers }: CborHabit): Buffer {
  if (integers === "float" && value >= TWO_53) return encodeFloat(Number(value));
  const magnitude = value < 0n ? -1n - value : value;
  return head(value < 0n ? 1 : 0, magnitude, integers === "wide" && magnitude >= TWO_31);
}

/** In the shortest form that holds the value, as the `cbor` package of JavaScript does. */
function encodeFloat(value: number): Buffer {
  if (Object.is(value, -0)) return Buffer.of(0xf9, 0x80, 0x00);
  if (Math.fround(value) === value) {
    const bytes = Buffer.alloc(5, 0xfa);
    bytes.writeFloatBE(value, 1);
    return bytes;
  }
  const bytes = Buffer.alloc(9, 0xfb);
  bytes.writeDoubleBE(value, 1);
  return bytes;
}

function head(major: number, value: bigint, isWide = false): Buffer {
  const first = major << 5;
  if (isWide || value >= 2n ** 32n) {
    const bytes = Buffer.alloc(9, first | 27);
    bytes.writeBigUInt64BE(value, 1);
    return bytes;
  }
  const small = Number(value);
  if (small < 24) return Buffer.of(first | small);
  if (small < 2 ** 8) return Buffer.of(first | 24, small);
  const bytes = Buffer.alloc(small < 2 ** 16 ? 3 : 5, first | (small < 2 ** 16 ? 25 : 26));
  if (small < 2 ** 16) bytes.writeUInt16BE(small, 1);
  else bytes.writeUInt32BE(small, 1);
  return bytes;
}
