import path from "node:path";

import { assert } from "../core/assert.ts";
import type { Storage, StorageEntry, StorageFile } from "./storage.ts";

/**
 * A file in shared memory. Its first chunk begins with FILE_HEADER_BYTES, whose first word is the length; chunk i holds
 * min(CHUNK_BYTES_MAX, CHUNK_BYTES_MIN * 2^i) bytes, so that a small stream stays small.
 */
const CHUNK_BYTES_MIN = 64 * 1024;
const CHUNK_BYTES_MAX = 1024 * 1024;
const FILE_HEADER_BYTES = 64;
const LENGTH_WORD = 0;
const FILE_BYTES_MAX = 2 ** 31 - 1 - CHUNK_BYTES_MAX;

/** What another thread needs to see the same files. */
export interface SharedFile {
  readonly path: string;
  readonly chunks: readonly SharedArrayBuffer[];
}

export interface SharedMemoryHooks {
  /** A chunk was added; chunks of one file come in order. Whoever keeps them keeps the file past this thread. */
  readonly onChunk?: (path: string, chunkIndex: number, chunk: SharedArrayBuffer) => void;
  readonly onUnlink?: (path: string) => void;
}

/**
 * Storage in SharedArrayBuffers, for streams that live in memory. One thread writes; others open what they were handed.
 * Directories exist by being named. `sync` has nothing to do and completes in a later microtask.
 */
export class SharedMemoryStorage implements Storage {
  readonly #files = new Map<string, MemoryFile>();
  readonly #directories = new Set<string>();
  readonly #hooks: SharedMemoryHooks;
  readonly #bytesMax: number;

  constructor(
    options: {
      readonly files?: readonly SharedFile[];
      readonly hooks?: SharedMemoryHooks;
      /** What all files together may take. */
      readonly bytesMax?: number;
    } = {},
  ) {
    this.#hooks = options.hooks ?? {};
    this.#bytesMax = options.bytesMax ?? Number.MAX_SAFE_INTEGER;
    for (const file of options.files ?? []) {
      for (const [index, chunk] of file.chunks.entries()) this.addChunk(file.path, index, chunk);
    }
  }

