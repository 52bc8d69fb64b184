import path from "node:path";
import { crc32 } from "node:zlib";

import { assert } from "../core/assert.ts";
import { systemCode } from "../core/errors.ts";
import { readSafeU64, writeSafeU64 } from "./segment-layout.ts";
import { readFully } from "./segment-scanner.ts";
import { writeFully } from "./segment-writer.ts";
import type { Storage, StorageFile } from "./storage.ts";

/**
 * A small value that is written often: two slots of SLOT_BYTES. One holds the last value that was synced and is left alone
 * until the other has been synced, so that no crash costs both. Each lies on a unit of its own, since a power cut may
 * destroy the unit that is being written. Little-endian:
 *
 *   0 u32 magic "MRSL"   4 u32 CRC of the rest of the slot   8 u64 counter   16 u32 content bytes   20 content, zeros
 */
const MAGIC = 0x4c53524d;
const HEADER_BYTES = 20;
const SLOT_BYTES = 4096;
export const SLOT_CONTENT_BYTES_MAX = SLOT_BYTES - HEADER_BYTES;

/** Holds its file open. After a failed sync the file is abandoned for a new one: see `sync`. */
export class SlotFile {
  readonly #storage: Storage;
  readonly #path: string;
  #file: StorageFile;
  #counter: number;
  #value: Buffer | undefined;
  /** The slot that the next write goes to. */
  #target: 0 | 1 = 0;
  #isDirty = false;

  private constructor(storage: Storage, filePath: string, file: StorageFile) {
    this.#storage = storage;
    this.#path = filePath;
    this.#file = file;
    const area = Buffer.alloc(2 * SLOT_BYTES);
    const count = readFully(file, area, 0);
    const slots = [0, SLOT_BYTES].map((at) =>
      decodeSlot(area.subarray(at, Math.min(count, at + SLOT_BYTES))),
    );
    let newest: Slot | undefined;
    for (const slot of slots) if (slot !== undefined && slot.counter >= (newest?.counter ?? 0)) newest = slot;
    this.#counter = newest?.counter ?? 0;
    this.#value = newest?.content;
  }

  /** Opens or makes the file; its name and its value are durable on return. @throws the system's error */
  static open(storage: Storage, filePath: string): SlotFile {
    let file: StorageFile;
    try {
      file = storage.open(filePath, "append");
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error;
      file = storage.open(filePath, "create");
    }
    try {
      file.syncNow();
      storage.syncDirectory(path.dirname(filePath));
    } catch (error) {
      file.close();
      throw error;
    }
    return new SlotFile(storage, filePath, file);
  }

  /** The newest value that was written whole; undefined if there is none. */
  get value(): Buffer | undefined {
    return this.#value;
  }

  /** Writes a value beside the last synced one; in the kernel on return, on the medium after `sync`. @throws the system's error */
  write(content: Uint8Array): void {
    const counter = this.#counter + 1;
    const { error } = writeFully(this.#file, [encodeSlot(counter, content)], this.#target * SLOT_BYTES);
    if (error !== undefined) throw error;
    this.#counter = counter;
    this.#value = Buffer.from(content);
    this.#isDirty = true;
  }

  /** Makes the last value durable. @throws the system's error; then call `replace`, never `sync` again on the same file */
  syncNow(): void {
    if (!this.#isDirty) return;
    this.#file.syncNow();
    this.#isDirty = false;
    this.#target = this.#target === 0 ? 1 : 0;
  }

  /** After a failed sync: the same value in a new file under the same name, durable on return. @throws the system's error */
  replace(): void {
    const temporary = `${this.#path}.tmp`;
    try {
      this.#storage.unlink(temporary);
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error;
    }
    const file = this.#storage.open(temporary, "create");
    try {
      if (this.#value !== undefined) {
        const slot = encodeSlot(this.#counter, this.#value);
        const { error } = writeFully(file, [slot], 0);
        if (error !== undefined) throw error;
      }
      file.syncNow();
      this.#storage.rename(temporary, this.#path);
      this.#storage.syncDirectory(path.dirname(this.#path));
    } catch (error) {
      file.close();
      throw error;
    }
    this.#file.close();
    this.#file = file;
    this.#target = 1;
    this.#isDirty = false;
  }

  close(): void {
    this.#file.close();
  }
}

interface Slot {
  readonly counter: number;
  readonly content: Buffer;
}

function encodeSlot(counter: number, content: Uint8Array): Buffer {
  assert(content.length <= SLOT_CONTENT_BYTES_MAX, `slot of ${content.length} bytes`);
  const slot = Buffer.alloc(SLOT_BYTES);
  slot.writeUInt32LE(MAGIC, 0);
  writeSafeU64(slot, counter, 8);
  slot.writeUInt32LE(content.length, 16);
  slot.set(content, HEADER_BYTES);
  slot.writeUInt32LE(crc32(slot.subarray(8)), 4);
  return slot;
}

function decodeSlot(slot: Buffer): Slot | undefined {
  if (slot.length !== SLOT_BYTES || slot.readUInt32LE(0) !== MAGIC) return undefined;
  if (slot.readUInt32LE(4) !== crc32(slot.subarray(8))) return undefined;
  const sizeBytes = slot.readUInt32LE(16);
  if (sizeBytes > SLOT_CONTENT_BYTES_MAX) return undefined;
  return {
    counter: readSafeU64(slot, 8),
    content: Buffer.from(slot.subarray(HEADER_BYTES, HEADER_BYTES + sizeBytes)),
  };
}
