import { crc32 } from "node:zlib";

import { SCAN_READ_BYTES, UNPROVEN_BYTES_HELD_MAX } from "../core/limits.ts";
import type { AgePoint } from "./age-point.ts";
import type { BlockHeader } from "./block-layout.ts";
import { type BlockPlace, readFully, type SegmentSource } from "./segment-scanner.ts";
import type { StoredBlock } from "./segment-writer.ts";
import type { Storage } from "./storage.ts";

/**
 * Blocks at the end of the newest segment that a start can read and that nothing proves to be durable. The kernel may show what
 * a failed sync dropped, and a sync of that file would succeed now (RELIABILITY 1), so they are written again, elsewhere. Held
 * in memory until then; beyond a bound they are read from the file once more when they are needed.
 */
export class UnprovenBlocks {
  readonly #storage: Storage;
  #blocks: UnprovenBlock[] = [];
  #heldBytes = 0;

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  get blocks(): readonly StoredBlock[] {
    return this.#blocks;
  }

  /** The next block of `source`; its body has been checked. */
  add(
    source: SegmentSource,
    place: BlockPlace,
    time: { readonly age: AgePoint; readonly clockEra: number },
  ): void {
    const { header } = place;
    const bodyPosition = place.position + header.headerBytes;
    this.#heldBytes += header.storedBytes;
    let load: () => Buffer;
    if (this.#heldBytes <= UNPROVEN_BYTES_HELD_MAX) {
      const body = Buffer.from(source.view(bodyPosition, header.storedBytes, SCAN_READ_BYTES));
      load = () => body;
    } else {
      const { path } = source.file;
      load = () => readBody(this.#storage, path, bodyPosition, header);
    }
    this.#blocks.push(new UnprovenBlock(header, time, load));
  }

  /** Whatever was added came before a mark: what does not know its age is no younger, and not to be taken for younger later. */
  cap(mark: AgePoint & { readonly isAgeProven: boolean }): void {
    this.#blocks = this.#blocks.map((block) => block.cappedBy(mark));
  }
}

class UnprovenBlock implements StoredBlock {
  readonly header: BlockHeader;
  readonly age: AgePoint;
  readonly clockEra: number;
  readonly #load: () => Buffer;

  constructor(
    header: BlockHeader,
    time: { readonly age: AgePoint; readonly clockEra: number },
    load: () => Buffer,
  ) {
    this.header = header;
    this.age = time.age;
    this.clockEra = time.clockEra;
    this.#load = load;
  }

  /** @throws the system's error when it is not in memory and cannot be read any more */
  get frame(): readonly Uint8Array[] {
    return [this.#load()];
  }

  cappedBy({ ageMs, runMs, isAgeProven }: AgePoint & { readonly isAgeProven: boolean }): UnprovenBlock {
    const isProof = isAgeProven && !this.header.isAgeProven;
    const header = isProof ? { ...this.header, isAgeProven } : this.header;
    const age = { ageMs: isProof ? ageMs : this.age.ageMs, runMs: Math.min(this.age.runMs, runMs) };
    return new UnprovenBlock(header, { age, clockEra: this.clockEra }, this.#load);
  }
}

function readBody(storage: Storage, path: string, position: number, header: BlockHeader): Buffer {
  const file = storage.open(path, "read");
  try {
    const body = Buffer.alloc(header.storedBytes);
    const isWhole = readFully(file, body, position) === body.length && crc32(body) === header.storedCrc;
    if (!isWhole) throw new Error(`the block of ${header.firstSequence} is not what it was at the start`);
    return body;
  } finally {
    file.close();
  }
}
