import { crc32 } from "node:zlib";

import { assert } from "../core/assert.ts";
import { SCAN_READ_BYTES, WALK_READ_BYTES } from "../core/limits.ts";
import {
  announcedHeaderBytes,
  BLOCK_FIXED_BYTES,
  BLOCK_MAGIC_BYTES,
  BLOCK_MAGIC_OFFSET,
  decodeBlockHeader,
  type DecodedBlockHeader,
  paddingBytes,
} from "./block-layout.ts";
import { isExhausted } from "./read-refusals.ts";
import {
  decodeSegmentHeader,
  type HeaderCopy,
  inspectHeaderCopies,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from "./segment-layout.ts";
import type { StorageFile } from "./storage.ts";

/** Reads of a segment through a window, so that a walk over small blocks is not a system call each. */
export class SegmentSource {
  readonly #file: StorageFile;
  readonly segmentId: Buffer;
  #window = Buffer.alloc(0);
  #windowStart = 0;
  #windowEnd = 0;

  constructor(file: StorageFile, segmentId: Buffer) {
    this.#file = file;
    this.segmentId = segmentId;
  }

  get file(): StorageFile {
    return this.#file;
  }

  /** Forgets what was read: the file has grown or shrunk. */
  forget(): void {
    this.#windowEnd = this.#windowStart;
  }

  /** A view, valid until the next call; shorter than asked for at the end of the file or where it cannot be read. */
  view(position: number, sizeBytes: number, readBytes: number = WALK_READ_BYTES): Buffer {
    if (position < this.#windowStart || position + sizeBytes > this.#windowEnd) {
      this.#fill(position, Math.max(sizeBytes, readBytes));
    }
    const start = position - this.#windowStart;
    return this.#window.subarray(start, Math.min(start + sizeBytes, this.#windowEnd - this.#windowStart));
  }

  #fill(position: number, sizeBytes: number): void {
    if (this.#window.length < sizeBytes) this.#window = Buffer.allocUnsafeSlow(sizeBytes);
    this.#windowStart = position;
    this.#windowEnd = position + readFully(this.#file, this.#window.subarray(0, sizeBytes), position);
  }
}

/**
 * Bytes read before the end of the file. A part that the medium refuses ends the read: to a reader it is damage (R3).
 * @throws the system's error when this process lacks what a read needs, which says nothing about the file
 */
export function readFully(file: StorageFile, target: Buffer, position: number): number {
  let done = 0;
  while (done < target.length) {
    let count: number;
    try {
      count = file.read(target.subarray(done), position + done);
    } catch (error) {
      if (isExhausted(error)) throw error;
      return done;
    }
    if (count === 0) break;
    done += count;
  }
  return done;
}

/** @returns undefined when no copy of the header is whole @throws as `readFully` does */
export function readSegmentHeader(file: StorageFile): SegmentHeader | undefined {
  const area = Buffer.alloc(SEGMENT_HEADER_BYTES);
  return decodeSegmentHeader(area.subarray(0, readFully(file, area, 0)));
}

/** Both copies of the header, each on its own; what lies behind `endBytes` does not exist. @throws as `readFully` does */
export function readHeaderCopies(file: StorageFile, endBytes = SEGMENT_HEADER_BYTES): HeaderCopy[] {
  const area = Buffer.alloc(Math.min(SEGMENT_HEADER_BYTES, endBytes));
  return inspectHeaderCopies(area.subarray(0, readFully(file, area, 0)));
}

export interface BlockPlace {
  readonly position: number;
  readonly header: DecodedBlockHeader;
  readonly nextPosition: number;
}

/** Whole padding may lie before the damage: where exactly it begins decides whether evidence covers it (R4). */
export interface DamagePlace {
  readonly damagedAt: number;
}

export type ScanStep = BlockPlace | DamagePlace | "end";

/** The block at `position` or behind padding there. `endBytes` bounds the segment; a block that crosses it is damage. */
export function stepBlock(
  source: SegmentSource,
  position: number,
  endBytes: number,
  readBytes: number = WALK_READ_BYTES,
): ScanStep {
  let at = position;
  while (at < endBytes) {
    const head = source.view(at, BLOCK_FIXED_BYTES, Math.min(readBytes, endBytes - at));
    const padding = paddingBytes(head, at);
    if (padding === undefined) return headerAt(source, at, endBytes, readBytes) ?? { damagedAt: at };
    if (at + padding > endBytes) return { damagedAt: at };
    at += padding;
  }
  return "end";
}

function headerAt(
  source: SegmentSource,
  position: number,
  endBytes: number,
  readBytes: number,
): BlockPlace | undefined {
  const headerBytes = announcedHeaderBytes(source.view(position, BLOCK_FIXED_BYTES, readBytes));
  if (headerBytes === undefined || position + headerBytes > endBytes) return undefined;
  const header = decodeBlockHeader(source.view(position, headerBytes, readBytes), source.segmentId, position);
  if (header === undefined) return undefined;
  const nextPosition = position + headerBytes + header.storedBytes;
  return nextPosition > endBytes ? undefined : { position, header, nextPosition };
}

/** The first block at or after `from` whose header verifies, found by its magic; damage in between does not hide it. */
export function findBlock(source: SegmentSource, from: number, endBytes: number): BlockPlace | undefined {
  for (const position of findMagic(source, from, endBytes)) {
    const place = headerAt(source, position, endBytes, SCAN_READ_BYTES);
    if (place !== undefined) return place;
  }
  return undefined;
}

/** Where blocks may begin, at or after `from`: what has the magic of one in its place. */
export function* findMagic(
  source: SegmentSource,
  from: number,
  endBytes: number,
): Generator<number, void, undefined> {
  const overlapBytes = BLOCK_MAGIC_BYTES.length - 1;
  let searchFrom = from + BLOCK_MAGIC_OFFSET;
  while (searchFrom < endBytes) {
    const chunk = source.view(searchFrom, Math.min(SCAN_READ_BYTES, endBytes - searchFrom), SCAN_READ_BYTES);
    const at = chunk.indexOf(BLOCK_MAGIC_BYTES);
    if (at >= 0) {
      const magicAt = searchFrom + at;
      yield magicAt - BLOCK_MAGIC_OFFSET;
      searchFrom = magicAt + 1;
    } else if (chunk.length <= overlapBytes) {
      // Unreadable or past the end of a file that is shorter than it should be.
      searchFrom += SCAN_READ_BYTES;
    } else {
      searchFrom += chunk.length - overlapBytes;
    }
  }
}

/** The first block at or behind `position`, past damage; undefined when there is none. */
export function nextBlock(source: SegmentSource, position: number, endBytes: number): BlockPlace | undefined {
  const step = stepBlock(source, position, endBytes);
  if (step === "end") return undefined;
  return "damagedAt" in step ? findBlock(source, step.damagedAt + 1, endBytes) : step;
}

/** Whether the stored bytes are those that were written. */
function bodyIsWhole(source: SegmentSource, place: BlockPlace): boolean {
  if (place.header.storedBytes === 0) return true;
  const from = place.position + place.header.headerBytes;
  const body = source.view(from, place.header.storedBytes, SCAN_READ_BYTES);
  return body.length === place.header.storedBytes && crc32(body) === place.header.storedCrc;
}

export interface SegmentScan {
  /** Blocks whose header verifies, in order; `whole` says whether the body does too. */
  readonly blocks: readonly (BlockPlace & { readonly whole: boolean })[];
  /** Where something is damaged, ascending. */
  readonly damage: readonly number[];
  /** Bytes below were durable: the highest synced position that any block states (R4). */
  readonly evidencePosition: number;
}

/** Reads all of a segment from `position` on, past any damage. */
export function scanSegment(source: SegmentSource, position: number, endBytes: number): SegmentScan {
  const blocks: (BlockPlace & { readonly whole: boolean })[] = [];
  const damage: number[] = [];
  let evidencePosition = 0;
  let at = position;
  for (;;) {
    const step = stepBlock(source, at, endBytes, SCAN_READ_BYTES);
    if (step === "end") break;
    let place: BlockPlace;
    if ("damagedAt" in step) {
      damage.push(step.damagedAt);
      const found = findBlock(source, step.damagedAt + 1, endBytes);
      if (found === undefined) break;
      place = found;
    } else {
      place = step;
    }
    const whole = bodyIsWhole(source, place);
    if (!whole) damage.push(place.position);
    blocks.push({ ...place, whole });
    evidencePosition = Math.max(evidencePosition, place.header.syncedPosition);
    assert(place.nextPosition > at, "a scan moves on");
    at = place.nextPosition;
  }
  return { blocks, damage, evidencePosition };
}
