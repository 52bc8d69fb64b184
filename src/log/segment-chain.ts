import { MESSAGE_OVERHEAD_BYTES } from "../core/limits.ts";
import type { SegmentSummary } from "./block-layout.ts";
import type { SegmentInfo } from "./log-recovery.ts";
import { SegmentReader } from "./segment-reader.ts";
import type { Storage } from "./storage.ts";

/** What a segment counts towards `maxSize` and `totalBytes`. */
export function accountedBytes(summary: Pick<SegmentSummary, "messageCount" | "payloadBytes">): number {
  return summary.payloadBytes + MESSAGE_OVERHEAD_BYTES * summary.messageCount;
}

/** Descriptors kept for reading complete segments. */
const READERS_MAX = 2;

/** The complete segments of a stream, oldest first. */
export class SegmentChain {
  readonly #storage: Storage;
  readonly #directory: string;
  readonly #segments: SegmentInfo[];
  readonly #readers = new Map<SegmentInfo, SegmentReader>();
  #accountedBytes = 0;
  #storedBytes = 0;
  #unlinkPending = false;

  constructor(storage: Storage, directory: string, segments: SegmentInfo[]) {
    this.#storage = storage;
    this.#directory = directory;
    this.#segments = [];
    for (const segment of segments) this.push(segment);
  }

  get accountedBytes(): number {
    return this.#accountedBytes;
  }
  get storedBytes(): number {
    return this.#storedBytes;
  }
  get oldest(): SegmentInfo | undefined {
    return this.#segments[0];
  }
  get newest(): SegmentInfo | undefined {
    return this.#segments.at(-1);
  }
  get length(): number {
    return this.#segments.length;
  }

  push(segment: SegmentInfo): void {
    this.#segments.push(segment);
    this.#accountedBytes += accountedBytes(segment.summary);
    this.#storedBytes += segment.endBytes;
  }

  /** The last segment that begins at or before `sequence`, and where the one behind it begins. */
  find(
    sequence: number,
  ): { readonly segment: SegmentInfo; readonly nextBase: number | undefined } | undefined {
    let low = 0;
    let high = this.#segments.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#segments[middle]!.header.baseSequence <= sequence) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return undefined;
    return { segment: this.#segments[low - 1]!, nextBase: this.#segments[low]?.header.baseSequence };
  }

  /** @throws the system's error when the file cannot be opened */
  reader(segment: SegmentInfo): SegmentReader {
    const known = this.#readers.get(segment);
    if (known !== undefined) return known;
    const file = this.#storage.open(segment.path, "read");
    const reader = new SegmentReader(file, segment.header.segmentId);
    for (const [other, old] of this.#readers) {
      if (this.#readers.size < READERS_MAX) break;
      old.close();
      this.#readers.delete(other);
    }
    this.#readers.set(segment, reader);
    return reader;
  }

  /**
   * Deletes the oldest segment. Its name is gone for good before the next one is unlinked, so that no crash leaves a hole;
   * a roll's directory sync usually does that in passing.
   */
  deleteOldest(): SegmentInfo {
    const segment = this.#segments[0]!;
    if (this.#unlinkPending) this.syncUnlinks();
    this.#storage.unlink(segment.path);
    this.#unlinkPending = true;
    this.#segments.shift();
    this.#accountedBytes -= accountedBytes(segment.summary);
    this.#storedBytes -= segment.endBytes;
    this.#readers.get(segment)?.close();
    this.#readers.delete(segment);
    return segment;
  }

  syncUnlinks(): void {
    this.#storage.syncDirectory(this.#directory);
    this.#unlinkPending = false;
  }

  /** The directory was synced for another reason. */
  directorySynced(): void {
    this.#unlinkPending = false;
  }

  close(): void {
    for (const reader of this.#readers.values()) reader.close();
    this.#readers.clear();
  }
}
