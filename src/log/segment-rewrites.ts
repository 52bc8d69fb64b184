import path from "node:path";

import type { Clock } from "../core/clock.ts";
import { REWRITE_FREE_BYTES_MIN, REWRITE_GAIN_MAX, REWRITE_RETRY_MS } from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import type { DiskRoom } from "./disk-room.ts";
import type { LogPolicy } from "./log-policy.ts";
import { chooseSources } from "./rewrite-choice.ts";
import type { SegmentChain } from "./segment-chain.ts";
import type { SegmentFactory } from "./segment-factory.ts";
import {
  formatSegmentName,
  GENERATION_MAX,
  ID_BYTES,
  parseSegmentName,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from "./segment-layout.ts";
import { type RewriteVerdict, SegmentRewriter } from "./segment-rewriter.ts";
import type { SegmentInfo } from "./segment-writer.ts";
import type { Storage } from "./storage.ts";
import type { WriteAccount } from "./write-account.ts";

export interface RewriteOptions {
  /** Raw size of the blocks that complete segments are rewritten in; undefined: they stay as they are. */
  readonly rewriteBlockBytes?: number | undefined;
  readonly diskRoom?: Pick<DiskRoom, "freeBytesMin"> | undefined;
  readonly writes: WriteAccount;
}

/** @returns undefined for a log whose complete segments stay as they are */
export function createRewrites(
  options: Pick<SegmentRewritesOptions, "storage" | "directory" | "clock" | "random"> & RewriteOptions,
  parts: Pick<SegmentRewritesOptions, "chain" | "factory" | "log">,
): SegmentRewrites | undefined {
  const { rewriteBlockBytes: blockBytes } = options;
  return blockBytes === undefined ? undefined : new SegmentRewrites({ ...options, ...parts, blockBytes });
}

/** What a slice did: something, in which case there may be more; nothing yet, for a sync runs; nothing at all. */
export type RewriteSlice = "worked" | "waiting" | "idle";

export interface SegmentRewritesOptions {
  readonly storage: Storage;
  readonly directory: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly chain: SegmentChain;
  /** Takes files that hold nothing that counts and cannot be removed now. */
  readonly factory: Pick<SegmentFactory, "remove">;
  readonly writes: WriteAccount;
  /** What is to be kept free on the disk a copy does not take, though its sources go for it. */
  readonly diskRoom?: Pick<DiskRoom, "freeBytesMin"> | undefined;
  readonly log: {
    readonly nextPayloadOffset: number;
    readonly policy: LogPolicy;
    /** Takes note of what cannot be read there. */
    blockAt(sequence: number): unknown;
  };
  readonly blockBytes: number;
}

/**
 * Rewrites the complete segments of a stream whose blocks are small, and makes one of many small segments. A copy takes the place of its sources when
 * it is durable, and so is its name; only then they are unlinked. Until then they are the truth, and whatever fails leaves
 * them so: no failure here says anything about the stream.
 */
export class SegmentRewrites {
  readonly #options: SegmentRewritesOptions;
  /** Of no use, or damaged: not looked at again before the next start. */
  readonly #refused = new WeakSet<SegmentInfo>();
  #current: { readonly sources: readonly SegmentInfo[]; readonly rewriter: SegmentRewriter } | undefined;
  /** How many segments had become complete when the last look found none to rewrite. */
  #lookedAt = -1;
  #notBeforeMs = 0;

  constructor(options: SegmentRewritesOptions) {
    this.#options = options;
  }

  /** Whether a slice would do something now. */
  get isDue(): boolean {
    if (this.#current !== undefined) return !this.isSyncing;
    const { chain, clock } = this.#options;
    return this.#lookedAt < chain.completedCount && clock.monotonicMs() >= this.#notBeforeMs;
  }
  get isRunning(): boolean {
    return this.#current !== undefined;
  }
  get isSyncing(): boolean {
    return this.#current?.rewriter.state === "syncing";
  }

  /** A bounded piece of work. `onSettled` is called when a sync that it started has ended. */
  slice(onSettled: () => void): RewriteSlice {
    if (this.#current === undefined) return this.isDue && this.#start() ? "worked" : "idle";
    const { sources, rewriter } = this.#current;
    if (!this.#options.chain.holds(sources)) {
      // Retention was faster.
      rewriter.cancel();
      this.#current = undefined;
      return "worked";
    }
    const state = rewriter.step(onSettled);
    if (state === "whole") this.#putInPlace(sources, rewriter);
    if (state === "dropped") this.#giveUp(sources, rewriter);
    return state === "syncing" ? "waiting" : "worked";
  }

  #start(): boolean {
    const { storage, directory, chain, writes, log, blockBytes, diskRoom } = this.#options;
    const isRefused = (segment: SegmentInfo): boolean => this.#refused.has(segment);
    const sources = chooseSources(chain.segments, { blockBytes, policy: log.policy, isRefused });
    if (sources === undefined) {
      this.#lookedAt = chain.completedCount;
      return false;
    }
    try {
      const keptBytes = Math.max(REWRITE_FREE_BYTES_MIN, diskRoom?.freeBytesMin ?? 0);
      if (storage.freeBytes(directory) < storedBytes(sources) + keptBytes) {
        this.#wait();
        return false;
      }
      const header = this.#headerFor(sources);
      const rewriter = new SegmentRewriter({
        storage,
        sources,
        header,
        path: path.join(directory, formatSegmentName(header)),
        blockBytes,
        judge: (first) => this.#judge(sources, first),
        writes: writes.rewrites,
      });
      this.#current = { sources, rewriter };
      return true;
    } catch (error) {
      this.#noteFault(error);
      this.#wait();
      return false;
    }
  }

  #headerFor(sources: readonly SegmentInfo[]): SegmentHeader {
    const { header } = sources[0]!;
    const { endSequence, endPayloadOffset } = sources.at(-1)!;
    return {
      ...header,
      segmentId: Buffer.from(this.#options.random.bytes(ID_BYTES)),
      generation: this.#freeGeneration(header),
      reference: sources.findLast((source) => source.header.reference !== undefined)?.header.reference,
      rewritten: { endSequence, endPayloadOffset },
    };
  }

  /** Above every one that a file uses, also one that is no segment of ours: a rename would replace it. */
  #freeGeneration({ baseSequence, generation }: SegmentHeader): number {
    let highest = generation;
    for (const entry of this.#options.storage.list(this.#options.directory)) {
      const name = parseSegmentName(entry.name);
      if (name?.baseSequence === baseSequence) highest = Math.max(highest, name.generation);
    }
    if (highest >= GENERATION_MAX) throw new Error(`no generation left for the segment at ${baseSequence}`);
    return highest + 1;
  }

  #judge(
    sources: readonly SegmentInfo[],
    first: { readonly storedBytes: number; readonly sourceBytes: number },
  ): RewriteVerdict {
    const share = first.storedBytes / first.sourceBytes;
    // Of many segments the gain is that they are one.
    if (sources.length === 1 && share > REWRITE_GAIN_MAX) return "useless";
    const { writes, log } = this.#options;
    const copyBytes = storedBytes(sources) * share + SEGMENT_HEADER_BYTES;
    return writes.allowsRewrite(copyBytes, log.nextPayloadOffset) ? "go" : "later";
  }

  /** The copy is durable: now its name, then the sources go. */
  #putInPlace(sources: readonly SegmentInfo[], rewriter: SegmentRewriter): void {
    const { storage, directory, chain } = this.#options;
    const copy = rewriter.result;
    this.#current = undefined;
    try {
      storage.rename(rewriter.temporaryPath, copy.path);
      storage.syncDirectory(directory);
    } catch (error) {
      // Whether the copy has its name now or not, it must not come back once its sources are gone.
      this.#unlink(rewriter.temporaryPath);
      this.#unlink(copy.path);
      this.#noteFault(error);
      this.#wait();
      return;
    }
    chain.replace(sources, copy);
    for (const source of sources) this.#unlink(source.path);
  }

  /** What stays is removed with the next segment. */
  #unlink(filePath: string): void {
    try {
      this.#options.factory.remove([filePath]);
    } catch (error) {
      this.#noteFault(error);
    }
  }

  #giveUp(sources: readonly SegmentInfo[], rewriter: SegmentRewriter): void {
    this.#current = undefined;
    if (rewriter.end === "damaged" || rewriter.end === "useless") {
      this.#refused.add(rewriter.source ?? sources[0]!);
      if (rewriter.damagedAt !== undefined) this.#lookAt(rewriter.damagedAt);
      return;
    }
    if (rewriter.fault !== undefined) this.#noteFault(rewriter.fault);
    this.#wait();
  }

  /** Damage is the account's to know, whoever meets it. */
  #lookAt(sequence: number): void {
    try {
      this.#options.log.blockAt(sequence);
    } catch (error) {
      this.#noteFault(error);
    }
  }

  #noteFault(error: unknown): void {
    this.#options.writes.noteRewriteFault(error);
  }

  #wait(): void {
    this.#notBeforeMs = this.#options.clock.monotonicMs() + REWRITE_RETRY_MS;
  }

  close(): void {
    this.#current?.rewriter.cancel();
    this.#current = undefined;
    this.#lookedAt = Infinity;
  }
}

function storedBytes(segments: readonly SegmentInfo[]): number {
  return segments.reduce((sum, { endBytes }) => sum + endBytes, 0);
}
