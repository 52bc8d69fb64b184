import path from "node:path";

import { SCAN_READ_BYTES } from "../core/limits.ts";
import { blockEndSequence, BlockKind, type SegmentSummary } from "./block-layout.ts";
import { SegmentIndex } from "./segment-index.ts";
import {
  decodeSegmentHeader,
  formatSegmentName,
  parseSegmentName,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  type SegmentName,
} from "./segment-layout.ts";
import {
  nextBlock,
  readFully,
  scanSegment,
  type SegmentScan,
  SegmentSource,
  stepBlock,
} from "./segment-scanner.ts";
import { payloadBytesOf, type ResumePoint, type StoredBlock } from "./segment-writer.ts";
import { SEAL_BYTES } from "./block-layout.ts";
import type { Storage, StorageFile } from "./storage.ts";

/** A segment that grows no more. */
export interface SegmentInfo {
  readonly path: string;
  readonly header: SegmentHeader;
  /** Exclusive. */
  readonly endSequence: number;
  /** Bytes from here on are ignored (R5). */
  readonly endBytes: number;
  readonly summary: SegmentSummary;
}

export interface SequenceRange {
  readonly fromSequence: number;
  /** Exclusive. */
  readonly toSequence: number;
}

/** What recovery found and did; all counts are 0 and all lists empty after a clean stop. */
export interface RecoveryReport {
  segmentCount: number;
  scannedBytes: number;
  tornTailBytes: number;
  /** Damage that is kept and skipped (R3), as far as its extent is known. */
  readonly corrupt: SequenceRange[];
  /** Sequence numbers between segments that no file holds. */
  readonly missing: SequenceRange[];
  /** Evidence says that these were stored durably, and they are gone (R4). */
  dataLoss: SequenceRange | undefined;
  /** Files with a segment's name and no valid head: left alone. */
  readonly unreadable: string[];
}

export interface RecoveredTail {
  readonly file: StorageFile;
  readonly header: SegmentHeader;
  readonly resume: ResumePoint;
  /** Blocks that nothing proves to be durable. */
  readonly unproven: readonly StoredBlock[];
  /** The file is longer than what counts. */
  readonly mustTruncate: boolean;
  readonly isSealed: boolean;
}

export interface RecoveredChain {
  /** Oldest first, without the tail. */
  readonly segments: SegmentInfo[];
  readonly tail: RecoveredTail | undefined;
  readonly nextSequence: number;
  /** The highest generation that a name in the directory uses, by base. */
  readonly generations: Map<number, number>;
  readonly report: RecoveryReport;
}

interface Candidate {
  readonly path: string;
  readonly name: SegmentName;
  readonly header: SegmentHeader;
  readonly sizeBytes: number;
}

/** Reads the segments of a stream (R1 to R8). Changes nothing but the removal of files that hold nothing that counts. */
export function recoverChain(options: {
  readonly storage: Storage;
  readonly directory: string;
  readonly streamId: Buffer;
}): RecoveredChain {
  const report: RecoveryReport = {
    segmentCount: 0,
    scannedBytes: 0,
    tornTailBytes: 0,
    corrupt: [],
    missing: [],
    dataLoss: undefined,
    unreadable: [],
  };
  const generations = new Map<number, number>();
  const chain = chooseChain(options, report, generations);
  report.segmentCount = chain.length;
  const segments: SegmentInfo[] = [];
  for (let at = 0; at + 1 < chain.length; at++) {
    const info = describeSegment(options.storage, chain[at]!, chain[at + 1]!, report);
    if (info.endSequence < chain[at + 1]!.header.baseSequence) {
      report.missing.push({
        fromSequence: info.endSequence,
        toSequence: chain[at + 1]!.header.baseSequence,
      });
    }
    segments.push(info);
  }
  const last = chain.at(-1);
  const tail = last === undefined ? undefined : recoverTail(options.storage, last, report);
  return { segments, tail, nextSequence: tail?.resume.endSequence ?? 0, generations, report };
}

