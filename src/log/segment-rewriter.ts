import { assert } from "../core/assert.ts";
import { asError } from "../core/errors.ts";
import { REWRITE_SLICE_BLOCKS } from "../core/limits.ts";
import { BlockBuilder } from "./block-builder.ts";
import { BlockEncoder } from "./block-encoder.ts";
import { BlockKind } from "./block-layout.ts";
import type { DecodedBlock } from "./decoded-block.ts";
import { removeIfThere, tryRemove } from "./durable-file.ts";
import { MessageDigest } from "./message-digest.ts";
import { SEGMENT_HEADER_BYTES, type SegmentHeader, TEMPORARY_SEGMENT_SUFFIX } from "./segment-layout.ts";
import { SegmentWalk } from "./segment-walk.ts";
import { type SegmentInfo, SegmentWriter, throwIfFailed, type WriteCount } from "./segment-writer.ts";
import type { Storage, StorageFile } from "./storage.ts";
import type { TimeMark } from "./stream-clock.ts";

/**
 * reading: source blocks are read and written again; syncing: waits for the storage; verifying: the copy is read back and
 * compared; whole: the copy is durable under its temporary name; dropped: there is no copy.
 */
export type RewriteState = "reading" | "syncing" | "verifying" | "whole" | "dropped";

/** What is thought of a copy that promises so much: it is made, or it is of no use, or of none at this time. */
export type RewriteVerdict = "go" | "useless" | "later";

/** Why there is no copy. */
export type RewriteEnd = Exclude<RewriteVerdict, "go"> | "damaged" | "failed" | "cancelled";

export interface SegmentRewriterOptions {
  readonly storage: Storage;
  /** Complete segments without a gap between or in them. */
  readonly sources: readonly SegmentInfo[];
  /** Of the copy: rewritten, from the first source's base to the last one's end. */
  readonly header: SegmentHeader;
  /** What the copy is to be called in the end. */
  readonly path: string;
  readonly blockBytes: number;
  /** Asked once, before anything is written: its first block of `storedBytes` replaces `sourceBytes`. */
  readonly judge: (first: { readonly storedBytes: number; readonly sourceBytes: number }) => RewriteVerdict;
  readonly writes: WriteCount;
}

/**
 * Makes one copy of segments in full-size blocks, in slices that take about a millisecond each. Touches nothing but its own
 * temporary file. A source in which anything does not verify has no copy: what can be read of it stays as it is.
 */
export class SegmentRewriter {
  readonly #options: SegmentRewriterOptions;
  readonly temporaryPath: string;
  readonly #builder: BlockBuilder;
  readonly #encoder: BlockEncoder;
  readonly #sourceDigest = new MessageDigest();
  readonly #copyDigest = new MessageDigest();
  #state: RewriteState = "reading";
  #end: RewriteEnd | undefined;
  #fault: Error | undefined;
  #damagedAt: number | undefined;
  #sourceAt = -1;
  /** Of the newest block that was read. */
  #walkTime: TimeMark | undefined;
  #source: { readonly file: StorageFile; readonly walk: SegmentWalk } | undefined;
  /** Read, and too much for the block at hand. */
  #carried: DecodedBlock | undefined;
  /** Of the newest message in the block at hand. */
  #time: TimeMark | undefined;
  /** Of the sources, what the blocks so far are made from. */
  #bytesTaken = 0;
  #copy: SegmentWriter | undefined;
  #copyWalk: SegmentWalk | undefined;

  constructor(options: SegmentRewriterOptions) {
    const { header, sources, blockBytes } = options;
    assert(header.baseSequence === sources[0]?.header.baseSequence, "the copy begins where its source does");
    this.#options = options;
    this.temporaryPath = `${options.path}${TEMPORARY_SEGMENT_SUFFIX}`;
    this.#builder = new BlockBuilder(blockBytes);
    this.#encoder = new BlockEncoder({ epoch: header.epoch, lastIngestMs: 0 });
  }

  get state(): RewriteState {
    return this.#state;
  }
  get end(): RewriteEnd | undefined {
    return this.#end;
  }
  /** The one that it read last: where something was damaged, if it was. */
  get source(): SegmentInfo | undefined {
    return this.#options.sources[this.#sourceAt];
  }
  /** The first message of a source that cannot be read, if there is one. */
  get damagedAt(): number | undefined {
    return this.#damagedAt;
  }
  /** Why it failed. */
  get fault(): Error | undefined {
    return this.#fault;
  }

