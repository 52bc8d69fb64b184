import {
  closeSync,
  copyFileSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { fileStorage } from "../../src/log/file-storage.ts";
import { BlockKind, blockEndSequence } from "../../src/log/block-layout.ts";
import { inspectSegment } from "../../src/log/segment-inspector.ts";
import { formatSegmentName, parseSegmentName, SEGMENT_HEADER_BYTES } from "../../src/log/segment-layout.ts";
import type { SeededRandom } from "../support/deterministic.ts";

/** `to` is exclusive. */
export interface MessageRange {
  readonly from: number;
  readonly to: number;
}

export interface BlockMap extends MessageRange {
  /** Where its header, its body and what follows it begin. */
  readonly at: number;
  readonly bodyAt: number;
  readonly endAt: number;
}

export interface SegmentMap extends MessageRange {
  readonly path: string;
  readonly sizeBytes: number;
  readonly blocks: readonly BlockMap[];
  readonly sealAt: number | undefined;
  readonly paddingAt: number | undefined;
}

/** What a stream's directory held before anything was done to it. */
export interface StreamFiles {
  readonly name: string;
  readonly directory: string;
  readonly segments: readonly SegmentMap[];
  readonly endSequence: number;
}

/** What one kind of damage may cost. */
export interface DamageCost {
  /** Messages of these ranges may be missing, no others. */
  readonly mayLack: readonly MessageRange[];
  /** The stream cannot be served, and nothing of it is touched. */
  readonly isFenced?: boolean;
  /** The end of the stream may have moved back to here, since nothing says that there was more. */
  readonly mayEndAt?: number;
  /** A start does not look into complete segments: the ledger learns of it when somebody reads there. */
  readonly isMetByReading?: boolean;
  /** Files that must be there afterwards as they are now. */
  readonly keeps?: readonly string[];
}

export interface Damage {
  /** What the test says, after "costs". */
  readonly name: string;
  apply(files: StreamFiles, context: { other: StreamFiles; random: SeededRandom }): DamageCost;
}

/** Reads where everything is in the segments of a stream. */
export function mapStream(directory: string, name: string): StreamFiles {
  const segments = fileStorage
    .list(directory)
    .filter((entry) => parseSegmentName(entry.name) !== undefined)
    .map((entry) => mapSegment(path.join(directory, entry.name)))
    .sort((a, b) => a.from - b.from);
  return { name, directory, segments, endSequence: segments.at(-1)?.to ?? 0 };
}

function mapSegment(filePath: string): SegmentMap {
  const file = fileStorage.open(filePath, "read");
  const blocks: BlockMap[] = [];
  let sealAt: number | undefined;
  let paddingAt: number | undefined;
  try {
    const sizeBytes = file.sizeBytes();
    for (const part of inspectSegment({ file, endBytes: sizeBytes })) {
      if (part.kind === "damage") throw new Error(`${filePath} is damaged already, at ${part.offset}`);
      if (part.kind === "padding") paddingAt ??= part.offset;
      if (part.kind !== "block") continue;
      const { header, offset, nextOffset } = part;
      if (header.kind === BlockKind.Seal) sealAt = offset;
      if (header.kind !== BlockKind.Data) continue;
      blocks.push({
        from: header.firstSequence,
        to: blockEndSequence(header),
        at: offset,
        bodyAt: offset + header.headerBytes,
        endAt: nextOffset,
      });
    }
    const { baseSequence } = parseSegmentName(path.basename(filePath))!;
    const to = blocks.at(-1)?.to ?? baseSequence;
    return { path: filePath, from: baseSequence, to, sizeBytes, blocks, sealAt, paddingAt };
  } finally {
    file.close();
  }
}

function flipBit(file: string, position: number, bit: number): void {
  const descriptor = openSync(file, "r+");
  const byte = Buffer.alloc(1);
  readSync(descriptor, byte, 0, 1, position);
  byte[0]! ^= 1 << bit;
  writeSync(descriptor, byte, 0, 1, position);
  closeSync(descriptor);
}

function overwrite(file: string, position: number, bytes: Uint8Array): void {
  const descriptor = openSync(file, "r+");
  writeSync(descriptor, bytes, 0, bytes.length, position);
  closeSync(descriptor);
}

/** A complete segment with others on both sides; of these the one with the most blocks. */
function middleOf({ segments }: StreamFiles): SegmentMap {
  const inner = segments.slice(1, -1).sort((a, b) => b.blocks.length - a.blocks.length);
  return inner[0]!;
}

function anyBlock({ blocks }: SegmentMap, random: SeededRandom): BlockMap {
  return blocks[random.between(0, blocks.length - 1)]!;
}

function overlapping({ blocks }: SegmentMap, at: number, endAt: number): BlockMap[] {
  return blocks.filter((block) => block.at < endAt && block.endAt > at);
}

const nothing: DamageCost = { mayLack: [] };

export const segmentDamages: readonly Damage[] = [
  {
    name: "at most that block: a bit flipped in the body of a block",
    apply(files, { random }) {
      const block = anyBlock(middleOf(files), random);
      flipBit(middleOf(files).path, random.between(block.bodyAt, block.endAt - 1), random.between(0, 7));
      return { mayLack: [block], isMetByReading: true };
    },
  },
  {
    name: "at most that block: a bit flipped in the header of a block",
    apply(files, { random }) {
      const block = anyBlock(middleOf(files), random);
      flipBit(middleOf(files).path, random.between(block.at, block.bodyAt - 1), random.between(0, 7));
      return { mayLack: [block], isMetByReading: true };
    },
  },
  ...[16, 20, 40].map((offset): Damage => ({
    name: `at most that block: the highest bit flipped of the length at ${offset} of a block's header`,
    apply(files, { random }) {
      const block = anyBlock(middleOf(files), random);
      flipBit(middleOf(files).path, block.at + offset + 3, 7);
      return { mayLack: [block], isMetByReading: true };
    },
  })),
  {
    name: "nothing: a bit flipped in one copy of a segment's header",
    apply(files, { random }) {
      flipBit(middleOf(files).path, random.between(0, SEGMENT_HEADER_BYTES / 2 - 1), random.between(0, 7));
      return nothing;
    },
  },
  {
    name: "nothing: both copies of a segment's header damaged",
    apply(files) {
      for (const at of [60, SEGMENT_HEADER_BYTES / 2 + 60]) flipBit(middleOf(files).path, at, 3);
      return nothing;
    },
  },
  {
    name: "nothing: a bit flipped in the seal of a segment",
    apply(files, { random }) {
      const segment = middleOf(files);
      if (segment.sealAt === undefined) throw new Error(`${segment.path} has no seal`);
      flipBit(segment.path, random.between(segment.sealAt, segment.sizeBytes - 1), random.between(0, 7));
      return nothing;
    },
  },
  {
    name: "at most the blocks under it: a sector full of zeros",
    apply(files, { random }) {
      const segment = middleOf(files);
      const at = random.between(segment.blocks[0]!.at, segment.sizeBytes - 513);
      overwrite(segment.path, at, Buffer.alloc(512));
      return { mayLack: overlapping(segment, at, at + 512), isMetByReading: true };
    },
  },
  {
    name: "at most that block: a block of the same segment written over it",
    apply(files) {
      const segment = middleOf(files);
      const [first, second] = segment.blocks;
      if (second === undefined) throw new Error(`${segment.path} has one block`);
      const bytes = readFileSync(segment.path).subarray(first!.at, first!.endAt);
      overwrite(segment.path, second.at, bytes);
      return { mayLack: overlapping(segment, second.at, second.at + bytes.length), isMetByReading: true };
    },
  },
  {
    name: "at most the blocks under it: a block of another stream, written here by mistake",
    apply(files, { other }) {
      const segment = middleOf(files);
      const [block] = middleOf(other).blocks;
      const bytes = readFileSync(middleOf(other).path).subarray(block!.at, block!.endAt);
      const { at } = segment.blocks.at(-1)!;
      overwrite(segment.path, at, bytes.subarray(0, segment.sizeBytes - at));
      return { mayLack: overlapping(segment, at, at + bytes.length), isMetByReading: true };
    },
  },
  {
    name: "at most what was cut off: a segment in the middle that is too short",
    apply(files) {
      const segment = middleOf(files);
      const at = Math.floor(segment.sizeBytes / 2);
      truncateSync(segment.path, at);
      return { mayLack: overlapping(segment, at, segment.sizeBytes) };
    },
  },
  {
    name: "at most that segment: an empty file in place of a segment",
    apply(files) {
      truncateSync(middleOf(files).path, 0);
      return { mayLack: [middleOf(files)] };
    },
  },
  {
    name: "at most that segment: a segment that is missing",
    apply(files) {
      rmSync(middleOf(files).path);
      return { mayLack: [middleOf(files)] };
    },
  },
  {
    name: "at most that segment: the oldest segment missing",
    apply(files) {
      rmSync(files.segments[0]!.path);
      return { mayLack: [files.segments[0]!] };
    },
  },
  {
    name: "at most those segments: every other segment missing",
    apply(files) {
      const gone = files.segments.slice(0, -1).filter((_segment, index) => index % 2 === 1);
      for (const segment of gone) rmSync(segment.path);
      return { mayLack: gone };
    },
  },
  {
    name: "at most that segment: a segment of another stream under its name",
    apply(files, { other }) {
      copyFileSync(middleOf(other).path, middleOf(files).path);
      return { mayLack: [middleOf(files)], keeps: [middleOf(files).path] };
    },
  },
  {
    name: "at most that segment: a segment under the name of another place",
    apply(files) {
      const segment = middleOf(files);
      const wrong = formatSegmentName({ baseSequence: segment.from + 1, generation: 0 });
      const target = path.join(files.directory, wrong);
      renameSync(segment.path, target);
      return { mayLack: [segment], keeps: [target] };
    },
  },
  {
    name: "nothing: a copy of a segment under a name beyond the end",
    apply(files) {
      const wrong = formatSegmentName({ baseSequence: files.endSequence + 1000, generation: 0 });
      const target = path.join(files.directory, wrong);
      copyFileSync(middleOf(files).path, target);
      return { mayLack: [], keeps: [target] };
    },
  },
  {
    name: "at most that segment: a link in place of a segment",
    apply(files) {
      const segment = middleOf(files);
      const moved = path.join(files.directory, "moved");
      renameSync(segment.path, moved);
      symlinkSync(moved, segment.path);
      return { mayLack: [segment], keeps: [moved] };
    },
  },
  {
    name: "at most what was cut off: a newest segment that is too short",
    apply(files) {
      const segment = files.segments.at(-1)!;
      const at = Math.floor((SEGMENT_HEADER_BYTES + segment.sizeBytes) / 2);
      truncateSync(segment.path, at);
      const lost = overlapping(segment, at, segment.sizeBytes);
      return { mayLack: lost, mayEndAt: lost[0]?.from ?? segment.to };
    },
  },
  {
    name: "at most that segment: the newest segment missing",
    apply(files) {
      const segment = files.segments.at(-1)!;
      rmSync(segment.path);
      return { mayLack: [segment], mayEndAt: segment.from };
    },
  },
  {
    name: "at most that block: a bit flipped in the first block of the newest segment",
    apply(files, { random }) {
      const segment = files.segments.at(-1)!;
      const [block] = segment.blocks;
      flipBit(segment.path, random.between(block!.bodyAt, block!.endAt - 1), random.between(0, 7));
      // With others behind it that were written after a sync; where it is the only one nothing says that it was durable.
      return { mayLack: [block!], ...(segment.blocks.length === 1 && { mayEndAt: block!.from }) };
    },
  },
  {
    name: "nothing: both copies of a segment's header full of zeros",
    apply(files) {
      overwrite(middleOf(files).path, 0, Buffer.alloc(SEGMENT_HEADER_BYTES));
      return nothing;
    },
  },
  {
    name: "nothing: both copies of the newest segment's header overwritten",
    apply(files, { random }) {
      overwrite(files.segments.at(-1)!.path, 0, random.bytes(SEGMENT_HEADER_BYTES));
      return nothing;
    },
  },
  {
    name: "nothing: both copies of the oldest segment's header overwritten",
    apply(files, { random }) {
      overwrite(files.segments[0]!.path, 0, random.bytes(SEGMENT_HEADER_BYTES));
      return nothing;
    },
  },
  {
    name: "nothing: files that nobody knows, and a segment's name on what is none",
    apply(files) {
      const named = path.join(files.directory, formatSegmentName({ baseSequence: 7, generation: 3 }));
      writeFileSync(named, Buffer.alloc(9000, "junk"));
      const unknown = path.join(files.directory, "notes.txt");
      writeFileSync(unknown, "do not delete");
      return { mayLack: [], keeps: [named, unknown] };
    },
  },
];

export const definitionDamages: readonly Damage[] = [
  {
    name: "the stream until it is put back: a bit flipped in a definition",
    apply: (files, { random }) =>
      fence(files, (file) => {
        flipBit(file, random.between(0, statSync(file).size - 1), random.between(0, 7));
      }),
  },
  {
    name: "the stream until it is put back: a definition that is too short",
    apply: (files) => fence(files, (file) => truncateSync(file, Math.floor(statSync(file).size / 2))),
  },
  {
    name: "the stream until it is put back: an empty definition",
    apply: (files) => fence(files, (file) => truncateSync(file, 0)),
  },
  {
    name: "the stream until it is put back: a definition that is missing",
    apply: (files) => fence(files, (file) => rmSync(file)),
  },
  {
    name: "the stream until it is put back: a link in place of a definition",
    apply: (files) =>
      fence(files, (file) => {
        rmSync(file);
        symlinkSync("/nowhere/definition", file);
      }),
  },
];

function fence({ directory, segments }: StreamFiles, spoil: (file: string) => void): DamageCost {
  spoil(path.join(directory, "definition"));
  return { mayLack: [], isFenced: true, keeps: segments.map(({ path: file }) => file) };
}
