import { assert } from "../core/assert.ts";

/**
 * CRC-32 (zlib's) run backwards. A checksum that was seeded with an unknown value gives that value back when the bytes are
 * known; and four bytes can be chosen so that a checksum has any value. Neither makes or breaks anything: a CRC is no secret.
 */
const POLYNOMIAL = 0xedb88320;
const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value & 1) === 0 ? value >>> 1 : (value >>> 1) ^ POLYNOMIAL;
  return value;
});
/** The entry of `table` whose highest byte is the index: there is exactly one. */
const entryByTop = new Uint8Array(256);
table.forEach((value, byte) => (entryByTop[value >>> 24] = byte));

/** The `seed` for which `crc32(bytes, seed)` is `crc`. */
export function rewindCrc(crc: number, bytes: Uint8Array): number {
  let register = ~crc;
  for (let at = bytes.length - 1; at >= 0; at--) {
    const entry = entryByTop[register >>> 24]!;
    register = ((register ^ table[entry]!) << 8) | (entry ^ bytes[at]!);
  }
  return ~register >>> 0;
}

/** Four bytes for which `crc32(them, seed)` is `crc`. */
export function bytesForCrc(crc: number, seed: number): Buffer {
  const bytes = Buffer.alloc(4);
  // Before four zero bytes the register would be this; bytes are added to it from its lowest on.
  bytes.writeUInt32LE((rewindCrc(crc, bytes) ^ seed) >>> 0);
  return bytes;
}

assert(new Set(entryByTop).size === 256, "each byte is the top of one entry");
