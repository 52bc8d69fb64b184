import path from "node:path";

import { blockEndSequence, BlockKind } from "./block-layout.ts";
import {
  formatSegmentName,
  parseSegmentName,
  parseTemporaryName,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  type SegmentName,
} from "./segment-layout.ts";
import { isExhausted } from "./read-refusals.ts";
import { readSegmentHeader, scanSegment, SegmentSource } from "./segment-scanner.ts";
import type { Storage, StorageFile } from "./storage.ts";

/** A segment file whose head is whole. */
export interface Candidate {
  readonly path: string;
  readonly name: SegmentName;
  readonly header: SegmentHeader;
  readonly sizeBytes: number;
}

/** Which files of a stream's directory are its segments. */
export interface SegmentChoice {
  /** Ascending by base, one file a base. */
  readonly chain: readonly Candidate[];
  /** The highest generation that a name in the directory uses, by base. */
  readonly generations: Map<number, number>;
  /** Files with a segment's name and no valid head: left alone. */
  readonly unreadable: readonly string[];
  /** Rewritten segments that do not verify, beside what they were made from. Under their new name they count no more. */
  readonly setAside: readonly string[];
  /** Files that count no more: others hold what they hold. They may go when the names of those are durable. */
  readonly leftovers: readonly string[];
  /** Files of deleted messages. They may go when the account of that is durable. */
  readonly dropped: readonly string[];
  /** The account of what was deleted fits what is there: the stream goes on where it ends. Else nothing is removed for it. */
  readonly isContinued: boolean;
}

/** What a file that is set aside is called from then on, behind its name. */
export const SET_ASIDE_SUFFIX = ".damaged";

/**
 * Chooses between files that hold the same messages. A later generation of a base counts when its head is whole, since the head
 * is written last; a rewritten segment beside its sources counts only when all of it verifies. What is not chosen holds nothing that
 * the chosen ones do not. Removes nothing: what the kernel shows, names and accounts alike, a power cut may still take back.
 */
export function chooseSegments(options: ChoiceOptions): SegmentChoice {
  return new Chooser(options).choose();
}

export interface ChoiceOptions {
  readonly storage: Storage;
  readonly directory: string;
  readonly streamId: Buffer;
  /** Segments that begin below were deleted, or were about to be. */
  readonly droppedEndSequence: number;
}

class Chooser {
  readonly #storage: Storage;
  readonly #directory: string;
  readonly #streamId: Buffer;
  readonly #droppedEnd: number;
  #isContinued = false;
  readonly #generations = new Map<number, number>();
  readonly #unreadable: string[] = [];
  readonly #setAside: string[] = [];
  readonly #worthless: string[] = [];
  readonly #dropped: string[] = [];

  constructor(options: ChoiceOptions) {
    this.#storage = options.storage;
    this.#droppedEnd = options.droppedEndSequence;
    this.#directory = options.directory;
    this.#streamId = options.streamId;
  }

  choose(): SegmentChoice {
    const found = this.#readDirectory();
    const replaced = this.#settleRewrites(found);
    const chain: Candidate[] = [];
    for (const candidate of found) {
      if (replaced.has(candidate)) continue;
      const isLower = chain.at(-1)?.name.baseSequence === candidate.name.baseSequence;
      if (isLower) this.#worthless.push(candidate.path);
      else chain.push(candidate);
    }
    return {
      chain,
      generations: this.#generations,
      unreadable: this.#unreadable,
      setAside: this.#setAside,
      leftovers: this.#worthless,
      dropped: this.#dropped,
      isContinued: this.#isContinued,
    };
  }

