/**
 * The LZ4 block format as its description has it, byte by byte and with every rule on its end, for comparison. The one rule that is
 * left out is where the last match begins, which no decoder of a frame asks for.
 * @returns undefined for what is no block
 */
export function decodeStrictly(block: Uint8Array): Uint8Array | undefined {
  const raw: number[] = [];
  let at = 0;
  const length = (nibble: number): number | undefined => {
    if (nibble < 15) return nibble;
    for (let sum = nibble; ;) {
      const more = block[at++];
      if (more === undefined) return undefined;
      sum += more;
      if (more !== 255) return sum;
    }
  };
  for (let sequences = 0; ; sequences++) {
    const token = block[at++];
    if (token === undefined) return undefined;
    const literals = length(token >>> 4);
    if (literals === undefined || at + literals > block.length) return undefined;
    for (const end = at + literals; at < end; at++) raw.push(block[at]!);
    if (at === block.length) return sequences > 0 && literals < 5 ? undefined : Uint8Array.from(raw);
    if (at + 2 > block.length) return undefined;
    const offset = block[at]! | (block[at + 1]! << 8);
    at += 2;
    const match = length(token & 15);
    if (match === undefined || offset === 0 || offset > raw.length) return undefined;
    for (let copied = 0; copied < match + 4; copied++) raw.push(raw[raw.length - offset]!);
  }
}

/** One sequence of a block; without `match` it is the last. */
export function sequenceOf(literals: Uint8Array, match?: { offset: number; length: number }): Buffer {
  const more = (count: number): number[] => {
    const bytes: number[] = [];
    if (count < 15) return bytes;
    let left = count - 15;
    for (; left >= 255; left -= 255) bytes.push(255);
    bytes.push(left);
    return bytes;
  };
  const matchCode = match === undefined ? 0 : match.length - 4;
  const token = (Math.min(literals.length, 15) << 4) | Math.min(matchCode, 15);
  const tail = match === undefined ? [] : [match.offset & 255, match.offset >>> 8, ...more(matchCode)];
  return Buffer.from([token, ...more(literals.length), ...literals, ...tail]);
}
