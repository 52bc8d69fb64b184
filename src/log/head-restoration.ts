import path from "node:path";

import { laterOf, STREAM_START, type StreamPlace } from "../core/stream-ledger.ts";
import { BlockKind, type DecodedBlockHeader } from "./block-layout.ts";
import { AGE_UNKNOWN_MS, type AgePoint } from "./age-point.ts";
import type { RecoveredChain } from "./log-recovery.ts";
import type { QuarantinedPiece } from "./quarantine.ts";
import { isExhausted } from "./read-refusals.ts";
import { findSegmentId } from "./segment-id.ts";
import {
  encodeSegmentHeader,
  parseSegmentName,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  type SegmentName,
} from "./segment-layout.ts";
import { neighbourIds } from "./segment-neighbours.ts";
import { nextBlock, readFully, readHeaderCopies, SegmentSource } from "./segment-scanner.ts";
import { type SegmentInfo, writeFully } from "./segment-writer.ts";
import type { Storage, StorageFile } from "./storage.ts";
import { blockEndPlace } from "./stream-places.ts";

/** What became of the segments of a stream without a whole header. */
export interface HeadRestoration {
  /** Names of files that have one again. */
  readonly restored: readonly string[];
  /** Where those begin that have none, and are neither foreign nor unfinished: their messages are damaged, not missing. */
  readonly lostBases: readonly number[];
  /** Where the messages end that such a file holds. Their numbers were given. */
  readonly heldEnd: StreamPlace;
}

export interface HeadRestorationOptions {
  readonly storage: Storage;
  readonly directory: string;
  readonly streamId: Buffer;
  /** What the other segments hold. */
  readonly chain: RecoveredChain;
  /** Keeps bytes that are about to be written over. */
  readonly keep: (piece: QuarantinedPiece) => void;
}

/**
 * Makes the header anew of segments of which both copies are damaged: their blocks know the stream's numbers and payload bytes,
 * and the segments around them what time it was. Left alone is what another segment holds too, and what was never finished.
 */
export function restoreHeads(options: HeadRestorationOptions): HeadRestoration {
  const restored: string[] = [];
  const lostBases: number[] = [];
  let heldEnd = STREAM_START;
  for (const fileName of options.chain.report.unreadable) {
    const name = parseSegmentName(fileName);
    const headless = name === undefined ? undefined : readHeadless(options, fileName, name);
    if (headless === undefined || headless === "unfinished") continue;
    if (headless === "hopeless") {
      lostBases.push(name!.baseSequence);
      continue;
    }
    if (isHeldElsewhere(options.chain, headless)) continue;
    if (writeHead(options, headless)) restored.push(fileName);
    else {
      lostBases.push(name!.baseSequence);
      heldEnd = laterOf(heldEnd, headless.end);
    }
  }
  return { restored, lostBases, heldEnd };
}

/** A segment without a whole header, as its blocks show it. */
interface Headless {
  readonly filePath: string;
  readonly name: SegmentName;
  readonly segmentId: Buffer;
  readonly first: DecodedBlockHeader;
  readonly end: StreamPlace;
  readonly seal: DecodedBlockHeader | undefined;
  readonly lastDeltaMs: number;
  /** A block was written after the header was durable: so it was finished. */
  readonly isProven: boolean;
}

function readHeadless(
  { storage, directory }: HeadRestorationOptions,
  fileName: string,
  name: SegmentName,
): Headless | "hopeless" | "unfinished" | undefined {
  const filePath = path.join(directory, fileName);
  let file: StorageFile | undefined;
  try {
    file = storage.open(filePath, "read");
    const copies = readHeaderCopies(file);
    const isForeign = copies.some(({ state }) => state === "whole" || state === "other version");
    if (isForeign) return undefined;
    const endBytes = file.sizeBytes();
    const segmentId = findSegmentId({
      file,
      endBytes,
      copies,
      otherIds: () => neighbourIds(storage, filePath),
    });
    const isUnwritten = copies.every((copy) => copy.isUnwritten);
    const found = segmentId === undefined ? undefined : readBlocks(file, segmentId, endBytes);
    if (found === undefined || found.first.firstSequence < name.baseSequence) {
      return isUnwritten ? "unfinished" : "hopeless";
    }
    return { filePath, name, segmentId: segmentId!, ...found };
  } catch (error) {
    if (isExhausted(error)) throw error;
    return "hopeless";
  } finally {
    file?.close();
  }
}

