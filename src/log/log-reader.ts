import path from "node:path";

import { systemCode } from "../core/errors.ts";
import type { StreamPlace } from "../core/stream-ledger.ts";
import type { DecodedBlock, LogSlice } from "./decoded-block.ts";
import { isExhausted } from "./read-refusals.ts";
import { type FoundBlock, readSlices, type SliceRequest } from "./read-slices.ts";
import { formatSegmentName, parseSegmentName, type SegmentName } from "./segment-layout.ts";
import { type HiddenPlace, SegmentReader } from "./segment-reader.ts";
import { readSegmentHeader } from "./segment-scanner.ts";
import type { Storage, StorageFile } from "./storage.ts";
import { basePlace } from "./stream-places.ts";

/** Each time a file was unlinked between being listed and being opened: retention and rewrites are not that fast. */
const LISTINGS_MAX = 100;

interface OpenSegment {
  readonly name: SegmentName;
  readonly file: StorageFile;
  readonly base: StreamPlace;
  readonly reader: SegmentReader;
}

/**
 * Reads a stream that another thread writes, by its files alone. Safe below the writer's synced end: those bytes never
 * change. A segment that a failed sync ended early has a successor that holds the rest, and one that was rewritten has a copy;
 * so what does not read is looked for in a fresh listing before it is called damaged.
 */
export class LogReader {
  readonly #storage: Storage;
  readonly #directory: string;
  /** Ascending by base; of each base the highest generation. */
  #names: SegmentName[] = [];
  #open: OpenSegment | undefined;
  #cached: DecodedBlock | undefined;

  constructor(options: { readonly storage: Storage; readonly directory: string }) {
    this.#storage = options.storage;
    this.#directory = options.directory;
  }

  /**
   * Messages in [fromSequence, endSequence); at least one message if there is one. `endSequence` must not exceed the writer's
   * syncedEndSequence. @throws the system's error when the directory cannot be listed, or this process can open no more files
   */
  read(request: SliceRequest): LogSlice[] {
    return readSlices(request, (sequence) => this.#blockAt(sequence, request.endSequence));
  }

  /**
   * The place of `sequence`, which must not exceed the writer's syncedEndSequence, or the known ones around it: exact, whatever
   * is damaged elsewhere. @throws as `read` does
   */
  placeOf(sequence: number): StreamPlace | HiddenPlace {
    return this.#lookUp(
      () => this.#findPlace(sequence),
      (place) => "after" in place,
    );
  }

  /** What is not found is looked for once more in a fresh listing; what was there and went, until it is found or not there. */
  #lookUp<Found extends object>(find: () => Found | "gone", isMissing: (found: Found) => boolean): Found {
    let found = find();
    for (let listings = 0; found === "gone" || (isMissing(found) && listings === 0); listings++) {
      if (listings === LISTINGS_MAX) throw new Error(`${LISTINGS_MAX} listings in a row were out of date`);
      found = this.#list() ? find() : "gone";
    }
    return found;
  }

  #findPlace(sequence: number): StreamPlace | HiddenPlace | "gone" {
    const at = this.#names.findLastIndex(({ baseSequence }) => baseSequence <= sequence);
    const segment = at < 0 ? undefined : this.#openSegment(this.#names[at]!);
    if (segment === "gone") return "gone";
    const found =
      segment === undefined
        ? { before: undefined, after: undefined }
        : segment.reader.placeOf(sequence, segment.file.sizeBytes(), segment.base);
    if (!("after" in found)) return found;
    const limit = this.#names[at + 1]?.baseSequence ?? Infinity;
    if (found.after !== undefined && found.after.sequence <= limit) return found;
    // Nothing more that counts in this segment: the next one that can be read begins at a known place.
    for (const name of this.#names.slice(at + 1)) {
      const next = this.#openSegment(name);
      if (next === "gone") return "gone";
      if (next !== undefined) return { before: found.before, after: next.base };
    }
    return { before: found.before, after: undefined };
  }

  #blockAt(sequence: number, endSequence: number): FoundBlock {
    const cached = this.#cached;
    if (cached !== undefined && sequence >= cached.firstSequence && sequence < cached.endSequence) {
      return { kind: "block", block: cached };
    }
    const found = this.#lookUp(
      () => this.#find(sequence, endSequence),
      ({ kind }) => kind === "gap",
    );
    if (found.kind === "block") this.#cached = found.block;
    return found;
  }

  /** @returns "gone" when the file that should hold it was unlinked since it was listed; a copy of it may be there */
  #find(sequence: number, endSequence: number): FoundBlock | "gone" {
    const at = this.#names.findLastIndex(({ baseSequence }) => baseSequence <= sequence);
    const limit = Math.min(endSequence, this.#names[at + 1]?.baseSequence ?? endSequence);
    const segment = at < 0 ? undefined : this.#openSegment(this.#names[at]!);
    if (segment === "gone") return "gone";
    if (segment === undefined) return { kind: "gap", toSequence: limit, reason: "MISSING" };
    const found = segment.reader.read(sequence, segment.file.sizeBytes());
    if (!("toSequence" in found)) return { kind: "block", block: found };
    return { kind: "gap", toSequence: Math.min(limit, found.toSequence ?? limit), reason: "CORRUPT" };
  }

  #openSegment(name: SegmentName): OpenSegment | "gone" | undefined {
    const open = this.#open;
    if (open?.name.baseSequence === name.baseSequence && open.name.generation === name.generation)
      return open;
    open?.reader.close();
    this.#open = undefined;
    const filePath = path.join(this.#directory, formatSegmentName(name));
    try {
      const file = this.#storage.open(filePath, "read");
      try {
        const header = readSegmentHeader(file);
        if (header?.baseSequence === name.baseSequence && header.generation === name.generation) {
          const reader = new SegmentReader(file, header.segmentId);
          this.#open = { name, file, base: basePlace(header), reader };
        }
      } finally {
        if (this.#open === undefined) file.close();
      }
    } catch (error) {
      if (isExhausted(error)) throw error;
      return systemCode(error) === "ENOENT" ? "gone" : undefined;
    }
    return this.#open;
  }

  /** @returns false when a file went while it was looked at: what replaced it may not be in this listing */
  #list(): boolean {
    const known = new Map(this.#names.map(({ baseSequence, generation }) => [baseSequence, generation]));
    const newest = new Map<number, SegmentName>();
    for (const entry of this.#storage.list(this.#directory)) {
      const name = parseSegmentName(entry.name);
      if (name === undefined) continue;
      if (name.generation < (newest.get(name.baseSequence)?.generation ?? 0)) continue;
      // A segment that is being made has no head yet and does not count.
      const isKnown = known.get(name.baseSequence) === name.generation;
      const usable = isKnown || this.#isUsable(name);
      if (usable === "gone") return false;
      if (usable) newest.set(name.baseSequence, name);
    }
    this.#names = [...newest.values()].sort((a, b) => a.baseSequence - b.baseSequence);
    return true;
  }

  #isUsable(name: SegmentName): boolean | "gone" {
    let file: StorageFile;
    try {
      file = this.#storage.open(path.join(this.#directory, formatSegmentName(name)), "read");
    } catch (error) {
      if (isExhausted(error)) throw error;
      return systemCode(error) === "ENOENT" ? "gone" : false;
    }
    try {
      const header = readSegmentHeader(file);
      return header?.baseSequence === name.baseSequence && header.generation === name.generation;
    } finally {
      file.close();
    }
  }

  close(): void {
    this.#open?.reader.close();
    this.#open = undefined;
    this.#cached = undefined;
  }
}
