import { assert } from "../core/assert.ts";

/*
 * How an LZ4 block has to end. A block is sequences, each but the last of
 *
 *   | token: literals << 4 | match - 4 | more literals | literals | offset u16 LE | more match |
 *
 * where a nibble of 15 is followed by bytes that are added, the last of which is not 255. The last sequence is literals only, 5 at
 * least. lz4_flex, which lz4-napi stands on, does not ask for that; liblz4, and so `lz4 -dc`, refuses blocks that have fewer.
 */
const LAST_LITERALS_MIN = 5;
const MATCH_BYTES_MIN = 4;
const OFFSET_BYTES = 2;
const NIBBLE_MAX = 15;
const MORE = 255;

/**
 * Whether a block that unpacks to `raw` ends in literals as the format wants. All of its sequences are walked over, which takes
 * half as long as to unpack it, only where its last bytes could be the end of one that does not.
 */
export function endsInLiterals(block: Uint8Array, raw: Uint8Array): boolean {
  for (let literals = 0; literals < LAST_LITERALS_MIN; literals++) {
    if (mayEndSo(block, raw, literals)) return lastLiterals(block) >= LAST_LITERALS_MIN;
  }
  return true;
}

/** Whether the last sequence may be one of so few literals, behind a match: there is a token that says so, and such a match. */
function mayEndSo(block: Uint8Array, raw: Uint8Array, literals: number): boolean {
  const tokenAt = block.length - 1 - literals;
  if (tokenAt < OFFSET_BYTES || block[tokenAt]! >>> 4 !== literals) return false;
  let offsetEnd = tokenAt;
  if (isMatch(block, offsetEnd, raw, literals)) return true;
  do {
    offsetEnd -= 1;
    if (isMatch(block, offsetEnd, raw, literals)) return true;
  } while (block[offsetEnd - 1] === MORE);
  return false;
}

/** Whether the offset that ends at `offsetEnd` leads to what stands in `raw` before its last literals. */
function isMatch(block: Uint8Array, offsetEnd: number, raw: Uint8Array, literals: number): boolean {
  if (offsetEnd < OFFSET_BYTES) return false;
  const offset = block[offsetEnd - 2]! | (block[offsetEnd - 1]! << 8);
  const end = raw.length - literals;
  if (offset === 0 || end - MATCH_BYTES_MIN - offset < 0) return false;
  for (let at = end - MATCH_BYTES_MIN; at < end; at++) if (raw[at] !== raw[at - offset]) return false;
  return true;
}

/** Of a block that was unpacked, and so is known to be whole; Infinity where it is nothing but literals. */
function lastLiterals(block: Uint8Array): number {
  let at = 0;
  for (let sequences = 0; ; sequences++) {
    const token = block[at++]!;
    let literals = token >>> 4;
    if (literals === NIBBLE_MAX) {
      let more;
      do {
        more = block[at++]!;
        literals += more;
      } while (more === MORE);
    }
    at += literals;
    assert(at <= block.length, "a block that was unpacked ends with its literals");
    if (at === block.length) return sequences === 0 ? Infinity : literals;
    at += OFFSET_BYTES;
    if ((token & NIBBLE_MAX) !== NIBBLE_MAX) continue;
    while (block[at++] === MORE);
  }
}