  /** One slice. `onSettled` is called when a sync that this one started has ended. */
  step(onSettled: () => void): RewriteState {
    try {
      if (this.#state === "reading") this.#read(onSettled);
      else if (this.#state === "verifying") this.#verify();
    } catch (error) {
      this.#drop("failed", asError(error));
    }
    return this.#state;
  }

  #read(onSettled: () => void): void {
    for (let left = REWRITE_SLICE_BLOCKS; left > 0; left--) {
      const block = this.#carried ?? this.#next();
      this.#carried = undefined;
      if (block === "damaged") {
        this.#damagedAt = this.#source?.walk.nextSequence;
        this.#drop("damaged");
        return;
      }
      if (block === "end") {
        if (this.#builder.messageCount > 0) this.#writeBlock();
        else this.#finish(onSettled);
        return;
      }
      const { raw, runs } = block;
      const fits = this.#builder.fitsBlock({ rawBytes: raw.length, runCount: runs.length });
      if (this.#builder.messageCount > 0 && !fits) {
        this.#carried = block;
        this.#writeBlock();
        return;
      }
      this.#builder.addBlock(block);
      // Asked for by the verdict on the first block alone.
      if (this.#copy === undefined) this.#bytesTaken = this.#bytesRead;
      this.#time = this.#walkTime;
      this.#sourceDigest.add(raw, runs);
    }
  }

  /** The next block of the sources, one after the other. */
  #next(): DecodedBlock | "end" | "damaged" {
    for (;;) {
      const block = this.#source?.walk.next() ?? "end";
      if (this.#source !== undefined) this.#walkTime = this.#source.walk.time;
      if (block !== "end") return block;
      this.#source?.file.close();
      this.#source = undefined;
      const segment = this.#options.sources[this.#sourceAt + 1];
      if (segment === undefined) return "end";
      this.#sourceAt += 1;
      const file = this.#options.storage.open(segment.path, "read");
      this.#source = { file, walk: new SegmentWalk(file, segment) };
    }
  }

  #writeBlock(): void {
    const { header, judge } = this.#options;
    const builder = this.#builder;
    const firstSequence = this.#copy?.endSequence ?? header.baseSequence;
    const payloadOffset = this.#copy?.endPayloadOffset ?? header.basePayloadOffset;
    assert(this.#time !== undefined, "messages have a time");
    // Of its newest message: the others may be taken for younger than they are, and none for older.
    const block = this.#encoder.encode(builder, { firstSequence, payloadOffset }, this.#time);
    builder.reset();
    if (this.#copy === undefined) {
      // Without a head: the copy has one too.
      const sourceBytes = this.#bytesTaken - SEGMENT_HEADER_BYTES;
      const verdict = judge({ storedBytes: block.header.storedBytes, sourceBytes });
      if (verdict !== "go") {
        this.#drop(verdict);
        return;
      }
      this.#copy = this.#openCopy();
    }
    throwIfFailed(this.#copy.writeBlock(block));
  }

  /** Of the sources, in front of what is read next. */
  get #bytesRead(): number {
    let sizeBytes = this.#source?.walk.position ?? 0;
    const doneCount = this.#sourceAt + (this.#source === undefined ? 1 : 0);
    for (const segment of this.#options.sources.slice(0, doneCount)) sizeBytes += segment.endBytes;
    return sizeBytes;
  }

  #openCopy(): SegmentWriter {
    const { storage, header, writes } = this.#options;
    removeIfThere(storage, this.temporaryPath);
    return new SegmentWriter(storage.open(this.temporaryPath, "create"), header, { writes });
  }

  #finish(onSettled: () => void): void {
    const copy = this.#copy;
    assert(copy !== undefined && this.#walkTime !== undefined, "sources hold messages");
    copy.lastAge = this.#options.sources.at(-1)!.summary.lastAge;
    throwIfFailed(copy.writeMark(BlockKind.Seal, this.#walkTime));
    throwIfFailed(copy.writeHeader());
    this.#state = "syncing";
    copy.file.sync((error) => {
      if (this.#state !== "syncing") return;
      if (error === undefined) this.#state = "verifying";
      else this.#drop("failed", error);
      onSettled();
    });
  }

  /** What the medium may have made of it cannot be seen; what the code and the memory made of it can. */
  #verify(): void {
    const copy = this.#copy;
    assert(copy !== undefined, "there is a copy to verify");
    this.#copyWalk ??= new SegmentWalk(copy.file, this.result);
    const block = this.#copyWalk.next();
    if (typeof block !== "string") {
      this.#copyDigest.add(block.raw, block.runs);
      return;
    }
    if (block === "damaged" || !this.#copyDigest.equals(this.#sourceDigest)) {
      this.#drop("failed", new Error("a rewritten segment does not read back as it was"));
      return;
    }
    copy.file.close();
    this.#state = "whole";
  }

  /** The copy as it will stand under its name. */
  get result(): SegmentInfo {
    assert(this.#copy !== undefined, "a copy was written");
    return { ...this.#copy.info, path: this.#options.path };
  }

  /** Ends it at any time; the temporary file goes with it. */
  cancel(): void {
    if (this.#state !== "dropped") this.#drop("cancelled");
  }

  #drop(end: RewriteEnd, fault?: Error): void {
    this.#state = "dropped";
    this.#end = end;
    this.#fault = fault;
    this.#source?.file.close();
    this.#source = undefined;
    if (this.#copy === undefined) return;
    this.#copy.file.close();
    // What cannot be removed recovery knows by its name, and so does the next rewrite.
    tryRemove(this.#options.storage, this.temporaryPath);
  }
}
