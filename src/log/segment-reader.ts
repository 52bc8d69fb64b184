import type { StreamPlace } from "../core/stream-ledger.ts";
import { blockEndSequence, BlockKind } from "./block-layout.ts";
import { type DecodedBlock, decodeBody } from "./decoded-block.ts";
import { SegmentIndex } from "./segment-index.ts";
import { SEGMENT_HEADER_BYTES } from "./segment-layout.ts";
import { type BlockPlace, nextBlock, readFully, SegmentSource } from "./segment-scanner.ts";
import type { StorageFile } from "./storage.ts";
import { blockEndPlace, blockPlace } from "./stream-places.ts";

/** Where reading goes on after something that cannot be read; undefined: not in this segment. */
export interface SegmentGap {
  readonly toSequence: number | undefined;
}

/** A place that damage hides, or that no segment holds, with the nearest known ones; undefined: none is known on that side. */
export interface HiddenPlace {
  readonly before: StreamPlace | undefined;
  readonly after: StreamPlace | undefined;
}

/** Finds and decodes blocks of one segment by sequence number. */
export class SegmentReader {
  readonly #source: SegmentSource;
  readonly #index: SegmentIndex;
  #nextSequence = -1;
  #nextPosition = SEGMENT_HEADER_BYTES;

  constructor(file: StorageFile, segmentId: Buffer, index: SegmentIndex = new SegmentIndex()) {
    this.#source = new SegmentSource(file, segmentId);
    this.#index = index;
  }

  get segmentId(): Buffer {
    return this.#source.segmentId;
  }

  /**
   * The block that holds `sequence`, or how far nothing can be read. Blocks that lie beyond `endBytes` do not exist.
   * A reader that follows a growing file passes its size of the moment.
   */
  read(sequence: number, endBytes: number): DecodedBlock | SegmentGap {
    const place = this.#find(sequence, endBytes);
    if (place === undefined) return { toSequence: undefined };
    if (place.header.firstSequence > sequence) return { toSequence: place.header.firstSequence };
    const block = this.#decode(place);
    if (block === undefined) return { toSequence: blockEndSequence(place.header) };
    this.#nextSequence = blockEndSequence(place.header);
    this.#nextPosition = place.nextPosition;
    return block;
  }

  /**
   * The place of `sequence`, or the known ones around it where damage hides it. `base` is the segment's first place. Walks
   * all blocks before it: what stands last before a damage counts, and the index passes over that.
   */
  placeOf(sequence: number, endBytes: number, base: StreamPlace): StreamPlace | HiddenPlace {
    let before = base;
    let position = SEGMENT_HEADER_BYTES;
    this.#source.forget();
    while (before.sequence < sequence && position < endBytes) {
      const step = nextBlock(this.#source, position, endBytes);
      if (step === undefined) break;
      const { header } = step;
      const first = blockPlace(header);
      const end = blockEndPlace(header);
      if (first.sequence > sequence) return { before, after: first };
      if (end.sequence > sequence) {
        if (first.sequence === sequence) return first;
        return this.#decode(step)?.placeOf(sequence) ?? { before: first, after: end };
      }
      before = end;
      position = step.nextPosition;
    }
    return before.sequence === sequence ? before : { before, after: undefined };
  }

  /** The first data block that ends after `sequence`. */
  #find(sequence: number, endBytes: number): BlockPlace | undefined {
    const indexed = this.#index.find(sequence) ?? SEGMENT_HEADER_BYTES;
    let position = sequence === this.#nextSequence ? this.#nextPosition : indexed;
    // The file may have grown under the window since the last call.
    this.#source.forget();
    while (position < endBytes) {
      const step = nextBlock(this.#source, position, endBytes);
      if (step === undefined) return undefined;
      if (step.header.kind === BlockKind.Data) {
        this.#index.add(step.header.firstSequence, step.position);
        if (blockEndSequence(step.header) > sequence) return step;
      }
      position = step.nextPosition;
    }
    return undefined;
  }

  #decode(place: BlockPlace): DecodedBlock | undefined {
    // Its own memory: a block that was stored raw is given out as a view of what was read.
    const body = Buffer.allocUnsafeSlow(place.header.storedBytes);
    const count = readFully(this.#source.file, body, place.position + place.header.headerBytes);
    return count === body.length ? decodeBody(place.header, body) : undefined;
  }

  close(): void {
    this.#source.file.close();
  }
}