function readBlocks(
  file: StorageFile,
  segmentId: Buffer,
  endBytes: number,
): Omit<Headless, "filePath" | "name" | "segmentId"> | undefined {
  const source = new SegmentSource(file, segmentId);
  let first: DecodedBlockHeader | undefined;
  let last: DecodedBlockHeader | undefined;
  let lastDeltaMs = 0;
  let isProven = false;
  let position = SEGMENT_HEADER_BYTES;
  for (;;) {
    const place = nextBlock(source, position, endBytes);
    if (place === undefined) break;
    const { header } = place;
    if (header.kind === BlockKind.Data) {
      first ??= header;
      lastDeltaMs = header.ageDeltaMs;
    }
    isProven ||= header.syncedPosition > SEGMENT_HEADER_BYTES;
    last = header;
    position = place.nextPosition;
  }
  if (first === undefined || last === undefined) return undefined;
  const seal = last.kind === BlockKind.Seal ? last : undefined;
  return { first, end: blockEndPlace(last), seal, lastDeltaMs, isProven: isProven || seal !== undefined };
}

/**
 * Without proof that it was ever finished, a segment may be what a crash left of one that was being made for messages that
 * another file has too. Only where no other has them it can be worth nothing less than it is.
 */
function isHeldElsewhere(chain: RecoveredChain, { name, first, isProven }: Headless): boolean {
  const { baseSequence } = name;
  // What was never durable counts from its first block on, or not at all.
  if (!isProven && first.firstSequence !== baseSequence) return true;
  return heldBy(chain).some(({ header, endSequence }) => {
    if (header.baseSequence === baseSequence) return true;
    const isInside = header.baseSequence < baseSequence && baseSequence < endSequence;
    return isInside && (header.rewritten !== undefined || !isProven);
  });
}

/** The segments that count already, oldest first. */
function heldBy({
  segments,
  tail,
}: RecoveredChain): Pick<SegmentInfo, "header" | "endSequence" | "endPayloadOffset">[] {
  return tail === undefined ? segments : [...segments, { header: tail.header, ...tail.resume }];
}

/** @returns false when the storage does not take it */
function writeHead(options: HeadRestorationOptions, headless: Headless): boolean {
  const { storage, keep } = options;
  const { filePath } = headless;
  let file: StorageFile | undefined;
  try {
    file = storage.open(filePath, "append");
    const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
    readFully(file, bytes, 0);
    keep({ filePath, position: 0, bytes });
    const { error } = writeFully(file, [encodeSegmentHeader(headerOf(options, headless))], 0);
    if (error !== undefined) throw error;
    file.syncNow();
    return true;
  } catch (error) {
    if (isExhausted(error)) throw error;
    return false;
  } finally {
    file?.close();
  }
}

function headerOf({ streamId, chain }: HeadRestorationOptions, headless: Headless): SegmentHeader {
  const { name, segmentId, first, end, seal } = headless;
  const { baseSequence, generation } = name;
  const before = heldBy(chain).findLast(({ header }) => header.baseSequence < baseSequence);
  const isFirst = first.firstSequence === baseSequence;
  const basePayloadOffset = isFirst ? first.payloadOffset : (before?.endPayloadOffset ?? first.payloadOffset);
  // A copy is written before anything in it is durable, and is durable as a whole before it has its name.
  const isCopy = generation > 0 && seal?.syncedPosition === SEGMENT_HEADER_BYTES;
  return {
    streamId,
    segmentId,
    baseSequence,
    basePayloadOffset,
    generation,
    epoch: first.epoch,
    createdMs: first.firstIngestMs,
    ...timeOf(chain, headless),
    predecessor: undefined,
    rewritten: isCopy ? { endSequence: end.sequence, endPayloadOffset: end.payloadOffset } : undefined,
  };
}

/** When it began, or later: a message may be taken for younger than it is, and never for older. */
function timeOf(
  chain: RecoveredChain,
  { name, seal, lastDeltaMs }: Headless,
): AgePoint & Pick<SegmentHeader, "clockEra" | "reference"> {
  const { clock } = chain;
  const headers = heldBy(chain).map(({ header }) => header);
  const after = headers.find(({ baseSequence }) => baseSequence > name.baseSequence);
  const before = headers.findLast(({ baseSequence }) => baseSequence < name.baseSequence);
  const clockEra = before?.clockEra ?? after?.clockEra ?? 0;
  const newest = seal?.summary?.lastAge;
  if (newest !== undefined && newest.ageMs !== AGE_UNKNOWN_MS && newest.runMs !== AGE_UNKNOWN_MS) {
    return { ...earlierBy(newest, lastDeltaMs), clockEra, reference: undefined };
  }
  if (after !== undefined) return { ...earlierBy(after, lastDeltaMs), clockEra, reference: undefined };
  // It is the newest: the stream's counts go on from what was before it, and a message's age is what passed since.
  return {
    ageMs: clock?.ageMs ?? 0,
    runMs: clock?.runMs ?? 0,
    clockEra: clock?.clockEra ?? 0,
    reference: clock?.reference,
  };
}

function earlierBy({ ageMs, runMs }: AgePoint, deltaMs: number): AgePoint {
  return { ageMs: Math.max(0, ageMs - deltaMs), runMs: Math.max(0, runMs - deltaMs) };
}