/** One candidate a base, the highest generation whose head is valid; ascending. */
function chooseChain(
  options: { readonly storage: Storage; readonly directory: string; readonly streamId: Buffer },
  report: RecoveryReport,
  generations: Map<number, number>,
): Candidate[] {
  const { storage, directory, streamId } = options;
  const chosen = new Map<number, Candidate>();
  const worthless: string[] = [];
  for (const entry of storage.list(directory)) {
    const name = parseSegmentName(entry.name);
    if (name === undefined || formatSegmentName(name) !== entry.name) continue;
    generations.set(name.baseSequence, Math.max(name.generation, generations.get(name.baseSequence) ?? 0));
    const candidate = readCandidate(storage, path.join(directory, entry.name), name, streamId);
    if (candidate === "empty") worthless.push(path.join(directory, entry.name));
    else if (candidate === undefined) report.unreadable.push(entry.name);
    else {
      const rival = chosen.get(name.baseSequence);
      // A higher generation counts only once it holds all that the lower one held.
      if (rival !== undefined) {
        const [winner, loser] =
          rival.name.generation > name.generation ? [rival, candidate] : [candidate, rival];
        worthless.push(loser.path);
        chosen.set(name.baseSequence, winner);
      } else chosen.set(name.baseSequence, candidate);
    }
  }
  for (const file of worthless) tryUnlink(storage, file);
  return [...chosen.values()].sort((a, b) => a.name.baseSequence - b.name.baseSequence);
}

function tryUnlink(storage: Storage, file: string): void {
  try {
    storage.unlink(file);
  } catch {
    // It is ignored again at the next start; nothing depends on its absence.
  }
}

/** "empty": a creation that was cut short; it is shorter than a head and so cannot hold a message. */
function readCandidate(
  storage: Storage,
  filePath: string,
  name: SegmentName,
  streamId: Buffer,
): Candidate | "empty" | undefined {
  let file: StorageFile;
  try {
    file = storage.open(filePath, "read");
  } catch {
    return undefined;
  }
  try {
    const sizeBytes = file.sizeBytes();
    const area = Buffer.alloc(SEGMENT_HEADER_BYTES);
    const count = readFully(file, area, 0);
    const header = decodeSegmentHeader(area.subarray(0, count));
    if (header === undefined) return sizeBytes <= SEGMENT_HEADER_BYTES ? "empty" : undefined;
    if (!header.streamId.equals(streamId)) return undefined;
    if (header.baseSequence !== name.baseSequence || header.generation !== name.generation) return undefined;
    return { path: filePath, name, header, sizeBytes };
  } catch {
    return undefined;
  } finally {
    file.close();
  }
}

const EMPTY_SUMMARY: SegmentSummary = {
  messageCount: 0,
  payloadBytes: 0,
  rawBytes: 0,
  firstIngestMs: 0,
  lastIngestMs: 0,
};

/** A segment with a successor: the successor says where it ends; its seal says what it holds, else its block headers do. */
function describeSegment(
  storage: Storage,
  candidate: Candidate,
  successor: Candidate,
  report: RecoveryReport,
): SegmentInfo {
  const { header, sizeBytes } = candidate;
  const stated =
    successor.header.predecessor?.segmentId.equals(header.segmentId) === true
      ? successor.header.predecessor
      : undefined;
  const endBytes = Math.min(sizeBytes, stated?.endBytes ?? sizeBytes);
  const limit = successor.header.baseSequence;
  let file: StorageFile | undefined;
  try {
    file = storage.open(candidate.path, "read");
    const source = new SegmentSource(file, header.segmentId);
    const walked = readSeal(source, endBytes) ?? walkHeaders(source, header.baseSequence, endBytes, report);
    const endSequence = Math.min(limit, stated?.endSequence ?? walked.endSequence);
    return { path: candidate.path, header, endSequence, endBytes, summary: walked.summary };
  } catch {
    const endSequence = Math.min(limit, stated?.endSequence ?? limit);
    return { path: candidate.path, header, endSequence, endBytes, summary: EMPTY_SUMMARY };
  } finally {
    file?.close();
  }
}

interface Contents {
  readonly endSequence: number;
  readonly summary: SegmentSummary;
}

function readSeal(source: SegmentSource, endBytes: number): Contents | undefined {
  if (endBytes < SEGMENT_HEADER_BYTES + SEAL_BYTES) return undefined;
  const step = stepBlock(source, endBytes - SEAL_BYTES, endBytes);
  if (step === "end" || "damagedAt" in step || step.header.summary === undefined) return undefined;
  return { endSequence: step.header.firstSequence, summary: step.header.summary };
}

