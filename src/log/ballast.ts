import path from "node:path";

import { systemCode } from "../core/errors.ts";
import { BALLAST_BYTES, BALLAST_CHECK_MS, BALLAST_SLICE_BYTES, BALLAST_STEP_MS } from "../core/limits.ts";
import type { Timers } from "../core/timers.ts";
import { isFull } from "./append-refusals.ts";
import { removeIfThere, TEMPORARY_SUFFIX } from "./durable-file.ts";
import { writeFully } from "./segment-writer.ts";
import type { Storage, StorageFile } from "./storage.ts";

/**
 * `<store>/ballast`: written zeros. Where the medium has no room left for a definition, a cursor or an account, the file is
 * given up, and the write is done again in its place. Messages never get that room: they may be refused, these may not.
 */
export function ballastPath(storeDirectory: string): string {
  return path.join(storeDirectory, "ballast");
}

/** Segments, finished or not, and what recovery keeps of damaged ones: whatever grows with the messages. */
function isBulk(filePath: string): boolean {
  return /\.lz4(\.|$)|\/quarantine\//.test(filePath);
}

/** The storage for everyone who writes in the store: its small files can be written for as long as there is a ballast. */
export function withBallast(storage: Storage, storeDirectory: string): Storage {
  const ballast = ballastPath(storeDirectory);
  const attempt = <Result>(action: () => Result): Result => {
    try {
      return action();
    } catch (error) {
      if (!isFull(error)) throw error;
      // Once more even where there is none: another thread may have given it up this moment.
      giveUp(storage, ballast);
      return action();
    }
  };
  return {
    open: (filePath, mode) => {
      if (mode === "read" || isBulk(filePath)) return storage.open(filePath, mode);
      return new SmallFile(
        attempt(() => storage.open(filePath, mode)),
        { attempt, giveUp: () => giveUp(storage, ballast) },
      );
    },
    list: (directory) => storage.list(directory),
    makeDirectory: (directory) => attempt(() => storage.makeDirectory(directory)),
    syncDirectory: (directory) => storage.syncDirectory(directory),
    rename: (source, target) => attempt(() => storage.rename(source, target)),
    unlink: (filePath) => storage.unlink(filePath),
    removeDirectory: (directory) => storage.removeDirectory(directory),
    identify: (place) => storage.identify(place),
    freeBytes: (directory) => storage.freeBytes(directory),
  };
}

function giveUp(storage: Storage, ballast: string): void {
  try {
    storage.unlink(ballast);
    // A journal hands the room out once it has committed the unlink.
    storage.syncDirectory(path.dirname(ballast));
  } catch {
    // There is none, or it cannot be removed: the caller's own failure says what is wrong.
  }
}

interface Rescue {
  readonly attempt: <Result>(action: () => Result) => Result;
  readonly giveUp: () => void;
}

class SmallFile implements StorageFile {
  readonly #file: StorageFile;
  readonly #rescue: Rescue;

  constructor(file: StorageFile, rescue: Rescue) {
    this.#file = file;
    this.#rescue = rescue;
  }

  get path(): string {
    return this.#file.path;
  }

  write(buffers: readonly Uint8Array[], position: number): number {
    return this.#rescue.attempt(() => this.#file.write(buffers, position));
  }

  read(target: Uint8Array, position: number): number {
    return this.#file.read(target, position);
  }

  /** A failed sync is never repeated, whatever it failed of: room is made for the caller's next file. */
  sync(done: (error: Error | undefined) => void): void {
    this.#file.sync((error) => {
      if (isFull(error)) this.#rescue.giveUp();
      done(error);
    });
  }

  syncNow(): void {
    try {
      this.#file.syncNow();
    } catch (error) {
      if (isFull(error)) this.#rescue.giveUp();
      throw error;
    }
  }

  truncate(sizeBytes: number): void {
    this.#rescue.attempt(() => this.#file.truncate(sizeBytes));
  }

  sizeBytes(): number {
    return this.#file.sizeBytes();
  }

  close(): void {
    this.#file.close();
  }
}

export interface BallastOptions {
  /** The plain one. */
  readonly storage: Storage;
  readonly storeDirectory: string;
  readonly timers: Timers;
  /** BALLAST_BYTES if it is not given. */
  readonly sizeBytes?: number;
  /** Kept free on the disk: the ballast is not made of that. */
  readonly freeBytesMin?: number;
  /** It was there and is gone: some small file needed its room. */
  readonly onGone: () => void;
  readonly onMade: () => void;
}

