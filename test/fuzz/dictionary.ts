import { readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";

const NUMBER = /\b(0x[0-9a-f_]+|\d[\d_]*)n?\b(?: \*\* (\d+))?/gi;
const TEXT = /"([^"\\\n]{1,64})"|'([^'\\\n]{1,64})'/g;
const WIDTHS = [1, 2, 4, 8];
/** The first byte of CBOR text, up to the length that it holds by itself. */
const CBOR_TEXT = 0x60;
const CBOR_SHORT_TEXT_BYTES_MAX = 23;

/**
 * The literals of compiled sources, as bytes that an input may need to get past a comparison: numbers in every width and byte
 * order, texts plain and as CBOR writes them. `places` are files, or folders with all in them.
 */
export function literalsOf(places: readonly string[]): Uint8Array[] {
  const numbers = new Set<bigint>();
  const texts = new Set<string>();
  for (const file of places.flatMap(filesOf)) {
    const source = readFileSync(file, "utf8").replace(/^\s*(\/\/|\/?\*|import ).*$/gm, "");
    for (const [, digits, power] of source.matchAll(NUMBER)) {
      const value = BigInt(digits!.replaceAll("_", ""));
      numbers.add(power === undefined ? value : value ** BigInt(Math.min(Number(power), 64)));
    }
    for (const [, double, single] of source.matchAll(TEXT)) texts.add((double ?? single)!);
  }
  const words = new Map<string, Uint8Array>();
  const add = (bytes: Uint8Array): void => void words.set(Buffer.from(bytes).toString("latin1"), bytes);
  for (const value of numbers)
    for (const near of [value - 1n, value, value + 1n]) for (const bytes of encodings(near)) add(bytes);
  for (const text of texts) {
    const bytes = Buffer.from(text);
    add(bytes);
    if (bytes.length <= CBOR_SHORT_TEXT_BYTES_MAX)
      add(Buffer.concat([Buffer.of(CBOR_TEXT + bytes.length), bytes]));
  }
  return [...words.values()];
}

function encodings(value: bigint): Uint8Array[] {
  return WIDTHS.filter((width) => value >= 0n && value < 1n << BigInt(8 * width)).flatMap((width) => {
    const wide = Buffer.alloc(8);
    wide.writeBigUInt64BE(value);
    const bytes = wide.subarray(8 - width);
    return width === 1 ? [bytes] : [bytes, Buffer.from(bytes).reverse()];
  });
}

function filesOf(place: string): string[] {
  if (statSync(place).isFile()) return [place];
  const names = readdirSync(place, { recursive: true }) as string[];
  return names.filter((name) => name.endsWith(".js")).map((name) => path.join(place, name));
}
