import { blockEndSequence } from "../../src/log/block-layout.ts";
import { decodeSegmentHeader, parseSegmentName, SEGMENT_HEADER_BYTES } from "../../src/log/segment-layout.ts";
import { nextBlock, SegmentSource } from "../../src/log/segment-scanner.ts";
import type { Storage } from "../../src/log/storage.ts";
import { STREAM_DIRECTORY } from "./log-fixture.ts";

export interface DataBlock {
  readonly file: string;
  readonly position: number;
  readonly headerBytes: number;
  readonly fromSequence: number;
  readonly toSequence: number;
}

/** The segments of the stream, in the order of their numbers. */
export function segmentPaths(storage: Storage): string[] {
  return storage
    .list(STREAM_DIRECTORY)
    .flatMap(({ name }) => (parseSegmentName(name) === undefined ? [] : [`${STREAM_DIRECTORY}/${name}`]))
    .sort();
}

/** Where the blocks with messages are in a segment whose header is whole. */
export function dataBlocks(storage: Storage, path: string): DataBlock[] {
  const file = storage.open(path, "read");
  const area = Buffer.alloc(SEGMENT_HEADER_BYTES);
  file.read(area, 0);
  const source = new SegmentSource(file, decodeSegmentHeader(area)!.segmentId);
  const blocks: DataBlock[] = [];
  let position = SEGMENT_HEADER_BYTES;
  for (;;) {
    const step = nextBlock(source, position, file.sizeBytes());
    if (step === undefined) break;
    const { header } = step;
    const [fromSequence, toSequence] = [header.firstSequence, blockEndSequence(header)];
    const { headerBytes } = header;
    if (toSequence > fromSequence)
      blocks.push({ file: path, position: step.position, headerBytes, fromSequence, toSequence });
    position = step.nextPosition;
  }
  file.close();
  return blocks;
}
