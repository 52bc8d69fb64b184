import path from "node:path";

import { systemCode } from "../core/errors.ts";
import { FindingList } from "./findings.ts";
import { openSegment, type SegmentFile, type SegmentsTask, surveySegments } from "./segment-survey.ts";
import { type SegmentContents, verifySegment } from "./segment-verifier.ts";
import type { SegmentPredecessor } from "./segment-layout.ts";
import type { StorageFile } from "./storage.ts";

/** What a stream holds that can be read. */
export interface StreamContents {
  segments: number;
  blocks: number;
  messages: number;
  payloadBytes: number;
  rawBytes: number;
  /** Of the segment files, as far as they count. */
  storedBytes: number;
  /** Equal to `nextSequence` when there is nothing. */
  oldestSequence: number;
  nextSequence: number;
  nextPayloadOffset: number;
}

export const EMPTY_CONTENTS: Readonly<StreamContents> = {
  segments: 0,
  blocks: 0,
  messages: 0,
  payloadBytes: 0,
  rawBytes: 0,
  storedBytes: 0,
  oldestSequence: 0,
  nextSequence: 0,
  nextPayloadOffset: 0,
};

/**
 * Reads and checks the segments of a stream, each and as a chain. Yields the bytes gone through since the last time. Memory
 * is bounded by the number of segments and the size of a block.
 */
export function* verifySegments(task: SegmentsTask): Generator<number, StreamContents, undefined> {
  const contents: StreamContents = { ...EMPTY_CONTENTS };
  const chain = surveySegments(task);
  let before: SegmentFile | undefined;
  for (const [index, segment] of chain.entries()) {
    const opened = openChosen(task, segment);
    if (opened === undefined) continue;
    try {
      if (before === undefined) contents.oldestSequence = segment.header.baseSequence;
      before = segment;
      yield* verifyLink(task, { ...opened, successor: chain[index + 1] }, contents);
    } finally {
      opened.file.close();
    }
  }
  return contents;
}

interface Link {
  readonly segment: SegmentFile;
  readonly file: StorageFile;
  readonly successor: SegmentFile | undefined;
}

/** Under an engine that runs, retention may have taken it since, or a rewrite put a new generation in its place. */
function openChosen(task: SegmentsTask, segment: SegmentFile): Omit<Link, "successor"> | undefined {
  try {
    return { segment, file: task.storage.open(path.join(task.directory, segment.fileName), "read") };
  } catch (error) {
    const code = systemCode(error) ?? "error";
    if (task.isLive && code === "ENOENT") return openRewritten(task, segment);
    const text = `cannot be opened (${code})`;
    task.findings.add({ severity: "unreadable", path: path.join(task.path, segment.fileName), text });
    return undefined;
  }
}

function openRewritten(task: SegmentsTask, gone: SegmentFile): Omit<Link, "successor"> | undefined {
  // What else there is to say was said at the first look.
  const again = surveySegments({ ...task, findings: new FindingList() }).find(
    ({ header }) => header.baseSequence === gone.header.baseSequence,
  );
  if (again === undefined) return undefined;
  const file = openSegment(task, again.fileName);
  return file === undefined ? undefined : { segment: again, file };
}

function* verifyLink(
  task: SegmentsTask,
  { segment, file, successor }: Link,
  contents: StreamContents,
): Generator<number, void, undefined> {
  const { findings } = task;
  const { header, fileName } = segment;
  const filePath = path.join(task.path, fileName);
  // Under an engine that runs the newest one is looked at as it was when the chain was.
  const sizeBytes =
    successor === undefined ? Math.min(segment.sizeBytes, file.sizeBytes()) : file.sizeBytes();
  const stated = statedEnd(segment, successor);
  const statedBytes = stated?.segmentId.equals(header.segmentId) === true ? stated.endBytes : undefined;
  const endBytes = Math.min(sizeBytes, statedBytes ?? sizeBytes);
  // A rewritten segment was whole and durable before it got its name.
  const isTail = successor === undefined && header.rewritten === undefined;
  let at = 0;
  const walk = verifySegment({
    file,
    path: filePath,
    header,
    endBytes,
    tail: isTail ? (task.isLive ? "growing" : "closed") : "none",
    limitSequence: stated?.endSequence ?? header.rewritten?.endSequence ?? successor?.header.baseSequence,
    findings,
  });
  let step = walk.next();
  while (step.done !== true) {
    yield step.value - at;
    at = step.value;
    step = walk.next();
  }
  yield sizeBytes - at;
  addContents(contents, step.value, endBytes);
  if (sizeBytes > endBytes) {
    const text = "bytes behind the end that its successor states do not count";
    const rest = { offset: endBytes, sizeBytes: sizeBytes - endBytes };
    findings.add({ severity: "note", path: filePath, ...rest, text });
  }
  if (successor === undefined) return;
  checkEnd(task, { segment: step.value, filePath, sizeBytes, statedBytes }, successor);
}

/** What the successor says of the end; of another generation of the same base the sequence number still holds. */
function statedEnd(
  { header }: SegmentFile,
  successor: SegmentFile | undefined,
): SegmentPredecessor | undefined {
  const stated = successor?.header.predecessor;
  return stated?.baseSequence === header.baseSequence ? stated : undefined;
}

function addContents(contents: StreamContents, segment: SegmentContents, endBytes: number): void {
  contents.segments += 1;
  contents.blocks += segment.blocks;
  contents.messages += segment.messages;
  contents.payloadBytes += segment.payloadBytes;
  contents.rawBytes += segment.rawBytes;
  contents.storedBytes += endBytes;
  contents.nextSequence = segment.endSequence;
  contents.nextPayloadOffset = segment.endPayloadOffset;
}

/** Whether a segment goes on to where the next one begins. */
function checkEnd(
  { findings, path: streamPath }: SegmentsTask,
  end: {
    readonly segment: SegmentContents;
    readonly filePath: string;
    readonly sizeBytes: number;
    readonly statedBytes: number | undefined;
  },
  successor: SegmentFile,
): void {
  const { segment, filePath, sizeBytes, statedBytes } = end;
  const { baseSequence, basePayloadOffset } = successor.header;
  const range = { fromSequence: segment.knownEndSequence, toSequence: baseSequence };
  const isShort = range.fromSequence < baseSequence;
  if (statedBytes !== undefined && sizeBytes < statedBytes) {
    const cut = { offset: sizeBytes, sizeBytes: statedBytes - sizeBytes };
    const text = `the file ends early: its successor says that it went on to byte ${statedBytes}`;
    findings.add({ severity: "damage", path: filePath, ...cut, ...(isShort && range), text });
  } else if (isShort) {
    findings.add({ severity: "damage", path: streamPath, ...range, text: "no segment holds these messages" });
  } else if (!segment.hasHole && segment.endPayloadOffset !== basePayloadOffset) {
    const text = `the next segment states ${basePayloadOffset} payload bytes before it where there are ${segment.endPayloadOffset}`;
    findings.add({ severity: "damage", path: filePath, text });
  }
}
