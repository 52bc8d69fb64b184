import { crc32 } from "node:zlib";

import { SCAN_READ_BYTES } from "../core/limits.ts";
import {
  announcedHeaderBytes,
  BLOCK_FIXED_BYTES,
  blockSeedOf,
  BlockKind,
  decodeBlockHeader,
} from "./block-layout.ts";
import { bytesForCrc, rewindCrc } from "./crc-rewind.ts";
import { decodeBody } from "./decoded-block.ts";
import { type HeaderCopy, ID_BYTES, positionBytes, SEGMENT_HEADER_BYTES } from "./segment-layout.ts";
import { findBlock, findMagic, nextBlock, SegmentSource } from "./segment-scanner.ts";
import type { StorageFile } from "./storage.ts";

/** Places that look like blocks and are asked for the id; those written here by mistake are few. */
const PLACES_MAX = 8;
/** Of an id that is made up. */
const ID_PREFIX = Buffer.from("MRSG-remade-");

export interface HeadlessFile {
  readonly file: StorageFile;
  readonly endBytes: number;
  readonly copies: readonly HeaderCopy[];
  /** Ids that others state for it, a successor say. */
  readonly otherIds?: (() => readonly Buffer[]) | undefined;
}

/**
 * The id of a segment of which no header copy is whole: one that somebody claims and a block verifies with, else one made up
 * with which its blocks verify as they do with the true one. Undefined when it holds no block.
 */
export function findSegmentId({ file, endBytes, copies, otherIds }: HeadlessFile): Buffer | undefined {
  const claimed = copies.flatMap(({ claimedId }) => (claimedId === undefined ? [] : [claimedId]));
  const isProven = (id: Buffer): boolean =>
    findBlock(new SegmentSource(file, id), SEGMENT_HEADER_BYTES, endBytes) !== undefined;
  return [...claimed, ...(otherIds?.() ?? [])].find(isProven) ?? equivalentId(file, endBytes);
}

/**
 * Of a segment's id, the checksums of its block headers know no more than its CRC, and each of them gives that back. One block
 * alone would verify with whatever it gives: others have to agree, or it is whole and stands where the first one does.
 */
function equivalentId(file: StorageFile, endBytes: number): Buffer | undefined {
  const known = new Map<string, number>();
  let best: { readonly id: Buffer; readonly weight: number } | undefined;
  for (const id of givenIds(file, endBytes)) {
    const key = id.toString("latin1");
    if (known.has(key)) continue;
    const weight = weightOf(id, file, endBytes);
    known.set(key, weight);
    if (weight > (best?.weight ?? 1)) best = { id, weight };
  }
  return best?.id;
}

/** Headers that verify, and the body of the first one. */
function weightOf(id: Buffer, file: StorageFile, endBytes: number): number {
  const source = new SegmentSource(file, id);
  let weight = 0;
  let position = SEGMENT_HEADER_BYTES;
  for (;;) {
    const place = nextBlock(source, position, endBytes);
    if (place === undefined) return weight;
    const { header } = place;
    weight += 1;
    if (place.position === SEGMENT_HEADER_BYTES && header.kind === BlockKind.Data) {
      const body = source.view(place.position + header.headerBytes, header.storedBytes, SCAN_READ_BYTES);
      if (decodeBody(header, body) !== undefined) weight += 1;
    }
    position = place.nextPosition;
  }
}

function* givenIds(file: StorageFile, endBytes: number): Generator<Buffer, void, undefined> {
  const source = new SegmentSource(file, Buffer.alloc(ID_BYTES));
  let places = 0;
  for (const position of findMagic(source, SEGMENT_HEADER_BYTES, endBytes)) {
    const id = idGivenBy(source, position);
    if (id === undefined) continue;
    places += 1;
    yield id;
    if (places === PLACES_MAX) return;
  }
}

/** An id for which the header at `position` verifies there, if it is one. */
function idGivenBy(source: SegmentSource, position: number): Buffer | undefined {
  const headerBytes = announcedHeaderBytes(source.view(position, BLOCK_FIXED_BYTES, SCAN_READ_BYTES));
  if (headerBytes === undefined) return undefined;
  const header = Buffer.from(source.view(position, headerBytes, SCAN_READ_BYTES));
  if (header.length < headerBytes) return undefined;
  const idCrc = rewindCrc(blockSeedOf(header), positionBytes(position));
  const id = Buffer.concat([ID_PREFIX, bytesForCrc(idCrc, crc32(ID_PREFIX))]);
  try {
    return decodeBlockHeader(header, id, position) === undefined ? undefined : id;
  } catch {
    // No checksum vouches for these bytes yet: they may say anything, numbers that are none too.
    return undefined;
  }
}
