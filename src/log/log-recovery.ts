import { type LossRange, rangeOf, type StreamPlace } from "../core/stream-ledger.ts";
import { blockEndSequence, SEAL_BYTES, type SegmentSummary } from "./block-layout.ts";
import { ClockTrace, type RecoveredClock } from "./clock-trace.ts";
import type { RecoveredProducers } from "./producer-keeper.ts";
import { ProducerRecovery } from "./producer-recovery.ts";
import { isExhausted } from "./read-refusals.ts";
import { emptyReport, type Findings, noteRange, type RecoveryReport } from "./recovery-report.ts";
import { type Candidate, chooseSegments } from "./segment-choice.ts";
import { SEGMENT_HEADER_BYTES, type SegmentHeader } from "./segment-layout.ts";
import { nextBlock, SegmentSource, stepBlock } from "./segment-scanner.ts";
import { EMPTY_SUMMARY, SummaryBuilder } from "./segment-summary.ts";
import type { SegmentInfo } from "./segment-writer.ts";
import type { Storage, StorageFile } from "./storage.ts";
import { basePlace, blockEndPlace, blockPlace, endPlace } from "./stream-places.ts";
import { type RecoveredTail, recoverTail } from "./tail-recovery.ts";

export interface RecoveredChain {
  /** Oldest first, without the tail. */
  readonly segments: SegmentInfo[];
  readonly tail: RecoveredTail | undefined;
  readonly nextSequence: number;
  readonly nextPayloadOffset: number;
  /** Undefined without segments. */
  readonly clock: RecoveredClock | undefined;
  /** The account fits the segments; else it begins again with what they say. */
  readonly isLedgerUsable: boolean;
  /** The highest generation that a name in the directory uses, by base. */
  readonly generations: Map<number, number>;
  /** Files that count no more, and files of deleted messages (segment-choice.ts). */
  readonly leftovers: readonly string[];
  readonly dropped: readonly string[];
  readonly producers: RecoveredProducers;
  readonly report: RecoveryReport;
}

export interface RecoveryOptions {
  readonly storage: Storage;
  readonly directory: string;
  readonly streamId: Buffer;
  /** Of the account that the last process left. */
  readonly droppedEnd: StreamPlace;
  /** Messages below were durable, by the word of other files. */
  readonly provenEnd: StreamPlace;
}

/** Reads the segments of a stream (R1 to R8). Removes nothing. */
export function recoverChain(options: RecoveryOptions): RecoveredChain {
  const report = emptyReport();
  const droppedEndSequence = options.droppedEnd.sequence;
  const choice = chooseSegments({ ...options, droppedEndSequence });
  const { chain, generations, unreadable, setAside, leftovers, dropped } = choice;
  report.unreadable.push(...unreadable);
  report.setAside.push(...setAside);
  const producers = new ProducerRecovery(options.storage, options.directory);
  report.isProducersFileDamaged = producers.isDamaged;
  report.segmentCount = chain.length;
  const clock = new ClockTrace();
  const findings = { report, clock, producers };
  const segments: SegmentInfo[] = [];
  for (let at = 0; at + 1 < chain.length; at++) {
    const info = describeSegment(options.storage, chain[at]!, chain[at + 1]!, findings);
    noteRange(report.missing, endPlace(info), basePlace(chain[at + 1]!.header));
    segments.push(info);
  }
  const provenSequence = Math.max(options.provenEnd.sequence, producers.provenSequence);
  const last = chain.at(-1);
  const tail =
    last === undefined ? undefined : recoverTail(options.storage, last, { ...findings, provenSequence });
  const oldest = chain[0]?.header;
  const isLedgerUsable =
    oldest === undefined ||
    (choice.isContinued && oldest.basePayloadOffset >= options.droppedEnd.payloadOffset);
  const nextSequence = tail?.resume.endSequence ?? options.droppedEnd.sequence;
  return {
    segments,
    tail,
    isLedgerUsable,
    nextSequence,
    nextPayloadOffset: tail?.resume.endPayloadOffset ?? options.droppedEnd.payloadOffset,
    clock: clock.recovered,
    generations,
    leftovers,
    dropped,
    producers: producers.finish(nextSequence),
    report,
  };
}

