import path from "node:path";

import { systemCode } from "../core/errors.ts";
import type { DecodedBlock, LogSlice } from "./decoded-block.ts";
import { type FoundBlock, readSlices, type SliceRequest } from "./read-slices.ts";
import {
  decodeSegmentHeader,
  formatSegmentName,
  parseSegmentName,
  SEGMENT_HEADER_BYTES,
  type SegmentName,
} from "./segment-layout.ts";
import { SegmentReader } from "./segment-reader.ts";
import { readFully } from "./segment-scanner.ts";
import type { Storage, StorageFile } from "./storage.ts";

const exhaustionErrors = new Set(["EMFILE", "ENFILE", "ENOMEM"]);

interface OpenSegment {
  readonly name: SegmentName;
  readonly file: StorageFile;
  readonly reader: SegmentReader;
}

/**
 * Reads a stream that another thread writes, by its files alone. Safe below the writer's synced end: those bytes never
 * change. A segment that a failed sync ended early has a successor that holds the rest; so what does not read is looked for
 * in a fresh listing before it is called damaged.
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

  #blockAt(sequence: number, endSequence: number): FoundBlock {
    const cached = this.#cached;
    if (cached !== undefined && sequence >= cached.firstSequence && sequence < cached.endSequence) {
      return { kind: "block", block: cached };
    }
    let found = this.#find(sequence, endSequence);
    if (found.kind === "gap") {
      this.#list();
      found = this.#find(sequence, endSequence);
    }
    if (found.kind === "block") this.#cached = found.block;
    return found;
  }

  #find(sequence: number, endSequence: number): FoundBlock {
    const at = this.#names.findLastIndex(({ baseSequence }) => baseSequence <= sequence);
    const limit = Math.min(endSequence, this.#names[at + 1]?.baseSequence ?? endSequence);
    const segment = at < 0 ? undefined : this.#openSegment(this.#names[at]!);
    if (segment === undefined) return { kind: "gap", toSequence: limit, reason: "MISSING" };
    const found = segment.reader.read(sequence, segment.file.sizeBytes());
    if (!("toSequence" in found)) return { kind: "block", block: found };
    return { kind: "gap", toSequence: Math.min(limit, found.toSequence ?? limit), reason: "CORRUPT" };
  }

  #openSegment(name: SegmentName): OpenSegment | undefined {
    const open = this.#open;
    if (open?.name.baseSequence === name.baseSequence && open.name.generation === name.generation)
      return open;
    open?.reader.close();
    this.#open = undefined;
    const filePath = path.join(this.#directory, formatSegmentName(name));
    try {
      const file = this.#storage.open(filePath, "read");
      const header = readHeader(file);
      if (header?.baseSequence !== name.baseSequence || header.generation !== name.generation) {
        file.close();
        return undefined;
      }
      this.#open = { name, file, reader: new SegmentReader(file, header.segmentId) };
    } catch (error) {
      if (isExhausted(error)) throw error;
      // Deleted by retention since it was listed, or unreadable: the caller lists again and then knows.
      return undefined;
    }
    return this.#open;
  }

  #list(): void {
    const newest = new Map<number, SegmentName>();
    for (const entry of this.#storage.list(this.#directory)) {
      const name = parseSegmentName(entry.name);
      if (name === undefined) continue;
      if (name.generation < (newest.get(name.baseSequence)?.generation ?? 0)) continue;
      // A segment that is being made has no head yet and does not count.
      if (this.#isUsable(name)) newest.set(name.baseSequence, name);
    }
    this.#names = [...newest.values()].sort((a, b) => a.baseSequence - b.baseSequence);
  }

  #isUsable(name: SegmentName): boolean {
    if (
      this.#names.some(
        (known) => known.baseSequence === name.baseSequence && known.generation === name.generation,
      )
    )
      return true;
    let file: StorageFile;
    try {
      file = this.#storage.open(path.join(this.#directory, formatSegmentName(name)), "read");
    } catch (error) {
      if (isExhausted(error)) throw error;
      return false;
    }
    try {
      const header = readHeader(file);
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

/** Says nothing about the segment: it is there, this process cannot open it now. */
function isExhausted(error: unknown): boolean {
  return exhaustionErrors.has(systemCode(error) ?? "");
}

function readHeader(file: StorageFile): ReturnType<typeof decodeSegmentHeader> {
  const area = Buffer.alloc(SEGMENT_HEADER_BYTES);
  return decodeSegmentHeader(area.subarray(0, readFully(file, area, 0)));
}