  /** Takes over a chunk that another thread made (its `onChunk`). */
  addChunk(filePath: string, chunkIndex: number, chunk: SharedArrayBuffer): void {
    let file = this.#files.get(filePath);
    if (file === undefined) {
      file = new MemoryFile(filePath, (index, made) => this.#hooks.onChunk?.(filePath, index, made), this);
      this.#files.set(filePath, file);
      this.#directories.add(path.dirname(filePath));
    }
    file.adopt(chunkIndex, chunk);
  }

  /** Forgets a file that another thread unlinked (its `onUnlink`). */
  removeFile(filePath: string): void {
    this.#files.delete(filePath);
  }

  get allocatedBytes(): number {
    let sum = 0;
    for (const file of this.#files.values()) sum += file.allocatedBytes;
    return sum;
  }

  open(filePath: string, mode: "create" | "append" | "read"): StorageFile {
    const known = this.#files.get(filePath);
    if (mode !== "create") {
      if (known === undefined) throw systemError("ENOENT", `open '${filePath}'`);
      return known;
    }
    if (known !== undefined) throw systemError("EEXIST", `open '${filePath}'`);
    const file = new MemoryFile(
      filePath,
      (index, chunk) => this.#hooks.onChunk?.(filePath, index, chunk),
      this,
    );
    this.#files.set(filePath, file);
    return file;
  }

  list(directory: string): StorageEntry[] {
    const entries: StorageEntry[] = [];
    for (const filePath of this.#files.keys()) {
      if (path.dirname(filePath) === directory) entries.push({ name: path.basename(filePath), kind: "file" });
    }
    for (const child of this.#directories) {
      if (child !== directory && path.dirname(child) === directory) {
        entries.push({ name: path.basename(child), kind: "directory" });
      }
    }
    if (entries.length === 0 && !this.#directories.has(directory)) {
      throw systemError("ENOENT", `scandir '${directory}'`);
    }
    return entries;
  }

  makeDirectory(directory: string): void {
    if (this.#directories.has(directory)) throw systemError("EEXIST", `mkdir '${directory}'`);
    this.#directories.add(directory);
  }

  syncDirectory(): void {
    // Memory has no medium behind it.
  }

  /** Of directories only: a deletion's commit point. The files keep their chunks and lose their place. */
  rename(source: string, target: string): void {
    if (!this.#directories.delete(source)) throw systemError("ENOENT", `rename '${source}'`);
    this.#directories.add(target);
    for (const [filePath, file] of [...this.#files]) {
      if (path.dirname(filePath) !== source) continue;
      this.#files.delete(filePath);
      this.#files.set(path.join(target, path.basename(filePath)), file);
    }
  }

  unlink(filePath: string): void {
    const file = this.#files.get(filePath);
    if (file === undefined) throw systemError("ENOENT", `unlink '${filePath}'`);
    this.#files.delete(filePath);
    this.#hooks.onUnlink?.(file.path);
  }

  removeDirectory(directory: string): void {
    if (!this.#directories.delete(directory)) throw systemError("ENOENT", `rmdir '${directory}'`);
  }

  freeBytes(): number {
    return this.#bytesMax - this.allocatedBytes;
  }
}

class MemoryFile implements StorageFile {
  readonly path: string;
  readonly #chunks: Uint8Array[] = [];
  readonly #onChunk: (index: number, chunk: SharedArrayBuffer) => void;
  readonly #owner: SharedMemoryStorage;
  #length: Int32Array = new Int32Array(1);
  allocatedBytes = 0;

  constructor(
    filePath: string,
    onChunk: (index: number, chunk: SharedArrayBuffer) => void,
    owner: SharedMemoryStorage,
  ) {
    this.path = filePath;
    this.#onChunk = onChunk;
    this.#owner = owner;
  }

  adopt(index: number, chunk: SharedArrayBuffer): void {
    assert(index === this.#chunks.length, `chunk ${index} of "${this.path}" after ${this.#chunks.length}`);
    assert(chunk.byteLength === chunkBytes(index), `chunk ${index} has ${chunk.byteLength} bytes`);
    this.#chunks.push(new Uint8Array(chunk));
    this.allocatedBytes += chunk.byteLength;
    if (index === 0) this.#length = new Int32Array(chunk, 0, 1);
  }

  #grow(): void {
    const index = this.#chunks.length;
    if (this.#owner.freeBytes() < chunkBytes(index)) throw systemError("ENOSPC", "write");
    const chunk = new SharedArrayBuffer(chunkBytes(index));
    this.adopt(index, chunk);
    this.#onChunk(index, chunk);
  }

  write(buffers: readonly Uint8Array[], position: number): number {
    let sizeBytes = 0;
    for (const buffer of buffers) sizeBytes += buffer.length;
    if (position + sizeBytes > FILE_BYTES_MAX) throw systemError("EFBIG", "write");
    while (FILE_HEADER_BYTES + position + sizeBytes > this.allocatedBytes) this.#grow();
    let at = position;
    for (const buffer of buffers) {
      this.#eachPart(at, buffer.length, (part, offset) => {
        part.set(buffer.subarray(offset, offset + part.length));
      });
      at += buffer.length;
    }
    // Stored after the bytes: a reader that sees the length sees what it covers.
    if (at > this.sizeBytes()) Atomics.store(this.#length, LENGTH_WORD, at);
    return sizeBytes;
  }

  read(target: Uint8Array, position: number): number {
    const end = Math.min(position + target.length, this.sizeBytes(), this.allocatedBytes - FILE_HEADER_BYTES);
    if (position >= end) return 0;
    this.#eachPart(position, end - position, (part, offset) => {
      target.set(part, offset);
    });
    return end - position;
  }

  /** The parts of the chunks that hold [position, position + sizeBytes), each with its offset from `position`. */
  #eachPart(position: number, sizeBytes: number, visit: (part: Uint8Array, offset: number) => void): void {
    let chunkStart = -FILE_HEADER_BYTES;
    for (const chunk of this.#chunks) {
      const from = Math.max(position, chunkStart);
      const to = Math.min(position + sizeBytes, chunkStart + chunk.length);
      if (from < to) visit(chunk.subarray(from - chunkStart, to - chunkStart), from - position);
      chunkStart += chunk.length;
      if (chunkStart >= position + sizeBytes) return;
    }
  }

  sync(done: (error: Error | undefined) => void): void {
    queueMicrotask(() => {
      done(undefined);
    });
  }

  syncNow(): void {
    // Memory has no medium behind it.
  }

  truncate(sizeBytes: number): void {
    Atomics.store(this.#length, LENGTH_WORD, sizeBytes);
  }

  sizeBytes(): number {
    return Atomics.load(this.#length, LENGTH_WORD);
  }

  close(): void {
    // The memory belongs to the storage.
  }
}

function chunkBytes(index: number): number {
  return Math.min(CHUNK_BYTES_MAX, CHUNK_BYTES_MIN * 2 ** index);
}

function systemError(code: string, call: string): Error {
  return Object.assign(new Error(`${code}: ${call}`), { code });
}
