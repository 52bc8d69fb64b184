import path from "node:path";

import { QUARANTINE_STREAM_BYTES_MAX, REWRITE_FREE_BYTES_MIN } from "../core/limits.ts";
import { announcedBlockBytes } from "./block-layout.ts";
import { makeDirectoryIfMissing, removeIfThere } from "./durable-file.ts";
import { isExhausted } from "./read-refusals.ts";
import { readFully } from "./segment-scanner.ts";
import { writeFully } from "./segment-writer.ts";
import type { Storage } from "./storage.ts";
import type { RecoveredTail } from "./tail-recovery.ts";

export interface QuarantineOptions {
  readonly storage: Storage;
  /** Of this stream, beside those of others; made when there is something to keep. */
  readonly directory: string;
  /** The store's start counter: pieces of later starts have later names. */
  readonly epoch: number;
  /** To be kept free by whatever can do without room. */
  readonly freeBytesMin: number;
}

/** Bytes of a segment file that are about to be cut off or written over. */
export interface QuarantinedPiece {
  readonly filePath: string;
  readonly position: number;
  readonly bytes: Buffer;
}

/**
 * Where a stream's recovery puts what it takes out of segment files, for people to look at: `<start>-<segment>-<position>.bytes`.
 * At most QUARANTINE_STREAM_BYTES_MAX, the oldest go first. Nothing depends on it: without room, or where it cannot be written,
 * the piece is not kept, and the start goes on.
 */
export class Quarantine {
  readonly #options: QuarantineOptions;
  /** What was kept, relative to the store. */
  readonly kept: string[] = [];

  constructor(options: QuarantineOptions) {
    this.#options = options;
  }

  keep(piece: QuarantinedPiece): void {
    const bytes = piece.bytes.subarray(0, QUARANTINE_STREAM_BYTES_MAX);
    if (bytes.every((byte) => byte === 0)) return;
    try {
      if (this.#hasRoom(bytes.length)) this.#write(this.#nameOf(piece), bytes);
    } catch (error) {
      if (isExhausted(error)) throw error;
      // A damaged store is served all the same.
    }
  }

  /** What a torn tail holds beyond the beginning of a block that was being written. */
  keepTail({ file, resume: { position }, mustTruncate }: RecoveredTail): void {
    if (!mustTruncate) return;
    const sizeBytes = file.sizeBytes() - position;
    const bytes = Buffer.alloc(Math.min(sizeBytes, QUARANTINE_STREAM_BYTES_MAX));
    const tail = bytes.subarray(0, readFully(file, bytes, position));
    const announced = announcedBlockBytes(tail);
    const isIncomplete = announced !== undefined && announced > sizeBytes;
    if (!isIncomplete) this.keep({ filePath: file.path, position, bytes: tail });
  }

  #nameOf({ filePath, position }: QuarantinedPiece): string {
    const epoch = String(this.#options.epoch).padStart(10, "0");
    const segment = path.basename(filePath, ".lz4");
    return `${epoch}-${segment}-${String(position).padStart(12, "0")}.bytes`;
  }

  #hasRoom(sizeBytes: number): boolean {
    const { storage, directory, freeBytesMin } = this.#options;
    const store = path.dirname(path.dirname(directory));
    return storage.freeBytes(store) >= sizeBytes + Math.max(freeBytesMin, REWRITE_FREE_BYTES_MIN);
  }

  #write(name: string, bytes: Buffer): void {
    const { storage, directory } = this.#options;
    makeDirectoryIfMissing(storage, path.dirname(directory));
    makeDirectoryIfMissing(storage, directory);
    const filePath = path.join(directory, name);
    // The same start may come here twice, when a worker takes over from a dead one.
    removeIfThere(storage, filePath);
    this.#makeRoom(bytes.length);
    const file = storage.open(filePath, "create");
    try {
      const { error } = writeFully(file, [bytes], 0);
      if (error !== undefined) throw error;
      file.syncNow();
    } catch (error) {
      storage.unlink(filePath);
      throw error;
    } finally {
      file.close();
    }
    storage.syncDirectory(directory);
    this.kept.push(path.join(path.basename(path.dirname(directory)), path.basename(directory), name));
  }

  #makeRoom(sizeBytes: number): void {
    const { storage, directory } = this.#options;
    const pieces = listPieces(storage, directory).map((name) => {
      const filePath = path.join(directory, name);
      return { filePath, sizeBytes: sizeOf(storage, filePath) };
    });
    let total = pieces.reduce((sum, piece) => sum + piece.sizeBytes, sizeBytes);
    for (const piece of pieces) {
      if (total <= QUARANTINE_STREAM_BYTES_MAX) return;
      storage.unlink(piece.filePath);
      total -= piece.sizeBytes;
    }
  }
}

const PIECE_NAME = /^\d{10,}-\d{20}-\d{4}-\d{12,}\.bytes$/;

export function isPieceName(name: string): boolean {
  return PIECE_NAME.test(name);
}

/** Oldest first; what else lies there is not ours. */
function listPieces(storage: Storage, directory: string): string[] {
  return storage
    .list(directory)
    .flatMap(({ name, kind }) => (kind === "file" && isPieceName(name) ? [name] : []))
    .sort();
}

function sizeOf(storage: Storage, filePath: string): number {
  const file = storage.open(filePath, "read");
  try {
    return file.sizeBytes();
  } finally {
    file.close();
  }
}

/** Of a stream that is deleted. What cannot be removed is no reason to keep the stream. */
export function removeQuarantine(storage: Storage, directory: string): void {
  try {
    for (const name of listPieces(storage, directory)) storage.unlink(path.join(directory, name));
    storage.removeDirectory(directory);
  } catch {
    // Never made, or somebody's own files lie there.
  }
}
