import type { StreamPlace } from "../core/stream-ledger.ts";
import { blockEndSequence, BlockKind } from "./block-layout.ts";
import { openExisting } from "./read-refusals.ts";
import { type Findings, noteRange } from "./recovery-report.ts";
import type { Candidate } from "./segment-choice.ts";
import { SegmentIndex } from "./segment-index.ts";
import { type SegmentHeader, SEGMENT_HEADER_BYTES } from "./segment-layout.ts";
import { scanSegment, type SegmentScan, SegmentSource } from "./segment-scanner.ts";
import { SummaryBuilder } from "./segment-summary.ts";
import type { ResumePoint, StoredBlock } from "./segment-writer.ts";
import type { Storage, StorageFile } from "./storage.ts";
import { basePlace, blockEndPlace, blockPlace, endPlace } from "./stream-places.ts";
import { UnprovenBlocks } from "./unproven-blocks.ts";

export interface RecoveredTail {
  readonly file: StorageFile;
  readonly header: SegmentHeader;
  readonly resume: ResumePoint;
  /** Blocks that nothing proves to be durable. */
  readonly unproven: readonly StoredBlock[];
  /** Something proves that the segment itself is: its head comes last of what makes it. */
  readonly isHeadProven: boolean;
  /** The file is longer than what counts. */
  readonly mustTruncate: boolean;
  /** Nothing is written behind its end any more. */
  readonly isSealed: boolean;
}

/**
 * The newest segment. Damage below the evidence of durability is corruption: kept and skipped (R3). From the first damage
 * above it on there is a torn tail, which does not count, even where whole blocks follow: what remains is a prefix (R2). A
 * rewritten segment has no tail that could be torn: it was whole and durable before it got its name.
 */
export function recoverTail(
  storage: Storage,
  candidate: Candidate,
  findings: Findings & { readonly provenSequence: number },
): RecoveredTail {
  const file = openExisting(storage, candidate.path);
  try {
    return readTail(storage, file, candidate, findings);
  } catch (error) {
    file.close();
    throw error;
  }
}

function readTail(
  storage: Storage,
  file: StorageFile,
  { header, sizeBytes }: Candidate,
  findings: Findings & { readonly provenSequence: number },
): RecoveredTail {
  const source = new SegmentSource(file, header.segmentId);
  const scanned = scanSegment(source, SEGMENT_HEADER_BYTES, sizeBytes);
  const evidencePosition =
    header.rewritten === undefined ? evidenceOf(scanned, findings.provenSequence) : sizeBytes;
  const endPosition = scanned.damage.find((at) => at >= evidencePosition) ?? sizeBytes;
  const blocks = scanned.blocks.filter((block) => block.position < endPosition);
  const hiddenEnd = findHiddenEnd(scanned, { evidencePosition, endPosition });
  findings.report.scannedBytes += sizeBytes;
  if (hiddenEnd === undefined) findings.report.tornTailBytes += sizeBytes - endPosition;
  const tail = { blocks, evidencePosition, endPosition, hiddenEnd };
  return {
    file,
    header,
    isHeadProven: evidencePosition >= SEGMENT_HEADER_BYTES,
    mustTruncate: endPosition < sizeBytes && hiddenEnd === undefined,
    ...summarizeTail(source, header, tail, { ...findings, unproven: new UnprovenBlocks(storage) }),
  };
}

/** Bytes below were durable: so a block says, or other files do of the messages up to the end of one. */
function evidenceOf({ blocks, evidencePosition }: SegmentScan, provenSequence: number): number {
  const proven = blocks.findLast(({ header }) => {
    return header.kind === BlockKind.Data && blockEndSequence(header) <= provenSequence;
  });
  return Math.max(evidencePosition, proven?.nextPosition ?? 0);
}

/**
 * Where durable messages end that nothing is left of: damage below the evidence that no block follows but torn ones, of which
 * the first tells the number. Only they do, so they are not cut: the segment ends here, and the next one begins with that number.
 */
function findHiddenEnd(
  { blocks, damage }: SegmentScan,
  { evidencePosition, endPosition }: { readonly evidencePosition: number; readonly endPosition: number },
): StreamPlace | undefined {
  const keptEnd = blocks.findLast(({ position }) => position < endPosition)?.nextPosition ?? 0;
  const isHidden = damage.some((at) => at >= keptEnd && at < evidencePosition);
  const behind = isHidden ? blocks.find(({ position }) => position >= endPosition) : undefined;
  return behind && blockPlace(behind.header);
}

interface TailBlocks {
  /** Those that count. */
  readonly blocks: SegmentScan["blocks"];
  readonly evidencePosition: number;
  readonly endPosition: number;
  readonly hiddenEnd: StreamPlace | undefined;
}

function summarizeTail(
  source: SegmentSource,
  segment: SegmentHeader,
  { blocks, evidencePosition, endPosition, hiddenEnd }: TailBlocks,
  { report, clock, producers, unproven }: Findings & { readonly unproven: UnprovenBlocks },
): Pick<RecoveredTail, "resume" | "unproven" | "isSealed"> {
  const { rewritten } = segment;
  clock.segment(segment);
  const totals = new SummaryBuilder(segment);
  const index = new SegmentIndex();
  const evidence = Math.max(SEGMENT_HEADER_BYTES, Math.min(evidencePosition, endPosition));
  let end = basePlace(segment);
  let synced = end;
  let isSealed = false;
  for (const block of blocks) {
    const { header, position, whole } = block;
    const first = blockPlace(header);
    noteRange(report.corrupt, end, first);
    end = blockEndPlace(header);
    if (!whole) noteRange(report.corrupt, first, end);
    isSealed = header.kind === BlockKind.Seal;
    if (position < evidence) synced = end;
    // What damage hides before it was durable too: else the damage would be the end.
    else if (unproven.blocks.length === 0) synced = first;
    const age = totals.ageOf(header);
    totals.add(header);
    clock.block(segment, header);
    if (header.kind !== BlockKind.Data) {
      unproven.cap({ ...age, isAgeProven: header.isAgeProven });
      continue;
    }
    if (whole) producers.addBlock(header);
    index.add(header.firstSequence, position);
    if (position < evidence) continue;
    unproven.add(source, block, { age, clockEra: segment.clockEra });
  }
  const provenEnd = rewritten === undefined ? hiddenEnd : endPlace(rewritten);
  if (provenEnd !== undefined) {
    noteRange(report.corrupt, end, provenEnd);
    end = provenEnd;
    synced = end;
    isSealed = true;
  }
  const resume: ResumePoint = {
    position: endPosition,
    endSequence: end.sequence,
    endPayloadOffset: end.payloadOffset,
    syncedPosition: evidence,
    syncedSequence: synced.sequence,
    syncedPayloadOffset: synced.payloadOffset,
    summary: totals.summary,
    ageMs: clock.recovered?.ageMs ?? segment.ageMs,
    index,
  };
  return { resume, unproven: unproven.blocks, isSealed };
}
