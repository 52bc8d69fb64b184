import path from "node:path";

import { assert } from "../core/assert.ts";
import { systemError } from "../core/errors.ts";
import { MEMORY_CHUNK_BYTES_MAX, MEMORY_CHUNK_BYTES_MIN } from "../core/limits.ts";
import type { BudgetShare } from "./memory-budget.ts";
import type { Storage, StorageEntry, StorageFile } from "./storage.ts";

/**
 * A file in shared memory. Its first chunk begins with FILE_HEADER_BYTES, whose first word is the length; chunk i holds
 * min(MEMORY_CHUNK_BYTES_MAX, MEMORY_CHUNK_BYTES_MIN * 2^i) bytes, so that a small stream stays small.
 */
const FILE_HEADER_BYTES = 64;
const LENGTH_WORD = 0;
const FILE_BYTES_MAX = 2 ** 31 - 1 - MEMORY_CHUNK_BYTES_MAX;

/** What another thread needs to see the same files. */
export interface SharedFile {
  readonly path: string;
  readonly chunks: readonly SharedArrayBuffer[];
}

export interface SharedMemoryHooks {
  /** A chunk was added; chunks of one file come in order. Whoever keeps them keeps the file past this thread. */
  readonly onChunk?: (path: string, chunkIndex: number, chunk: SharedArrayBuffer) => void;
  readonly onUnlink?: (path: string) => void;
  /** A file has another name now, in place of the file that had it. */
  readonly onRename?: (source: string, target: string) => void;
}

/**
 * Storage in SharedArrayBuffers, for streams that live in memory. One thread writes; others open what they were handed.
 * Directories exist by being named. `sync` has nothing to do and completes in a later microtask.
 */
export class SharedMemoryStorage implements Storage {
  readonly #files = new Map<string, MemoryFile>();
  readonly #directories = new Set<string>();
  readonly #hooks: SharedMemoryHooks;
  readonly #budget: BudgetShare | undefined;

  constructor(
    options: {
      readonly files?: readonly SharedFile[];
      readonly hooks?: SharedMemoryHooks;
      /** Chunks are taken from it; those of `files` were before. */
      readonly budget?: BudgetShare;
    } = {},
  ) {
    this.#hooks = options.hooks ?? {};
    this.#budget = options.budget;
    for (const file of options.files ?? []) {
      for (const [index, chunk] of file.chunks.entries()) this.addChunk(file.path, index, chunk);
    }
  }

  /** Takes over a chunk that another thread made (its `onChunk`). */
  addChunk(filePath: string, chunkIndex: number, chunk: SharedArrayBuffer): void {
    let file = this.#files.get(filePath);
    if (file === undefined) {
      file = this.#newFile(filePath);
      this.#directories.add(path.dirname(filePath));
    }
    file.adopt(chunkIndex, chunk);
  }

  #newFile(filePath: string): MemoryFile {
    const file: MemoryFile = new MemoryFile(
      filePath,
      (index, chunk) => this.#hooks.onChunk?.(file.path, index, chunk),
      this.#budget,
    );
    this.#files.set(filePath, file);
    return file;
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
    return this.#newFile(filePath);
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

  /** Of a directory it is a deletion's commit point: its files keep their chunks and lose their place. */
  rename(source: string, target: string): void {
    const renamed = this.#files.get(source);
    if (renamed !== undefined) {
      this.#budget?.give(this.#files.get(target)?.allocatedBytes ?? 0);
      this.#files.delete(source);
      this.#files.set(target, renamed);
      renamed.path = target;
      this.#hooks.onRename?.(source, target);
      return;
    }
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
    this.#budget?.give(file.allocatedBytes);
    this.#hooks.onUnlink?.(file.path);
  }

  removeDirectory(directory: string): void {
    if (!this.#directories.delete(directory)) throw systemError("ENOENT", `rmdir '${directory}'`);
  }

  identify(place: string): string {
    if (!this.#files.has(place) && !this.#directories.has(place))
      throw systemError("ENOENT", `lstat '${place}'`);
    return place;
  }

  freeBytes(): number {
    return this.#budget?.freeBytes ?? Number.MAX_SAFE_INTEGER;
  }
}

class MemoryFile implements StorageFile {
  path: string;
  readonly #chunks: Uint8Array[] = [];
  readonly #onChunk: (index: number, chunk: SharedArrayBuffer) => void;
  readonly #budget: BudgetShare | undefined;
  #length: Int32Array = new Int32Array(1);
  allocatedBytes = 0;

  constructor(
    filePath: string,
    onChunk: (index: number, chunk: SharedArrayBuffer) => void,
    budget: BudgetShare | undefined,
  ) {
    this.path = filePath;
    this.#onChunk = onChunk;
    this.#budget = budget;
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
    this.#budget?.take(chunkBytes(index));
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
  return Math.min(MEMORY_CHUNK_BYTES_MAX, MEMORY_CHUNK_BYTES_MIN * 2 ** index);
}
