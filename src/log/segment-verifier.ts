import {
  blockEndPayloadOffset,
  blockEndSequence,
  BlockKind,
  payloadBytesOf,
  type SegmentSummary,
} from "./block-layout.ts";
import { damageText, problemText } from "./damage-text.ts";
import type { Finding, FindingList } from "./findings.ts";
import {
  type BlockPart,
  type DamagePart,
  type HeadPart,
  inspectSegment,
  type PaddingPart,
} from "./segment-inspector.ts";
import { SEGMENT_HEADER_BYTES, type SegmentHeader } from "./segment-layout.ts";
import { nextBlock, SegmentSource } from "./segment-scanner.ts";
import { SummaryBuilder } from "./segment-summary.ts";
import type { StorageFile } from "./storage.ts";

export interface SegmentTask {
  readonly file: StorageFile;
  /** As findings name it. */
  readonly path: string;
  /** Its header: of a copy that is whole, or as a start would make it anew. */
  readonly header: SegmentHeader;
  /** Bytes from here on do not count. */
  readonly endBytes: number;
  /**
   * The newest segment, which a crash may have torn: damage above everything that was durable is a torn tail. "growing" while
   * an engine writes it, so that there is no saying.
   */
  readonly tail: "none" | "closed" | "growing";
  /** Where its messages end by the word of others, exclusive; undefined for the newest. */
  readonly limitSequence: number | undefined;
  readonly findings: FindingList;
}

/** What a segment holds that can be read. */
export interface SegmentContents {
  blocks: number;
  messages: number;
  payloadBytes: number;
  rawBytes: number;
  /** Behind its last block, or where a torn tail begins. */
  endSequence: number;
  endPayloadOffset: number;
  /** As `endSequence`; where damage without a block behind it ends the segment, what that has its finding for. */
  knownEndSequence: number;
  /** Something was skipped. */
  hasHole: boolean;
}

/** Reads and checks every byte of a segment that counts, and yields how far it is. Findings go to the list of the task. */
export function* verifySegment(task: SegmentTask): Generator<number, SegmentContents, undefined> {
  const audit = new SegmentAudit(task);
  const { file, endBytes, header } = task;
  for (const part of inspectSegment({ file, endBytes, otherIds: () => [header.segmentId] })) {
    switch (part.kind) {
      case "head":
        audit.seeHead(part);
        break;
      case "padding":
        audit.seePadding(part);
        break;
      case "damage":
        audit.seeDamage(part);
        break;
      case "block":
        audit.seeBlock(part);
        break;
    }
    yield part.kind === "head" ? SEGMENT_HEADER_BYTES : part.offset;
  }
  return audit.end();
}

/** The highest position that any block of the segment states to be durable (R4). */
function evidenceOf({ file, header, endBytes }: SegmentTask): number {
  const source = new SegmentSource(file, header.segmentId);
  let evidence = 0;
  let at = SEGMENT_HEADER_BYTES;
  for (;;) {
    const place = nextBlock(source, at, endBytes);
    if (place === undefined) return evidence;
    evidence = Math.max(evidence, place.header.syncedPosition);
    at = place.nextPosition;
  }
}

class SegmentAudit {
  readonly #task: SegmentTask;
  readonly #contents: SegmentContents;
  /** Damage from here on is a torn tail. */
  readonly #evidence: number;
  #tornAt: number | undefined;
  /** Damage whose messages are known once the next block is. */
  #pending: Omit<Finding, "fromSequence" | "toSequence">[] = [];
  /** Of a torn tail: what the blocks in it would go up to. */
  #tornEndSequence = 0;
  #seal: SegmentSummary | undefined;
  /** What the block headers say, whatever became of the blocks. */
  readonly #totals: SummaryBuilder;
  #ageDeltaMs = 0;

