import { assert } from "../core/assert.ts";
import { type AgePoint, earlierOf, UNKNOWN_AGE } from "./age-point.ts";
import type { SegmentInfo } from "./segment-writer.ts";
import { accountedBytes } from "./segment-summary.ts";
import { SegmentReader } from "./segment-reader.ts";
import type { Storage } from "./storage.ts";

/** Descriptors kept for reading complete segments. */
const READERS_MAX = 2;

/** The complete segments of a stream, oldest first. */
export class SegmentChain {
  readonly #storage: Storage;
  readonly #segments: SegmentInfo[];
  /** By segment: of its newest message, and no later than of a later segment. */
  readonly #ages: AgePoint[] = [];
  readonly #readers = new Map<SegmentInfo, SegmentReader>();
  #accountedBytes = 0;
  #storedBytes = 0;
  #completedCount = 0;

  constructor(storage: Storage, segments: readonly SegmentInfo[]) {
    this.#storage = storage;
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
  /** Oldest first. */
  get segments(): readonly SegmentInfo[] {
    return this.#segments;
  }
  /** How many segments have become complete, whatever became of them. */
  get completedCount(): number {
    return this.#completedCount;
  }
  get length(): number {
    return this.#segments.length;
  }

  /** Of the newest message of the oldest segment, or earlier. */
  get oldestAge(): AgePoint {
    return this.#ages[0] ?? UNKNOWN_AGE;
  }

  /** Everything here came before this. */
  capAges(point: AgePoint): void {
    for (let at = this.#ages.length - 1; at >= 0; at--) {
      const age = this.#ages[at]!;
      if (age.ageMs <= point.ageMs && age.runMs <= point.runMs) return;
      this.#ages[at] = earlierOf(age, point);
    }
  }

  push(segment: SegmentInfo): void {
    const { messageCount, lastAge } = segment.summary;
    const age = messageCount === 0 ? UNKNOWN_AGE : lastAge;
    this.capAges(age);
    this.#ages.push(age);
    this.#segments.push(segment);
    this.#completedCount += 1;
    this.#accountedBytes += accountedBytes(segment.summary);
    this.#storedBytes += segment.endBytes;
  }

  /** The last segment that begins at or before `sequence`, and the one behind it. */
  find(
    sequence: number,
  ): { readonly segment: SegmentInfo; readonly successor: SegmentInfo | undefined } | undefined {
    let low = 0;
    let high = this.#segments.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#segments[middle]!.header.baseSequence <= sequence) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return undefined;
    return { segment: this.#segments[low - 1]!, successor: this.#segments[low] };
  }

  /** Whether exactly these are here, one behind the other. */
  holds(segments: readonly SegmentInfo[]): boolean {
    const at = this.#segments.indexOf(segments[0]!);
    return at >= 0 && segments.every((segment, offset) => this.#segments[at + offset] === segment);
  }

  /** Puts a durable copy in the place of its sources, whose files are the caller's. They are in the chain. */
  replace(sources: readonly SegmentInfo[], copy: SegmentInfo): void {
    const at = this.#segments.indexOf(sources[0]!);
    assert(this.holds(sources), "a copy replaces what is there");
    this.#segments.splice(at, sources.length, copy);
    this.#ages.splice(at, sources.length - 1);
    for (const source of sources) this.#forget(source);
    this.#accountedBytes += accountedBytes(copy.summary);
    this.#storedBytes += copy.endBytes;
  }

  #forget(segment: SegmentInfo): void {
    this.#accountedBytes -= accountedBytes(segment.summary);
    this.#storedBytes -= segment.endBytes;
    this.#readers.get(segment)?.close();
    this.#readers.delete(segment);
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

  /** How many of the oldest segments together count for `costBytes`, or stand in files of `storedBytes`; at most all. */
  countFor(wanted: { readonly accountedBytes: number } | { readonly storedBytes: number }): number {
    let left = "accountedBytes" in wanted ? wanted.accountedBytes : wanted.storedBytes;
    let count = 0;
    while (left > 0 && count < this.#segments.length) {
      const { summary, endBytes } = this.#segments[count]!;
      left -= "accountedBytes" in wanted ? accountedBytes(summary) : endBytes;
      count += 1;
    }
    return count;
  }

  /** How many of the oldest segments end at or below `sequence`. */
  countBelow(sequence: number): number {
    const above = this.#segments.findIndex(({ endSequence }) => endSequence > sequence);
    return above < 0 ? this.#segments.length : above;
  }

  /** How many of the oldest segments have newest messages of such an age. */
  countWhile(isMeant: (age: AgePoint) => boolean): number {
    const first = this.#ages.findIndex((age) => !isMeant(age));
    return first < 0 ? this.#segments.length : first;
  }

  /** The segment that is the oldest once `count` of them are gone. */
  at(count: number): SegmentInfo | undefined {
    return this.#segments[count];
  }

  /** Takes the oldest segment out; its file is the caller's. */
  shift(): SegmentInfo {
    const segment = this.#segments.shift();
    assert(segment !== undefined, "a segment to take");
    this.#ages.shift();
    this.#forget(segment);
    return segment;
  }

  close(): void {
    for (const reader of this.#readers.values()) reader.close();
    this.#readers.clear();
  }
}