/**
 * Messages that were durable once and are gone (R4): the log ends below what the producers' record or `knownEnd`, the furthest
 * cursor of an exporter, prove.
 */
export function lostMessages(
  { nextSequence, nextPayloadOffset, producers }: RecoveredChain,
  knownEnd: StreamPlace,
): LossRange | undefined {
  const sequence = Math.max(knownEnd.sequence, producers.evidenceSequence);
  if (sequence <= nextSequence) return undefined;
  const payloadOffset = Math.max(nextPayloadOffset, knownEnd.payloadOffset);
  return rangeOf({ sequence: nextSequence, payloadOffset: nextPayloadOffset }, { sequence, payloadOffset });
}

/** A segment with a successor: the successor says where it ends; its seal says what it holds, else its block headers do. */
function describeSegment(
  storage: Storage,
  candidate: Candidate,
  successor: Candidate,
  findings: Findings,
): SegmentInfo {
  const { header, sizeBytes } = candidate;
  findings.clock.segment(header);
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
    const walked =
      readSeal(source, header, endBytes, findings) ??
      walkHeaders(source, header, { endBytes, limit }, findings);
    const end = stated ?? header.rewritten ?? walked;
    const isWhole = end.endSequence >= limit;
    const endSequence = Math.min(limit, end.endSequence);
    const endPayloadOffset = isWhole ? successor.header.basePayloadOffset : end.endPayloadOffset;
    // Damage hides what stands between the last block that can be found and the end.
    noteRange(findings.report.corrupt, endPlace(walked), endPlace({ endSequence, endPayloadOffset }));
    const { namesProducers } = walked.summary;
    findings.producers.addSegment(source, { endSequence, endBytes, namesProducers });
    return { path: candidate.path, header, endSequence, endBytes, endPayloadOffset, summary: walked.summary };
  } catch (error) {
    if (isExhausted(error)) throw error;
    const end = stated ?? header.rewritten;
    const endSequence = Math.min(limit, end?.endSequence ?? limit);
    const endPayloadOffset = end?.endPayloadOffset ?? successor.header.basePayloadOffset;
    noteRange(findings.report.corrupt, basePlace(header), endPlace({ endSequence, endPayloadOffset }));
    return { path: candidate.path, header, endSequence, endBytes, endPayloadOffset, summary: EMPTY_SUMMARY };
  } finally {
    file?.close();
  }
}

interface Contents {
  readonly endSequence: number;
  readonly endPayloadOffset: number;
  readonly summary: SegmentSummary;
}

function readSeal(
  source: SegmentSource,
  segment: SegmentHeader,
  endBytes: number,
  { clock }: Findings,
): Contents | undefined {
  if (endBytes < SEGMENT_HEADER_BYTES + SEAL_BYTES) return undefined;
  const step = stepBlock(source, endBytes - SEAL_BYTES, endBytes);
  if (step === "end" || "damagedAt" in step || step.header.summary === undefined) return undefined;
  const { firstSequence, payloadOffset, summary } = step.header;
  clock.block(segment, step.header);
  return { endSequence: firstSequence, endPayloadOffset: payloadOffset, summary };
}

function walkHeaders(
  source: SegmentSource,
  segment: SegmentHeader,
  { endBytes, limit }: { readonly endBytes: number; readonly limit: number },
  { report, clock }: Findings,
): Contents {
  const totals = new SummaryBuilder(segment);
  let end = basePlace(segment);
  let position = SEGMENT_HEADER_BYTES;
  while (position < endBytes) {
    const step = nextBlock(source, position, endBytes);
    // What its successor has too does not count here.
    if (step === undefined || step.header.firstSequence > limit) break;
    noteRange(report.corrupt, end, blockPlace(step.header));
    totals.add(step.header);
    clock.block(segment, step.header);
    if (blockEndSequence(step.header) >= end.sequence) end = blockEndPlace(step.header);
    position = step.nextPosition;
  }
  return { endSequence: end.sequence, endPayloadOffset: end.payloadOffset, summary: totals.summary };
}
