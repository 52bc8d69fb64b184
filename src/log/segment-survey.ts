import path from "node:path";

import { systemCode } from "../core/errors.ts";
import { droppedEndOf, emptyLedger } from "../core/stream-ledger.ts";
import type { Finding, FindingList } from "./findings.ts";
import { LedgerFile, ownRecord } from "./ledger-file.ts";
import { OverlayStorage } from "./overlay-storage.ts";
import { recoverLog } from "./recovered-log.ts";
import { chooseSegments, type SegmentChoice, SET_ASIDE_SUFFIX } from "./segment-choice.ts";
import { inspectSegment } from "./segment-inspector.ts";
import {
  formatSegmentName,
  type HeaderCopy,
  parseSegmentName,
  parseTemporaryName,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from "./segment-layout.ts";
import { neighbourIds } from "./segment-neighbours.ts";
import { readHeaderCopies } from "./segment-scanner.ts";
import type { Storage, StorageFile } from "./storage.ts";

export interface SegmentsTask {
  readonly storage: Storage;
  readonly directory: string;
  /** As findings name it. */
  readonly path: string;
  readonly streamId: Buffer;
  /** An engine writes the stream: files come and go, and the newest segment grows. */
  readonly isLive: boolean;
  readonly findings: FindingList;
}

/** A segment that counts. */
export interface SegmentFile {
  readonly fileName: string;
  readonly header: SegmentHeader;
  readonly sizeBytes: number;
}

/**
 * The segments of a stream that count, ascending: what recovery itself would choose, on an overlay that changes nothing. Says of
 * every other file with a segment's name why it does not count.
 */
export function surveySegments(task: SegmentsTask): SegmentFile[] {
  const { storage, directory, streamId, isLive } = task;
  const overlay = new OverlayStorage({ base: storage, root: directory });
  const record = ownRecord(new LedgerFile(storage, directory).read(), streamId);
  const droppedEndSequence = droppedEndOf(record?.snapshot ?? emptyLedger).sequence;
  const asked = { storage: overlay, directory, streamId, droppedEndSequence };
  let choice = chooseSegments(asked);
  // An engine that runs is about to do so itself, or has done it when it began.
  if (!isLive) {
    sayWhatStartDoes(task, choice, droppedEndSequence);
    const restored = choice.unreadable.length === 0 ? [] : restoredHeads(overlay, task);
    if (restored.length > 0) choice = chooseSegments(asked);
    for (const fileName of restored) {
      const text = "both copies of the header are damaged; the next start makes it anew from the blocks";
      add(task, fileName, { severity: "damage", offset: 0, sizeBytes: SEGMENT_HEADER_BYTES, text });
    }
  }
  const newest = Math.max(...choice.generations.keys());
  for (const fileName of choice.unreadable) sayWhyUnreadable(task, fileName, newest);
  return choice.chain.map(({ path: filePath, header, sizeBytes }) => {
    return { fileName: path.basename(filePath), header, sizeBytes };
  });
}

function sayWhatStartDoes(
  task: SegmentsTask,
  { dropped, leftovers, setAside }: SegmentChoice,
  droppedEndSequence: number,
): void {
  for (const filePath of [...dropped, ...leftovers]) {
    const fileName = path.basename(filePath);
    const text = `${worthlessText(task, fileName, droppedEndSequence)}; the next start removes it`;
    add(task, fileName, { severity: "torn", text });
  }
  for (const target of setAside) {
    const text = `a rewritten segment does not verify, and what it was made from is there; the next start renames it to ${target}`;
    add(task, path.basename(target, SET_ASIDE_SUFFIX), { severity: "damage", text });
  }
}

/** Has the overlay look as a start would leave it. */
function restoredHeads(overlay: Storage, { directory, streamId }: SegmentsTask): readonly string[] {
  const { chain } = recoverLog({ storage: overlay, directory, streamId });
  chain.tail?.file.close();
  return chain.report.restored;
}

function worthlessText({ storage, directory }: SegmentsTask, fileName: string, droppedEnd: number): string {
  const isDropped = (parseSegmentName(fileName)?.baseSequence ?? droppedEnd) < droppedEnd;
  if (isDropped) return "its messages were counted as deleted";
  if (parseTemporaryName(fileName) !== undefined) return "a rewrite that was cut short";
  const file = storage.open(path.join(directory, fileName), "read");
  try {
    const isEmpty = file.sizeBytes() <= SEGMENT_HEADER_BYTES;
    return isEmpty
      ? "a segment that was never finished, and holds nothing"
      : "its messages stand in another segment too";
  } finally {
    file.close();
  }
}

function add(task: SegmentsTask, fileName: string, finding: Omit<Finding, "path">): void {
  task.findings.add({ path: path.join(task.path, fileName), ...finding });
}

/** @returns undefined when it cannot be opened; then there is a finding, but for a file that an engine has just deleted */
export function openSegment(task: SegmentsTask, fileName: string): StorageFile | undefined {
  try {
    return task.storage.open(path.join(task.directory, fileName), "read");
  } catch (error) {
    const code = systemCode(error) ?? "error";
    if (task.isLive && code === "ENOENT") return undefined;
    // A link, a pipe, a second name: whoever checks what the names lead to says so.
    if (code === "ELOOP") return undefined;
    add(task, fileName, { severity: "unreadable", text: `cannot be opened (${code})` });
    return undefined;
  }
}

function sayWhyUnreadable(task: SegmentsTask, fileName: string, newestBase: number): void {
  const file = openSegment(task, fileName);
  if (file === undefined) return;
  try {
    const sizeBytes = file.sizeBytes();
    const copies = readHeaderCopies(file, sizeBytes);
    const header = copies.find((copy) => copy.header !== undefined)?.header;
    const isNewest = parseSegmentName(fileName)?.baseSequence === newestBase;
    if (header !== undefined)
      add(task, fileName, { severity: "foreign", text: misplacementText(task, header) });
    // An engine that makes a segment writes its header last.
    else if (!(task.isLive && isNewest)) sayWhyHeadless(task, { fileName, file, sizeBytes, copies });
  } finally {
    file.close();
  }
}

function misplacementText({ streamId }: SegmentsTask, header: SegmentHeader): string {
  if (!header.streamId.equals(streamId)) return `a segment of stream ${header.streamId.toString("hex")}`;
  return `was renamed: its header says ${formatSegmentName(header)}`;
}

function sayWhyHeadless(
  task: SegmentsTask,
  segment: {
    readonly fileName: string;
    readonly file: StorageFile;
    readonly sizeBytes: number;
    readonly copies: readonly HeaderCopy[];
  },
): void {
  const { fileName, copies } = segment;
  if (copies.some(({ state }) => state === "other version")) {
    add(task, fileName, { severity: "unreadable", text: "was written by another version of Millrace" });
  } else if (copies.every(({ isUnwritten }) => isUnwritten)) {
    const text =
      "a segment that was never finished: its header, which comes last, is not there; nothing was acknowledged in it";
    add(task, fileName, { severity: "torn", text });
  } else {
    add(task, fileName, {
      severity: "damage",
      offset: 0,
      sizeBytes: SEGMENT_HEADER_BYTES,
      ...headlessRange(task, segment),
    });
  }
}

/** What the blocks of a segment without a header show that a start leaves alone, since others hold its messages. */
function headlessRange(
  task: SegmentsTask,
  {
    fileName,
    file,
    sizeBytes,
  }: { readonly fileName: string; readonly file: StorageFile; readonly sizeBytes: number },
): { readonly text: string; readonly fromSequence?: number; readonly toSequence?: number } {
  const filePath = path.join(task.directory, fileName);
  let fromSequence = Infinity;
  let toSequence = 0;
  const otherIds = (): Buffer[] => neighbourIds(task.storage, filePath);
  for (const part of inspectSegment({ file, endBytes: sizeBytes, otherIds })) {
    if (part.kind !== "block" || part.block === undefined) continue;
    fromSequence = Math.min(fromSequence, part.block.firstSequence);
    toSequence = Math.max(toSequence, part.block.endSequence);
  }
  const text = "both copies of the header are damaged, and the segment is not read";
  if (toSequence === 0) return { text };
  return { text: `${text}; its blocks are whole (millrace store dump)`, fromSequence, toSequence };
}
