import { SCAN_READ_BYTES } from "../core/limits.ts";
import { systemCode } from "../core/errors.ts";
import {
  announcedHeaderBytes,
  BLOCK_FIXED_BYTES,
  BlockKind,
  decodeBlockHeader,
  type DecodedBlockHeader,
  paddingBytes,
} from "./block-layout.ts";
import { type BodyProblem, DecodedBlock, inspectBody } from "./decoded-block.ts";
import { type HeaderCopy, SEGMENT_HEADER_BYTES, type SegmentHeader } from "./segment-layout.ts";
import { findSegmentId } from "./segment-id.ts";
import { findBlock, readHeaderCopies, SegmentSource } from "./segment-scanner.ts";
import type { StorageFile } from "./storage.ts";

/** The start of a segment file. */
export interface HeadPart {
  readonly kind: "head";
  readonly copies: readonly HeaderCopy[];
  /** Of the first whole copy. */
  readonly header: SegmentHeader | undefined;
  /** Known without a whole copy too, when a block verifies with what a damaged one claims. */
  readonly segmentId: Buffer | undefined;
}

export interface BlockPart {
  readonly kind: "block";
  readonly offset: number;
  readonly nextOffset: number;
  readonly header: DecodedBlockHeader;
  /** The first check of the stored bytes that failed. */
  readonly problem: BodyProblem | undefined;
  /** The system's code when the stored bytes could not be read. */
  readonly readError: string | undefined;
  /** Of a data block without a problem. */
  readonly block: DecodedBlock | undefined;
}

export interface PaddingPart {
  readonly kind: "padding";
  readonly offset: number;
  readonly sizeBytes: number;
  readonly isZero: boolean;
}

export type DamageReason =
  | "NOTHING_KNOWN"
  | "ZEROS"
  | "HEADER_DAMAGED"
  | "HEADER_CUT_OFF"
  | "BODY_CUT_OFF"
  | "UNREADABLE"
  | "NO_SEGMENT_ID";

/** Bytes that are neither a block nor padding. */
export interface DamagePart {
  readonly kind: "damage";
  readonly offset: number;
  readonly sizeBytes: number;
  readonly reason: DamageReason;
  /** The system's code of UNREADABLE. */
  readonly readError: string | undefined;
  /** Whether a block follows; else the file ends here. */
  readonly isFollowed: boolean;
}

export type SegmentPart = HeadPart | BlockPart | PaddingPart | DamagePart;

export interface InspectOptions {
  readonly file: StorageFile;
  /** Where to stop: the size of the file, or of a moment in the past while it grows. */
  readonly endBytes: number;
  /** Segment ids that others state, a successor say; asked for when no copy of the header is whole. */
  readonly otherIds?: (() => readonly Buffer[]) | undefined;
}

/**
 * Everything in a segment file in the order in which it stands there, past any damage, each part with what can be said of
 * it. The parts cover the file from end to end. One block is in memory at a time: it is valid until the next part is asked
 * for. Never throws for what the file holds.
 */
export function* inspectSegment(options: InspectOptions): Generator<SegmentPart, void, undefined> {
  const { endBytes } = options;
  const file = new ErrorNotingFile(options.file);
  const head = readHead(file, options);
  yield head;
  if (endBytes <= SEGMENT_HEADER_BYTES) return;
  let at = SEGMENT_HEADER_BYTES;
  if (head.segmentId === undefined) {
    yield damage(at, endBytes, { reason: "NO_SEGMENT_ID" });
    return;
  }
  const source = new SegmentSource(file, head.segmentId);
  while (at < endBytes) {
    const part = readPart(source, file, at, endBytes);
    yield part;
    at = part.kind === "block" ? part.nextOffset : part.offset + part.sizeBytes;
  }
}

function readHead(file: StorageFile, { endBytes, otherIds }: InspectOptions): HeadPart {
  const copies = readHeaderCopies(file, endBytes);
  const header = copies.find((copy) => copy.header !== undefined)?.header;
  const segmentId = header?.segmentId ?? findSegmentId({ file, endBytes, copies, otherIds });
  return { kind: "head", copies, header, segmentId };
}

