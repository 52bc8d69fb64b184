import { crc32 } from "node:zlib";
import { seededRandom } from "../support/seeded-random.ts";

/** Half of the payloads are noise, which no compression shrinks. */
const noise = Buffer.from(seededRandom(1).bytes(64 * 1024));
const text = Buffer.from('{"sensor":"vibration-07","unit":"mm/s","rms":4.71,"state":"ok"} '.repeat(1024));
const FILLER_BYTES_MAX = 900;
/** One message in so many is larger than a fragment of a ring. */
const LARGE_EVERY = 997;
const LARGE_FILLER_BYTES = 600 * 1024;

/** The payload that `producer` sends as its message `counter`: unique, and made again by whoever checks it. */
export function numberedPayload(producer: string, counter: number, { withLarge = false } = {}): Buffer {
  const label = `${producer}:${counter}`;
  const hash = crc32(label);
  const source = hash % 2 === 0 ? noise : text;
  const isLarge = withLarge && counter % LARGE_EVERY === LARGE_EVERY - 1;
  const fillerBytes = isLarge ? LARGE_FILLER_BYTES : hash % FILLER_BYTES_MAX;
  const head = Buffer.from(`${label}:${hash.toString(16).padStart(8, "0")}:`, "latin1");
  const payload = Buffer.allocUnsafe(head.length + fillerBytes);
  head.copy(payload);
  const start = hash % (source.length - FILLER_BYTES_MAX);
  for (let at = 0; at < fillerBytes;) {
    at += source.copy(payload, head.length + at, start, start + Math.min(fillerBytes - at, source.length));
  }
  return payload;
}

/** Who sent it and as which message; undefined for what is none of these payloads. */
export function parseNumberedPayload(payload: Uint8Array): { producer: string; counter: number } | undefined {
  const head = Buffer.from(payload.buffer, payload.byteOffset, Math.min(payload.length, 64)).toString(
    "latin1",
  );
  const match = /^([^:]+):(\d+):[0-9a-f]{8}:/.exec(head);
  return match === null ? undefined : { producer: match[1]!, counter: Number(match[2]) };
}
