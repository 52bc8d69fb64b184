import { crc32 } from "node:zlib";
import { announcedHeaderBytes, BlockKind } from "../../src/log/block-layout.ts";
import { blockSeed, SEGMENT_HEADER_BYTES } from "../../src/log/segment-layout.ts";
import type { SimStorage } from "../support/sim-storage.ts";

/*
 * An input is a list of changes to the files of a stream, so that it is short and each byte of it means something:
 *
 *   0 u8 kind   1 u8 file   2 u16 where, big-endian   4 u16 from where   6 u8 length   7 u8 value
 *
 * Places are taken modulo the size of the file. With the top bit of `kind` they are counted from a block or a header's copy.
 */
const CHANGE_BYTES = 8;
const COPY_BYTES = SEGMENT_HEADER_BYTES / 2;
export const FROM_BLOCK = 0x80;
export const CHANGE_KINDS = 8;
const EDGES = [0, 1, 2 ** 16, 2 ** 31, 2 ** 32 - 1, 2 ** 53 - 1, 2 ** 53, 2 ** 63];
/** Of a block's header and of a segment's: see their layouts. */
const fields = {
  crc: 12,
  storedBytes: 16,
  storedCrc: 24,
  kind: 44,
  segmentId: 40,
  segmentCrc: 12,
  version: 16,
};

export interface DamagePlan {
  readonly files: readonly { readonly path: string; readonly bytes: Buffer }[];
}

interface Change {
  readonly kind: number;
  readonly file: number;
  readonly at: number;
  readonly from: number;
  readonly length: number;
  readonly value: number;
}

/** The stream with the changes made. `isForged`: checksums that are found are made right again. */
export function damage(
  whole: SimStorage,
  { files }: DamagePlan,
  { input, isForged }: { readonly input: Uint8Array; readonly isForged: boolean },
): SimStorage {
  const storage = whole.copy();
  const contents = new Map<string, Buffer>(files.map(({ path, bytes }) => [path, bytes]));
  const touched = new Set<string>();
  for (let at = 0; at + CHANGE_BYTES <= input.length; at += CHANGE_BYTES) {
    const change = readChange(Buffer.from(input.subarray(at, at + CHANGE_BYTES)));
    const { path, bytes: original } = files[change.file % files.length]!;
    const source = files[(change.file >> 4) % files.length]!.bytes;
    const target = otherName(path, change);
    contents.set(target, changed(contents.get(path) ?? original, change, source));
    touched.add(target);
  }
  for (const path of touched) {
    const bytes = contents.get(path)!;
    storage.put(path, isForged ? withChecksums(bytes) : bytes);
  }
  return storage;
}

function readChange(bytes: Buffer): Change {
  return {
    kind: bytes.readUInt8(0),
    file: bytes.readUInt8(1),
    at: bytes.readUInt16BE(2),
    from: bytes.readUInt16BE(4),
    length: bytes.readUInt8(6),
    value: bytes.readUInt8(7),
  };
}

/** A copy goes to the name of another generation; everything else stays where it is. */
function otherName(path: string, { kind, value }: Change): string {
  if (kind % CHANGE_KINDS !== 6) return path;
  return path.replace(/-\d{4}\.lz4$/, `-${String(value % 3).padStart(4, "0")}.lz4`);
}

function changed(bytes: Buffer, change: Change, source: Buffer): Buffer {
  const at = placeIn(bytes, change, change.at);
  const copy = Buffer.from(bytes);
  switch (change.kind % CHANGE_KINDS) {
    case 0:
      if (at < copy.length) copy[at]! ^= change.value === 0 ? 0x01 : change.value;
      return copy;
    case 1: {
      const wide = Buffer.alloc(8);
      wide.writeBigUInt64LE(BigInt(EDGES[change.value % EDGES.length]!));
      wide.copy(copy, at, 0, 1 << (change.length & 3));
      return copy;
    }
    case 2:
      return copy.subarray(0, at);
    case 3:
      return Buffer.concat([copy, Buffer.alloc(change.length * 16, change.value)]);
    case 4: {
      const from = placeIn(source, change, change.from);
      source.copy(copy, at, from, from + 16 * (change.length + 1));
      return copy;
    }
    case 5:
      return copy.fill(change.value, at, Math.min(copy.length, at + 16 * (change.length + 1)));
    case 6:
      return copy;
    default:
      return Buffer.concat([copy.subarray(0, at), copy.subarray(at + change.length)]);
  }
}

function placeIn(bytes: Buffer, { kind, value }: Change, offset: number): number {
  if ((kind & FROM_BLOCK) === 0) return offset % (bytes.length + 1);
  const starts = [0, COPY_BYTES, ...blockStarts(bytes)];
  const start = starts[(offset >> 8) % starts.length]!;
  return Math.min(bytes.length, start + (((offset & 0xff) + (value & 1)) % 160));
}

function blockStarts(bytes: Buffer): number[] {
  const starts: number[] = [];
  const magic = Buffer.from("MRBK", "latin1");
  for (let at = bytes.indexOf(magic); at >= 0; at = bytes.indexOf(magic, at + 1))
    if (at - 8 >= SEGMENT_HEADER_BYTES) starts.push(at - 8);
  return starts;
}

/** What a writer that wrote these bytes would have written as their checksums. */
function withChecksums(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  for (const start of [0, COPY_BYTES]) {
    const half = copy.subarray(start, start + COPY_BYTES);
    if (half.length < COPY_BYTES) continue;
    const head = crc32(half.subarray(0, fields.segmentCrc));
    half.writeUInt32LE(crc32(half.subarray(fields.version), head), fields.segmentCrc);
  }
  if (copy.length < SEGMENT_HEADER_BYTES) return copy;
  const segmentId = copy.subarray(fields.segmentId, fields.segmentId + 16);
  for (const start of blockStarts(copy)) {
    const headerBytes = announcedHeaderBytes(copy.subarray(start));
    if (headerBytes === undefined || start + headerBytes > copy.length) continue;
    const header = copy.subarray(start, start + headerBytes);
    const stored = copy.subarray(
      start + headerBytes,
      start + headerBytes + header.readUInt32LE(fields.storedBytes),
    );
    if (header[fields.kind] === BlockKind.Data) header.writeUInt32LE(crc32(stored), fields.storedCrc);
    const head = crc32(header.subarray(0, fields.crc), blockSeed(segmentId, start));
    header.writeUInt32LE(crc32(header.subarray(fields.storedBytes), head), fields.crc);
  }
  return copy;
}