function walkHeaders(
  source: SegmentSource,
  baseSequence: number,
  endBytes: number,
  report: RecoveryReport,
): Contents {
  const totals = new SummaryBuilder();
  let endSequence = baseSequence;
  let position = SEGMENT_HEADER_BYTES;
  while (position < endBytes) {
    const step = nextBlock(source, position, endBytes);
    if (step === undefined) break;
    if (step.header.firstSequence > endSequence)
      report.corrupt.push({ fromSequence: endSequence, toSequence: step.header.firstSequence });
    if (step.header.kind === BlockKind.Data) totals.add(step.header);
    endSequence = Math.max(endSequence, blockEndSequence(step.header));
    position = step.nextPosition;
  }
  return { endSequence, summary: totals.summary };
}

class SummaryBuilder {
  summary = EMPTY_SUMMARY;

  add(header: {
    readonly messageCount: number;
    readonly rawBytes: number;
    readonly firstIngestMs: number;
    readonly lastIngestMs: number;
  }): void {
    const { summary } = this;
    this.summary = {
      messageCount: summary.messageCount + header.messageCount,
      payloadBytes: summary.payloadBytes + payloadBytesOf(header),
      rawBytes: summary.rawBytes + header.rawBytes,
      firstIngestMs: summary.messageCount === 0 ? header.firstIngestMs : summary.firstIngestMs,
      lastIngestMs: Math.max(summary.lastIngestMs, header.lastIngestMs),
    };
  }
}

/**
 * The newest segment. Damage below the evidence of durability is corruption: kept and skipped (R3). From the first damage
 * above it on there is a torn tail, which does not count, even where whole blocks follow: what remains is a prefix (R2).
 */
function recoverTail(
  storage: Storage,
  candidate: Candidate,
  report: RecoveryReport,
): RecoveredTail | undefined {
  const file = openTail(storage, candidate.path);
  const source = new SegmentSource(file, candidate.header.segmentId);
  const scan = scanSegment(source, SEGMENT_HEADER_BYTES, candidate.sizeBytes);
  report.scannedBytes += candidate.sizeBytes;
  const endPosition = scan.damage.find((at) => at >= scan.evidencePosition) ?? candidate.sizeBytes;
  report.tornTailBytes += candidate.sizeBytes - endPosition;
  const kept = { ...scan, blocks: scan.blocks.filter((block) => block.position < endPosition) };
  return {
    file,
    header: candidate.header,
    mustTruncate: endPosition < candidate.sizeBytes,
    ...summarizeTail(source, candidate.header.baseSequence, kept, endPosition, report),
  };
}

/** A store that has become read-only can still be read. */
function openTail(storage: Storage, filePath: string): StorageFile {
  try {
    return storage.open(filePath, "append");
  } catch {
    return storage.open(filePath, "read");
  }
}

function summarizeTail(
  source: SegmentSource,
  baseSequence: number,
  scan: SegmentScan,
  endPosition: number,
  report: RecoveryReport,
): Pick<RecoveredTail, "resume" | "unproven" | "isSealed"> {
  const totals = new SummaryBuilder();
  const index = new SegmentIndex();
  const unproven: StoredBlock[] = [];
  const evidence = Math.max(SEGMENT_HEADER_BYTES, Math.min(scan.evidencePosition, endPosition));
  let endSequence = baseSequence;
  let syncedSequence = baseSequence;
  let isSealed = false;
  for (const block of scan.blocks) {
    const { header, position, whole } = block;
    if (header.firstSequence > endSequence)
      report.corrupt.push({ fromSequence: endSequence, toSequence: header.firstSequence });
    if (!whole)
      report.corrupt.push({ fromSequence: header.firstSequence, toSequence: blockEndSequence(header) });
    endSequence = blockEndSequence(header);
    isSealed = header.kind === BlockKind.Seal;
    if (position < evidence) syncedSequence = endSequence;
    if (header.kind !== BlockKind.Data) continue;
    totals.add(header);
    index.add(header.firstSequence, position);
    if (position >= evidence) unproven.push(loadBlock(source, block));
  }
  const resume: ResumePoint = {
    position: endPosition,
    endSequence,
    syncedPosition: evidence,
    syncedSequence,
    summary: totals.summary,
    index,
  };
  return { resume, unproven, isSealed };
}

function loadBlock(source: SegmentSource, block: SegmentScan["blocks"][number]): StoredBlock {
  const { header, position } = block;
  const body = source.view(position + header.headerBytes, header.storedBytes, SCAN_READ_BYTES);
  return { header, frame: [Buffer.from(body)] };
}