function readPart(
  source: SegmentSource,
  file: ErrorNotingFile,
  offset: number,
  endBytes: number,
): BlockPart | PaddingPart | DamagePart {
  file.forgetError();
  const head = source.view(offset, Math.min(BLOCK_FIXED_BYTES, endBytes - offset), SCAN_READ_BYTES);
  const padding = paddingBytes(head, offset);
  if (padding !== undefined && offset + padding <= endBytes) {
    const isZero = source
      .view(offset, padding, SCAN_READ_BYTES)
      .subarray(8)
      .every((byte) => byte === 0);
    return { kind: "padding", offset, sizeBytes: padding, isZero };
  }
  const header = readHeader(source, offset, endBytes);
  if (typeof header !== "string") return readBlock(source, file, offset, header);
  const { lastError } = file;
  const reason = lastError === undefined ? header : "UNREADABLE";
  const found = findBlock(source, offset + 1, endBytes);
  return damage(offset, found?.position ?? endBytes, { reason, lastError, isFollowed: found !== undefined });
}

function readHeader(
  source: SegmentSource,
  offset: number,
  endBytes: number,
): DecodedBlockHeader | DamageReason {
  const head = source.view(offset, Math.min(BLOCK_FIXED_BYTES, endBytes - offset), SCAN_READ_BYTES);
  if (head.every((byte) => byte === 0)) return "ZEROS";
  const headerBytes = announcedHeaderBytes(head);
  if (headerBytes === undefined) return "NOTHING_KNOWN";
  if (offset + headerBytes > endBytes) return "HEADER_CUT_OFF";
  const header = decodeBlockHeader(
    source.view(offset, headerBytes, SCAN_READ_BYTES),
    source.segmentId,
    offset,
  );
  if (header === undefined) return "HEADER_DAMAGED";
  return offset + headerBytes + header.storedBytes > endBytes ? "BODY_CUT_OFF" : header;
}

function readBlock(
  source: SegmentSource,
  file: ErrorNotingFile,
  offset: number,
  header: DecodedBlockHeader,
): BlockPart {
  const nextOffset = offset + header.headerBytes + header.storedBytes;
  const common = { kind: "block", offset, nextOffset, header } as const;
  if (header.kind !== BlockKind.Data) {
    return { ...common, problem: undefined, readError: undefined, block: undefined };
  }
  const body = source.view(offset + header.headerBytes, header.storedBytes, SCAN_READ_BYTES);
  const decoded = inspectBody(header, body);
  return decoded instanceof DecodedBlock
    ? { ...common, problem: undefined, readError: undefined, block: decoded }
    : { ...common, problem: decoded, readError: file.lastError, block: undefined };
}

function damage(
  offset: number,
  endOffset: number,
  found: { reason: DamageReason; lastError?: string | undefined; isFollowed?: boolean },
): DamagePart {
  const { reason, lastError, isFollowed = false } = found;
  return { kind: "damage", offset, sizeBytes: endOffset - offset, reason, readError: lastError, isFollowed };
}

/** Reads of a segment take what the medium refuses for a short read; here is what it said. */
class ErrorNotingFile implements StorageFile {
  readonly #file: StorageFile;
  #lastError: string | undefined;

  constructor(file: StorageFile) {
    this.#file = file;
  }

  /** The system's code; undefined if no read failed since the last `forgetError`. */
  get lastError(): string | undefined {
    return this.#lastError;
  }
  forgetError(): void {
    this.#lastError = undefined;
  }

  get path(): string {
    return this.#file.path;
  }

  read(target: Uint8Array, position: number): number {
    try {
      return this.#file.read(target, position);
    } catch (error) {
      this.#lastError = systemCode(error) ?? "error";
      throw error;
    }
  }

  sizeBytes(): number {
    return this.#file.sizeBytes();
  }

  close(): void {
    this.#file.close();
  }

  write = refuseToChange;
  sync = refuseToChange;
  syncNow = refuseToChange;
  truncate = refuseToChange;
}

function refuseToChange(): never {
  throw new Error("an inspection changes nothing");
}