  /** By base, the highest generation first. */
  #readDirectory(): Candidate[] {
    const found: Candidate[] = [];
    const entries = this.#storage.list(this.#directory);
    this.#isContinued = entries.some(({ name }) => {
      return (parseSegmentName(name)?.baseSequence ?? -1) >= this.#droppedEnd;
    });
    for (const entry of entries) {
      const filePath = path.join(this.#directory, entry.name);
      // A rewrite that was cut short: its sources are still there.
      if (parseTemporaryName(entry.name) !== undefined) this.#worthless.push(filePath);
      const name = parseSegmentName(entry.name);
      if (name === undefined || formatSegmentName(name) !== entry.name) continue;
      const highest = this.#generations.get(name.baseSequence) ?? 0;
      this.#generations.set(name.baseSequence, Math.max(name.generation, highest));
      if (this.#isContinued && name.baseSequence < this.#droppedEnd) {
        this.#dropped.push(filePath);
        continue;
      }
      const candidate = this.#readCandidate(filePath, name);
      if (candidate === "empty") this.#worthless.push(filePath);
      else if (candidate === undefined) this.#unreadable.push(entry.name);
      else found.push(candidate);
    }
    return found.sort(
      (a, b) => a.name.baseSequence - b.name.baseSequence || b.name.generation - a.name.generation,
    );
  }

  /** "empty": a creation that was cut short; it is shorter than a head and so cannot hold a message. */
  #readCandidate(filePath: string, name: SegmentName): Candidate | "empty" | undefined {
    let file: StorageFile;
    try {
      file = this.#storage.open(filePath, "read");
    } catch (error) {
      // Taken for damage, it would cost the stream its messages.
      if (isExhausted(error)) throw error;
      return undefined;
    }
    try {
      const sizeBytes = file.sizeBytes();
      const header = readSegmentHeader(file);
      if (header === undefined) return sizeBytes <= SEGMENT_HEADER_BYTES ? "empty" : undefined;
      if (!header.streamId.equals(this.#streamId)) return undefined;
      if (header.baseSequence !== name.baseSequence || header.generation !== name.generation)
        return undefined;
      return { path: filePath, name, header, sizeBytes };
    } catch (error) {
      if (isExhausted(error)) throw error;
      return undefined;
    } finally {
      file.close();
    }
  }

  /** @returns the candidates that a rewritten segment replaces, and rewritten ones that do not count */
  #settleRewrites(found: readonly Candidate[]): Set<Candidate> {
    const out = new Set<Candidate>();
    for (const candidate of found) {
      const { rewritten } = candidate.header;
      if (rewritten === undefined || out.has(candidate)) continue;
      const sources = found.filter((other) => !out.has(other) && isWithin(other, candidate));
      if (sources.length === 0) continue;
      if (isWhole(this.#storage, candidate)) {
        for (const source of sources) {
          out.add(source);
          this.#worthless.push(source.path);
        }
      } else if (sources.some(({ name }) => name.baseSequence === candidate.name.baseSequence)) {
        out.add(candidate);
        this.#putAside(candidate);
      }
      // Else its first source is gone already: it counts up to where the next source begins.
    }
    return out;
  }

  /** Kept, for what may still be read in it, and out of the way of whoever goes by names. */
  #putAside(candidate: Candidate): void {
    const target = `${candidate.path}${SET_ASIDE_SUFFIX}`;
    try {
      this.#storage.rename(candidate.path, target);
    } catch {
      // The next start tries again.
    }
    this.#setAside.push(path.basename(target));
  }
}

/** Whether `other` is one of those that `rewrite` was made from, or an earlier generation of them. */
function isWithin(other: Candidate, rewrite: Candidate): boolean {
  const { baseSequence, generation } = other.name;
  if (baseSequence === rewrite.name.baseSequence) return generation < rewrite.name.generation;
  const endSequence = rewrite.header.rewritten?.endSequence ?? 0;
  return baseSequence > rewrite.name.baseSequence && baseSequence < endSequence;
}

/** Whether every byte of a rewritten segment is as it was written, from its first message to its seal. */
function isWhole(storage: Storage, candidate: Candidate): boolean {
  const { header, sizeBytes } = candidate;
  let file: StorageFile | undefined;
  try {
    file = storage.open(candidate.path, "read");
    const source = new SegmentSource(file, header.segmentId);
    const { blocks, damage } = scanSegment(source, SEGMENT_HEADER_BYTES, sizeBytes);
    if (damage.length > 0) return false;
    let endSequence = header.baseSequence;
    for (const block of blocks) {
      if (block.header.firstSequence !== endSequence) return false;
      endSequence = blockEndSequence(block.header);
    }
    return blocks.at(-1)?.header.kind === BlockKind.Seal && endSequence === header.rewritten?.endSequence;
  } catch (error) {
    if (isExhausted(error)) throw error;
    return false;
  } finally {
    file?.close();
  }
}