interface Making {
  readonly file: StorageFile;
  /** Made once: buffers beside the heap are garbage that V8 leaves lying for long. */
  readonly zeros: Uint8Array;
  sizeBytes: number;
  isSyncing: boolean;
}

/** Makes the ballast, and makes it again when there is room for it twice; in small steps, so that a slow medium delays nobody. */
export class Ballast {
  readonly #options: BallastOptions;
  readonly #path: string;
  readonly #sizeBytes: number;
  #making: Making | undefined;
  #isThere = false;
  #cancelTimer: () => void = () => undefined;

  constructor(options: BallastOptions) {
    this.#options = options;
    this.#path = ballastPath(options.storeDirectory);
    this.#sizeBytes = options.sizeBytes ?? BALLAST_BYTES;
  }

  get sizeBytes(): number {
    return this.#isThere ? this.#sizeBytes : 0;
  }

  /** Sees to it from now on. */
  start(): void {
    this.#step();
  }

  /** Lets go of a file in the making. */
  close(): void {
    this.#cancelTimer();
    this.#abandon();
  }

  #step(): void {
    try {
      if (this.#making !== undefined) this.#writeSlice(this.#making);
      else if (!this.#look() && this.#hasRoom()) this.#begin();
    } catch {
      // Looked after again at the next step; until then the store has what room there is.
      this.#abandon();
    }
    const delayMs = this.#making === undefined ? BALLAST_CHECK_MS : BALLAST_STEP_MS;
    this.#cancelTimer = this.#options.timers.setTimer(() => this.#step(), delayMs);
  }

  /** @returns whether the ballast is there. */
  #look(): boolean {
    const wasThere = this.#isThere;
    this.#isThere = sizeOf(this.#options.storage, this.#path) === this.#sizeBytes;
    if (wasThere && !this.#isThere) this.#options.onGone();
    return this.#isThere;
  }

  #hasRoom(): boolean {
    const { storage, storeDirectory, freeBytesMin = 0 } = this.#options;
    return storage.freeBytes(storeDirectory) >= this.#sizeBytes + Math.max(this.#sizeBytes, freeBytesMin);
  }

  get #temporary(): string {
    return `${this.#path}${TEMPORARY_SUFFIX}`;
  }

  #begin(): void {
    removeIfThere(this.#options.storage, this.#temporary);
    const file = this.#options.storage.open(this.#temporary, "create");
    const zeros = new Uint8Array(Math.min(BALLAST_SLICE_BYTES, this.#sizeBytes));
    this.#making = { file, zeros, sizeBytes: 0, isSyncing: false };
  }

  #writeSlice(making: Making): void {
    if (making.isSyncing) return;
    const slice = making.zeros.subarray(0, this.#sizeBytes - making.sizeBytes);
    const { error } = writeFully(making.file, [slice], making.sizeBytes);
    if (error !== undefined) throw error;
    making.sizeBytes += slice.length;
    if (making.sizeBytes < this.#sizeBytes) return;
    making.isSyncing = true;
    making.file.sync((failure) => {
      if (this.#making === making) this.#finish(making.file, failure);
    });
  }

  /** Under its own name only once its blocks are on the medium: a promise of room would not be room. */
  #finish(file: StorageFile, failure: Error | undefined): void {
    if (failure !== undefined) {
      this.#abandon();
      return;
    }
    const { storage, onMade } = this.#options;
    this.#making = undefined;
    file.close();
    try {
      // Its name is not synced, which would hold this thread for as long as the device does: a start that misses it makes it again.
      storage.rename(this.#temporary, this.#path);
    } catch {
      // The next look finds what there is.
      return;
    }
    this.#isThere = true;
    onMade();
  }

  #abandon(): void {
    if (this.#making === undefined) return;
    this.#making.file.close();
    this.#making = undefined;
    try {
      removeIfThere(this.#options.storage, this.#temporary);
    } catch {
      // The next beginning removes it, or fails and says so.
    }
  }
}

function sizeOf(storage: Storage, filePath: string): number | undefined {
  let file: StorageFile;
  try {
    file = storage.open(filePath, "read");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
  try {
    return file.sizeBytes();
  } finally {
    file.close();
  }
}
