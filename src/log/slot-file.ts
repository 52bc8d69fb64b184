/**
 * A small file whose content changes often: two slots of one size, each on units of its own, since a power cut may destroy
 * the unit that is being written. Little-endian:
 *
 *   0 u32 CRC-32 of the rest, perhaps seeded   4 u32 content bytes   8 u64 counter   16 content
 *
 * The valid slot with the higher counter holds. One slot keeps what was synced last and is left alone until the other was
 * synced. Both are written when the file is made, so that no later write needs room on the medium.
 */
import path from "node:path";
import { crc32 } from "node:zlib";

import { assert } from "../core/assert.ts";
import { systemCode } from "../core/errors.ts";
import { isFull } from "./append-refusals.ts";
import { removeIfThere, TEMPORARY_SUFFIX, tryRemove } from "./durable-file.ts";
import { openExisting } from "./read-refusals.ts";
import { isSafeU64, readSafeU64, writeSafeU64 } from "./segment-layout.ts";
import { readFully } from "./segment-scanner.ts";
import { writeFully } from "./segment-writer.ts";
import type { Storage, StorageFile } from "./storage.ts";

/** The largest unit that a medium writes as one, for all we know. */
const UNIT_BYTES = 4096;
const HEADER_BYTES = 16;
const COUNTER_MAX = Number.MAX_SAFE_INTEGER;

export type Slot = 0 | 1;

export interface SlotFileOptions {
  readonly path: string;
  /** Fixes the size of a slot: it must be the same whenever the file is opened. */
  readonly contentBytesMax: number;
  /** What all checksums begin with: slots that were written with another seed are damaged ones. */
  readonly crcSeed?: number;
  /**
   * The slot that was synced last, from whoever had the file before in this process. Without it nothing in the file is
   * trusted to be on the medium: a sync that failed before may have left it in the kernel only.
   */
  readonly syncedSlot?: Slot | undefined;
  /** A sync of the file has failed, as whoever had it before found: it takes no second one. */
  readonly hasFailed?: boolean;
  /** To look and not to write: it may be someone else's. */
  readonly isReadOnly?: boolean;
}

export class SlotFile {
  readonly #storage: Storage;
  readonly #path: string;
  readonly #slotBytes: number;
  readonly #contentBytesMax: number;
  readonly #crcSeed: number;
  #file: StorageFile | undefined;
  #content: Buffer | undefined;
  #counter = 0;
  /** Where the content stands, and where one stands that was synced. */
  #slot: Slot | undefined;
  #syncedSlot: Slot | undefined;
  /** A sync of the file has failed, so it takes no second one; or one of its directory, so its name may be gone. */
  #isPoisoned = false;

