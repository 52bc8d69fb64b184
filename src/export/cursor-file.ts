/**
 * One exporter's cursor on disk: two slots, each on a unit of its own since a power cut may destroy the unit being written.
 *
 *   0  u32 CRC-32 of the rest of the slot   4  u32 zero   8  u64 counter   16  cursor (cursor-layout.ts), then zeros
 *
 * The valid slot with the higher counter holds; with none the exporter begins again: duplicates, never loss. One slot holds
 * the last value that was synced and is left alone until the other was synced. Export workers have the file in turns, so
 * the main thread remembers which slot is to be written and hands it on with the task.
 */
import path from "node:path";
import { crc32 } from "node:zlib";
import { assert } from "../core/assert.ts";
import { systemCode } from "../core/errors.ts";
import { readFully } from "../log/segment-scanner.ts";
import { writeFully } from "../log/segment-writer.ts";
import type { Storage, StorageFile } from "../log/storage.ts";
import { CURSOR_SIZE_BYTES, decodeCursor, encodeCursor, type CursorRecord } from "./cursor-layout.ts";
import type { CursorPlace, CursorSlot } from "./export-channel.ts";

const SLOT_SIZE_BYTES = 4096;
const HEADER_SIZE_BYTES = 16;

assert(HEADER_SIZE_BYTES + CURSOR_SIZE_BYTES <= SLOT_SIZE_BYTES, "a cursor fits its slot");

const SUFFIX = ".cursor";

/**
 * The end of what the exporters of a stream have settled: messages below it were durable once, so a log that ends below it
 * has lost some. 0 if there is no exporter that got anywhere.
 */
export function exportedEndSequence(storage: Storage, streamDirectory: string): number {
  let end = 0;
  let names: string[];
  try {
    names = storage.list(path.join(streamDirectory, "exporters")).map(({ name }) => name);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return 0;
    throw error;
  }
  for (const name of names) {
    if (!name.endsWith(SUFFIX)) continue;
    const file = new CursorFile(storage, { streamDirectory, exporterId: name.slice(0, -SUFFIX.length) });
    file.close();
    const { record } = file;
    // A position that still stands at its configured start shows nothing: the start may lie beyond the log.
    if (record !== undefined && record.position > record.startSequence) end = Math.max(end, record.position);
  }
  return end;
}

export function otherSlot(slot: CursorSlot): CursorSlot {
  return slot === 0 ? 1 : 0;
}

export class CursorFile {
  readonly #storage: Storage;
  readonly #directory: string;
  readonly #path: string;
  #file: StorageFile | undefined;
  #counter = 0;
  #record: CursorRecord | undefined;
  #slot: CursorSlot | undefined;

  /** Reads the file if there is one; the first write makes it. Close it when done. @throws the system's error */
  constructor(storage: Storage, { streamDirectory, exporterId }: CursorPlace) {
    this.#storage = storage;
    this.#directory = path.join(streamDirectory, "exporters");
    this.#path = path.join(this.#directory, `${exporterId}${SUFFIX}`);
    try {
      this.#file = storage.open(this.#path, "append");
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error;
      return;
    }
    this.#readSlots(this.#file);
  }

  /** The newest valid record; undefined if there is none. */
  get record(): CursorRecord | undefined {
    return this.#record;
  }

  /** Where the newest valid record stands. */
  get slot(): CursorSlot | undefined {
    return this.#slot;
  }

  /** In the kernel on return, on the medium after `sync`. @throws the system's error */
  write(record: CursorRecord, slot: CursorSlot): void {
    const file = this.#file ?? this.#create();
    const counter = this.#counter + 1;
    const { error } = writeFully(file, [encodeSlot(record, counter)], slot * SLOT_SIZE_BYTES);
    if (error !== undefined) throw error;
    this.#counter = counter;
    this.#record = record;
    this.#slot = slot;
  }

  /** Makes what was written durable, beside the caller. Does nothing without a file. */
  async sync(): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    const error = await new Promise<Error | undefined>((resolve) => {
      file.sync(resolve);
    });
    // A second sync of the same file would claim success for pages that the first one dropped.
    if (error !== undefined) this.#replace();
  }

  close(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  /** Closes and removes the file. */
  remove(): void {
    if (this.#file === undefined) return;
    this.close();
    this.#storage.unlink(this.#path);
    this.#storage.syncDirectory(this.#directory);
  }

  #create(): StorageFile {
    try {
      this.#storage.makeDirectory(this.#directory);
      this.#storage.syncDirectory(path.dirname(this.#directory));
    } catch (error) {
      if (systemCode(error) !== "EEXIST") throw error;
    }
    this.#file = this.#storage.open(this.#path, "create");
    this.#storage.syncDirectory(this.#directory);
    return this.#file;
  }

  /** The same record in the same slot of a new file, durable on return. */
  #replace(): void {
    assert(
      this.#file !== undefined && this.#record !== undefined && this.#slot !== undefined,
      "a record to keep",
    );
    const temporary = `${this.#path}.tmp`;
    try {
      this.#storage.unlink(temporary);
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error;
    }
    const file = this.#storage.open(temporary, "create");
    try {
      const slot = encodeSlot(this.#record, this.#counter);
      const { error } = writeFully(file, [slot], this.#slot * SLOT_SIZE_BYTES);
      if (error !== undefined) throw error;
      file.syncNow();
      this.#storage.rename(temporary, this.#path);
      this.#storage.syncDirectory(this.#directory);
    } catch (error) {
      file.close();
      throw error;
    }
    this.#file.close();
    this.#file = file;
  }

  #readSlots(file: StorageFile): void {
    for (const slot of [0, 1] as const) {
      const bytes = Buffer.alloc(SLOT_SIZE_BYTES);
      if (readFully(file, bytes, slot * SLOT_SIZE_BYTES) < bytes.length) continue;
      if (bytes.readUInt32LE(0) !== crc32(bytes.subarray(4))) continue;
      const counter = Number(bytes.readBigUInt64LE(8));
      const record = decodeCursor(bytes.subarray(HEADER_SIZE_BYTES));
      if (record === undefined || counter <= this.#counter) continue;
      this.#counter = counter;
      this.#record = record;
      this.#slot = slot;
    }
  }
}

function encodeSlot(record: CursorRecord, counter: number): Buffer {
  const slot = Buffer.alloc(SLOT_SIZE_BYTES);
  slot.writeBigUInt64LE(BigInt(counter), 8);
  encodeCursor(record).copy(slot, HEADER_SIZE_BYTES);
  slot.writeUInt32LE(crc32(slot.subarray(4)), 0);
  return slot;
}