  constructor(task: SegmentTask) {
    this.#task = task;
    this.#totals = new SummaryBuilder(task.header);
    this.#evidence = task.tail === "none" ? Infinity : evidenceOf(task);
    this.#contents = {
      blocks: 0,
      messages: 0,
      payloadBytes: 0,
      rawBytes: 0,
      endSequence: task.header.baseSequence,
      endPayloadOffset: task.header.basePayloadOffset,
      knownEndSequence: task.header.baseSequence,
      hasHole: false,
    };
  }

  seeHead({ copies, header }: HeadPart): void {
    // Said where segments are chosen: a start makes it anew.
    if (header === undefined) return;
    // That is what there are two for: nothing is lost, and a rewrite of the segment has both again.
    for (const { offset, state } of copies) {
      if (state === "whole") continue;
      const text = `a copy of the header is ${state}; the other one serves, and no message is concerned`;
      this.#add({ severity: "note", offset, text });
    }
  }

  seePadding({ offset, sizeBytes, isZero }: PaddingPart): void {
    if (isZero || this.#isTorn(offset)) return;
    // What was durable was durable as zeros.
    if (offset + sizeBytes > this.#evidence) return;
    this.#add({
      severity: "damage",
      offset,
      sizeBytes,
      text: "padding is not zero; no message is concerned",
    });
  }

  seeDamage(part: DamagePart): void {
    const { offset, sizeBytes } = part;
    const severity = part.reason === "UNREADABLE" ? "unreadable" : "damage";
    if (this.#tears(offset)) {
      if (severity === "unreadable") this.#add({ severity, offset, sizeBytes, text: damageText(part) });
      return;
    }
    this.#contents.hasHole = true;
    this.#pending.push({ severity, path: this.#task.path, offset, sizeBytes, text: damageText(part) });
  }

  seeBlock(part: BlockPart): void {
    const { header, offset } = part;
    const isDamaged = part.problem === "STORED_CRC" || part.readError !== undefined;
    if (isDamaged && this.#tears(offset)) return;
    if (this.#isTorn(offset)) {
      this.#tornEndSequence = Math.max(this.#tornEndSequence, blockEndSequence(header));
      return;
    }
    // A rewritten segment that is damaged, and counts for what its first source held: the others are there, and count.
    const { limitSequence = Infinity } = this.#task;
    if (this.#task.header.rewritten !== undefined && blockEndSequence(header) > limitSequence) return;
    this.#checkPlace(part);
    const contents = this.#contents;
    contents.endSequence = Math.max(contents.endSequence, blockEndSequence(header));
    contents.endPayloadOffset = Math.max(contents.endPayloadOffset, blockEndPayloadOffset(header));
    if (header.kind === BlockKind.Seal) this.#seal = header.summary;
    if (header.kind === BlockKind.Data) this.#count(part);
    else this.#totals.add(header);
  }

  #count(part: BlockPart): void {
    const { header, offset } = part;
    const contents = this.#contents;
    this.#totals.add(header);
    contents.blocks += 1;
    contents.rawBytes += header.rawBytes;
    const text = problemText(part);
    if (text === undefined) {
      contents.messages += header.messageCount;
      contents.payloadBytes += payloadBytesOf(header);
      return;
    }
    this.#add({
      severity: part.readError === undefined ? "damage" : "unreadable",
      offset,
      sizeBytes: part.nextOffset - offset,
      fromSequence: header.firstSequence,
      toSequence: blockEndSequence(header),
      text: `a block cannot be read: ${text}`,
    });
  }

  /** Blocks follow each other without a gap, in sequence numbers and in payload bytes. */
  #checkPlace({ header, offset }: BlockPart): void {
    const { endSequence, endPayloadOffset } = this.#contents;
    const { firstSequence, payloadOffset, syncedPosition, ageDeltaMs } = header;
    const hadHole = this.#pending.length > 0;
    this.#settle(firstSequence);
    if (firstSequence < endSequence || (firstSequence > endSequence && !hadHole)) {
      const text = `a block begins with ${firstSequence} where ${endSequence} comes next`;
      this.#add({ severity: "damage", offset, fromSequence: endSequence, toSequence: firstSequence, text });
    } else if (payloadOffset !== endPayloadOffset && !hadHole) {
      const text = `a block states ${payloadOffset} payload bytes before it where there are ${endPayloadOffset}`;
      this.#add({ severity: "damage", offset, text });
    }
    if (syncedPosition > offset) {
      const text = `a block states that ${syncedPosition} bytes were durable when there were ${offset}`;
      this.#add({ severity: "damage", offset, text });
    }
    if (ageDeltaMs < this.#ageDeltaMs) {
      const text = `a block is ${ageDeltaMs} ms younger than its segment, and comes after one of ${this.#ageDeltaMs} ms`;
      this.#add({ severity: "damage", offset, text });
    }
    this.#ageDeltaMs = ageDeltaMs;
    if (this.#seal !== undefined) {
      this.#add({ severity: "damage", offset, text: "a block stands behind the seal" });
    }
  }

  /** What the damage before a place cost. */
  #settle(nextSequence: number | undefined): void {
    const fromSequence = this.#contents.endSequence;
    for (const [index, finding] of this.#pending.entries()) {
      // Several places in a row: the messages cannot be told apart, and count for the first.
      const isFirst = index === 0;
      const cost = !isFirst || nextSequence === undefined || nextSequence > fromSequence;
      const range =
        isFirst && nextSequence !== fromSequence ? { fromSequence, toSequence: nextSequence } : {};
      this.#task.findings.add({
        ...finding,
        ...range,
        text: cost ? finding.text : `${finding.text}; no message is concerned`,
      });
    }
    this.#pending = [];
  }

  /** Whether a torn tail has begun. */
  #isTorn(offset: number): boolean {
    return this.#tornAt !== undefined && offset >= this.#tornAt;
  }

  /** Damage at `offset`: whether it is in, or begins, a torn tail. */
  #tears(offset: number): boolean {
    if (this.#tornAt === undefined && offset >= this.#evidence) {
      this.#tornAt = offset;
      this.#tornEndSequence = this.#contents.endSequence;
    }
    return this.#tornAt !== undefined;
  }

  end(): SegmentContents {
    const { limitSequence, tail, endBytes } = this.#task;
    const { endSequence } = this.#contents;
    const isOpen = this.#pending.length > 0;
    this.#contents.knownEndSequence = isOpen ? Math.max(endSequence, limitSequence ?? 0) : endSequence;
    this.#settle(limitSequence);
    if (this.#tornAt !== undefined && tail === "closed") {
      const fromSequence = this.#contents.endSequence;
      const hasMessages = this.#tornEndSequence > fromSequence;
      this.#add({
        severity: "torn",
        offset: this.#tornAt,
        sizeBytes: endBytes - this.#tornAt,
        ...(hasMessages && { fromSequence, toSequence: this.#tornEndSequence }),
        text: "a torn tail, which the next start cuts: nothing says that it was durable",
      });
    }
    this.#checkSeal();
    return this.#contents;
  }

  #checkSeal(): void {
    const seal = this.#seal;
    if (seal === undefined || this.#contents.hasHole) return;
    const found = this.#totals.summary;
    const { lastAge: sealAge, ...counts } = seal;
    for (const key of Object.keys(counts) as (keyof typeof counts)[]) {
      if (found[key] === seal[key]) continue;
      const text = `the seal states ${key} ${seal[key]} and the blocks hold ${found[key]}`;
      this.#add({ severity: "damage", text });
    }
    // A writer knows more than it wrote down before the seal: messages may have turned out to be older.
    const { lastAge } = found;
    if (sealAge.ageMs <= lastAge.ageMs && sealAge.runMs <= lastAge.runMs) return;
    const text = `the seal states age ${sealAge.ageMs} and run time ${sealAge.runMs} ms of the newest message, later than its block`;
    this.#add({ severity: "damage", text });
  }

  #add(finding: Omit<Finding, "path">): void {
    this.#task.findings.add({ path: this.#task.path, ...finding });
  }
}