  /** Reads the file if there is one; the first write makes it. Close it when done. @throws the system's error */
  constructor(storage: Storage, options: SlotFileOptions) {
    this.#storage = storage;
    this.#path = options.path;
    this.#contentBytesMax = options.contentBytesMax;
    this.#crcSeed = options.crcSeed ?? 0;
    this.#slotBytes = slotBytesFor(options.contentBytesMax);
    try {
      this.#file =
        options.isReadOnly === true
          ? storage.open(options.path, "read")
          : openExisting(storage, options.path);
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error;
      return;
    }
    try {
      this.#read(this.#file);
    } catch (error) {
      this.close();
      throw error;
    }
    if (this.#content !== undefined) this.#syncedSlot = options.syncedSlot;
    this.#isPoisoned = options.hasFailed === true;
  }

  /** The newest content that is whole; undefined if there is none. */
  get content(): Buffer | undefined {
    return this.#content;
  }

  /** There is a file, and nothing in it can be trusted. */
  get isDamaged(): boolean {
    return this.#file !== undefined && this.#content === undefined;
  }

  /** Whether the content is known to be on the medium. */
  get isSynced(): boolean {
    return this.#slot !== undefined && this.#slot === this.#syncedSlot;
  }

  /** To be handed on to whoever opens the file next in this process. */
  get syncedSlot(): Slot | undefined {
    return this.#syncedSlot;
  }
  get hasFailed(): boolean {
    return this.#isPoisoned;
  }

  /**
   * In the kernel on return, on the medium after a sync; the first write of a process, and one that follows a failure, is
   * on the medium on return. @throws the system's error; then the old content or this one is found at the next start
   */
  write(content: Uint8Array): void {
    assert(content.length <= this.#contentBytesMax, `slot content of ${content.length} bytes`);
    if (this.#file === undefined || this.#syncedSlot === undefined) this.#renew(content);
    else this.#writeSlot(this.#file, content, otherSlot(this.#syncedSlot));
  }

  /** Makes what was written durable. Does nothing without a file. @throws the system's error; a later call tries again */
  syncNow(): void {
    const file = this.#startSync();
    if (file === undefined) return;
    let error: unknown;
    try {
      file.syncNow();
    } catch (thrown) {
      error = thrown;
    }
    this.#endSync(error);
  }

  /** `syncNow` beside the caller, who writes nothing meanwhile. */
  async sync(): Promise<void> {
    const file = this.#startSync();
    if (file === undefined) return;
    const error = await new Promise<Error | undefined>((resolve) => {
      file.sync(resolve);
    });
    this.#endSync(error);
  }

  close(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  /** Closes and removes the file. @throws the system's error */
  remove(): void {
    if (this.#file === undefined) return;
    this.close();
    this.#storage.unlink(this.#path);
    this.#storage.syncDirectory(path.dirname(this.#path));
  }

  #read(file: StorageFile): void {
    for (const slot of [0, 1] as const) {
      const bytes = Buffer.alloc(this.#slotBytes);
      const length = readFully(file, bytes, slot * this.#slotBytes);
      const found = decodeSlot(bytes.subarray(0, length), this.#crcSeed);
      if (found === undefined || found.counter <= this.#counter) continue;
      this.#counter = found.counter;
      this.#content = found.content;
      this.#slot = slot;
    }
  }

  #writeSlot(file: StorageFile, content: Uint8Array, slot: Slot): void {
    this.#counter += 1;
    assert(this.#counter < COUNTER_MAX, "a slot's counter never comes round");
    const bytes = encodeSlot(content, this.#counter, this.#crcSeed);
    const { error } = writeFully(file, [bytes], slot * this.#slotBytes);
    if (error !== undefined) {
      // What stood in the slot is gone, so that not even the content before this one can be synced there.
      this.#syncedSlot = undefined;
      throw error;
    }
    this.#content = Buffer.from(content);
    this.#slot = slot;
  }

  /** @returns the file to be synced; undefined when everything is done already */
  #startSync(): StorageFile | undefined {
    if (this.#file === undefined || this.#content === undefined) return undefined;
    if (this.#syncedSlot === undefined) this.#renew(this.#content);
    return this.#slot === this.#syncedSlot ? undefined : this.#file;
  }

  #endSync(error: unknown): void {
    if (error === undefined) {
      this.#syncedSlot = this.#slot;
      return;
    }
    // A second sync of the same file would claim success for pages that the first one dropped.
    this.#isPoisoned = true;
    this.#syncedSlot = undefined;
    assert(this.#content !== undefined, "a content to keep");
    this.#renew(this.#content);
  }

  /** `content`, durable, without trust in what the file holds. */
  #renew(content: Uint8Array): void {
    try {
      this.#replace(content);
    } catch (error) {
      if (!isFull(error) || this.#file === undefined || this.#isPoisoned) throw error;
      this.#rewrite(this.#file, content);
    }
  }

  /** A new file with `content` in both slots takes the place of the old one. */
  #replace(content: Uint8Array): void {
    const temporary = `${this.#path}${TEMPORARY_SUFFIX}`;
    removeIfThere(this.#storage, temporary);
    const file = this.#storage.open(temporary, "create");
    try {
      for (const slot of [0, 1] as const) {
        const area = Buffer.alloc(this.#slotBytes);
        encodeSlot(content, this.#counter + 1 + slot, this.#crcSeed).copy(area);
        const { error } = writeFully(file, [area], slot * this.#slotBytes);
        if (error !== undefined) throw error;
      }
      file.syncNow();
      this.#storage.rename(temporary, this.#path);
    } catch (error) {
      file.close();
      tryRemove(this.#storage, temporary);
      throw error;
    }
    this.#file?.close();
    this.#file = file;
    this.#isPoisoned = true;
    this.#counter += 2;
    this.#content = Buffer.from(content);
    this.#slot = 1;
    this.#syncedSlot = undefined;
    this.#storage.syncDirectory(path.dirname(this.#path));
    this.#isPoisoned = false;
    this.#syncedSlot = 1;
  }

  /** Where there is no room for a new file: what counts is written again in its place first, and then `content` beside it. */
  #rewrite(file: StorageFile, content: Uint8Array): void {
    const old = this.#content;
    const slots: [Slot, Uint8Array][] =
      old === undefined || this.#slot === undefined
        ? [
            [0, content],
            [1, content],
          ]
        : [
            [this.#slot, old],
            [otherSlot(this.#slot), content],
          ];
    for (const [slot, bytes] of slots) {
      this.#writeSlot(file, bytes, slot);
      try {
        file.syncNow();
      } catch (error) {
        this.#isPoisoned = true;
        throw error;
      }
    }
    this.#syncedSlot = this.#slot;
  }
}

function slotBytesFor(contentBytesMax: number): number {
  return Math.ceil((HEADER_BYTES + contentBytesMax) / UNIT_BYTES) * UNIT_BYTES;
}

/** One slot, for those who look at a file that may be damaged. */
export interface SlotInspection {
  readonly offset: number;
  /** Undefined unless it is whole. */
  readonly content: Buffer | undefined;
  readonly counter: number;
  readonly isUnwritten: boolean;
}

/** Reads only. @throws the system's error when the file cannot be opened */
export function inspectSlots(
  storage: Storage,
  {
    path: filePath,
    contentBytesMax,
    crcSeed = 0,
  }: Pick<SlotFileOptions, "path" | "contentBytesMax" | "crcSeed">,
): SlotInspection[] {
  const slotBytes = slotBytesFor(contentBytesMax);
  const file = storage.open(filePath, "read");
  try {
    return ([0, 1] as const).map((slot) => {
      const bytes = Buffer.alloc(slotBytes);
      const found = decodeSlot(bytes.subarray(0, readFully(file, bytes, slot * slotBytes)), crcSeed);
      const isUnwritten = bytes.every((byte) => byte === 0);
      return { offset: slot * slotBytes, content: found?.content, counter: found?.counter ?? 0, isUnwritten };
    });
  } finally {
    file.close();
  }
}

function otherSlot(slot: Slot): Slot {
  return slot === 0 ? 1 : 0;
}

function encodeSlot(content: Uint8Array, counter: number, crcSeed: number): Buffer {
  const slot = Buffer.alloc(HEADER_BYTES + content.length);
  slot.writeUInt32LE(content.length, 4);
  writeSafeU64(slot, counter, 8);
  slot.set(content, HEADER_BYTES);
  slot.writeUInt32LE(crc32(slot.subarray(4), crcSeed), 0);
  return slot;
}

function decodeSlot(
  bytes: Buffer,
  crcSeed: number,
): { readonly content: Buffer; readonly counter: number } | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  const end = HEADER_BYTES + bytes.readUInt32LE(4);
  if (end > bytes.length) return undefined;
  if (bytes.readUInt32LE(0) !== crc32(bytes.subarray(4, end), crcSeed)) return undefined;
  const counter = isSafeU64(bytes, 8) ? readSafeU64(bytes, 8) : 0;
  // No writer comes to either end.
  if (counter < 1 || counter > COUNTER_MAX / 2) return undefined;
  return { content: bytes.subarray(HEADER_BYTES, end), counter };
}
