import path from "node:path";
import { crc32 } from "node:zlib";

import { assert } from "../core/assert.ts";
import { systemCode } from "../core/errors.ts";
import { isExhausted } from "./read-refusals.ts";
import { readFully } from "./segment-scanner.ts";
import { writeFully } from "./segment-writer.ts";
import type { Storage } from "./storage.ts";

/**
 * A small file that is replaced as a whole, little-endian:
 *
 *   0 u32 magic "MRDF"   4 u32 version   8 u32 content bytes   12 u32 CRC of all but this field   16 content
 *
 * The CRC may be seeded (stream-seed.ts): read with another seed, the file is a damaged one.
 */
const MAGIC = 0x4644524d;
const VERSION = 1;
const HEADER_BYTES = 16;
const CRC_OFFSET = 12;
const SECTOR_BYTES = 512;
export const DURABLE_FILE_BYTES_MAX = 1024 * 1024;
export const TEMPORARY_SUFFIX = ".tmp";

/**
 * Replaces `filePath`; on return the new content is durable, and at no moment is there anything but the old or the new one.
 * @throws the system's error; the old content then still stands, or the new one does
 */
export function writeDurableFile(storage: Storage, filePath: string, content: Uint8Array, crcSeed = 0): void {
  replaceFile(storage, filePath, encode(content, crcSeed));
}

/** The same for a file that has a layout of its own. Of a try that failed nothing is left to take room. @throws as `writeDurableFile` */
export function replaceFile(storage: Storage, filePath: string, bytes: Uint8Array): void {
  const temporary = `${filePath}${TEMPORARY_SUFFIX}`;
  removeIfThere(storage, temporary);
  const file = storage.open(temporary, "create");
  try {
    try {
      const { error } = writeFully(file, [bytes], 0);
      if (error !== undefined) throw error;
      file.syncNow();
    } finally {
      file.close();
    }
    storage.rename(temporary, filePath);
  } catch (error) {
    tryRemove(storage, temporary);
    throw error;
  }
  storage.syncDirectory(path.dirname(filePath));
}

/**
 * Writes new content of the same size over the old one, for a file within one sector of a medium that has no room for a second one.
 * Durable on return. @throws the system's error, also when there is no such file
 */
export function overwriteDurableFile(storage: Storage, filePath: string, content: Uint8Array): void {
  const bytes = encode(content, 0);
  assert(bytes.length <= SECTOR_BYTES, "a sector is written as a whole or not at all");
  const file = storage.open(filePath, "append");
  try {
    if (file.sizeBytes() !== bytes.length) throw new RangeError(`${filePath} has another size`);
    const { error } = writeFully(file, [bytes], 0);
    if (error !== undefined) throw error;
    file.syncNow();
  } finally {
    file.close();
  }
}

/** What a crash left behind of an earlier try; its content never counted. */
export function removeIfThere(storage: Storage, filePath: string): void {
  try {
    storage.unlink(filePath);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
}

/** Removes what does not count. Where that fails too, whoever makes the file next removes it, or fails and says so. */
export function tryRemove(storage: Storage, filePath: string): void {
  try {
    storage.unlink(filePath);
  } catch {
    // The failure that led here is the one to tell.
  }
}

/** Durable on return, with its name. @returns false when something has that name already @throws the system's error */
export function makeDirectoryIfMissing(storage: Storage, directory: string): boolean {
  try {
    storage.makeDirectory(directory);
    storage.syncDirectory(path.dirname(directory));
    return true;
  } catch (error) {
    if (systemCode(error) !== "EEXIST") throw error;
    return false;
  }
}

/**
 * @returns "missing" when there is no file, "damaged" when its content cannot be trusted: then nothing may be deleted for it
 * @throws the system's error when this process can open no more files
 */
export function readDurableFile(
  storage: Storage,
  filePath: string,
  crcSeed = 0,
): Buffer | "missing" | "damaged" {
  try {
    const file = storage.open(filePath, "read");
    try {
      const sizeBytes = file.sizeBytes();
      if (sizeBytes < HEADER_BYTES || sizeBytes > HEADER_BYTES + DURABLE_FILE_BYTES_MAX) return "damaged";
      const bytes = Buffer.alloc(sizeBytes);
      return readFully(file, bytes, 0) === sizeBytes ? decode(bytes, crcSeed) : "damaged";
    } finally {
      file.close();
    }
  } catch (error) {
    if (isExhausted(error)) throw error;
    return systemCode(error) === "ENOENT" ? "missing" : "damaged";
  }
}

function encode(content: Uint8Array, crcSeed: number): Buffer {
  if (content.length > DURABLE_FILE_BYTES_MAX) {
    throw new RangeError(`durable file of ${content.length} bytes, at most ${DURABLE_FILE_BYTES_MAX}`);
  }
  const bytes = Buffer.alloc(HEADER_BYTES + content.length);
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt32LE(VERSION, 4);
  bytes.writeUInt32LE(content.length, 8);
  bytes.set(content, HEADER_BYTES);
  bytes.writeUInt32LE(crcOf(bytes, crcSeed), CRC_OFFSET);
  return bytes;
}

function decode(bytes: Buffer, crcSeed: number): Buffer | "damaged" {
  const isOurs = bytes.readUInt32LE(0) === MAGIC && bytes.readUInt32LE(4) === VERSION;
  const isWhole = bytes.readUInt32LE(8) === bytes.length - HEADER_BYTES;
  return isOurs && isWhole && bytes.readUInt32LE(CRC_OFFSET) === crcOf(bytes, crcSeed)
    ? bytes.subarray(HEADER_BYTES)
    : "damaged";
}

function crcOf(bytes: Buffer, seed: number): number {
  return crc32(bytes.subarray(HEADER_BYTES), crc32(bytes.subarray(0, CRC_OFFSET), seed));
}
