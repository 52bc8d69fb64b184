import fs from "node:fs";
import path from "node:path";

import type { FileFacts, Storage, StorageEntry, StorageFile } from "./storage.ts";

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } = fs.constants;
const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;

// O_NONBLOCK: a FIFO that someone planted under a segment's name must not hang the thread.
const openFlags = {
  create: O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW,
  append: O_RDWR | O_NOFOLLOW | O_NONBLOCK,
  read: O_RDONLY | O_NOFOLLOW | O_NONBLOCK,
} as const;

/** The machine's file system. */
export const fileStorage: Storage = {
  open(filePath, mode) {
    const descriptor = fs.openSync(filePath, openFlags[mode], FILE_MODE);
    try {
      const stat = fs.fstatSync(descriptor);
      if (!stat.isFile() || stat.nlink !== 1) throw refused(filePath, "not a regular file with one name");
      if (!belongsHere(filePath, stat.uid)) throw refused(filePath, "a file of another user");
    } catch (error) {
      fs.closeSync(descriptor);
      throw error;
    }
    return new DescriptorFile(filePath, descriptor);
  },

  list(directory) {
    return fs.readdirSync(directory, { withFileTypes: true }).map((entry): StorageEntry => {
      const kind = entry.isFile() ? "file" : entry.isDirectory() ? "directory" : "other";
      return { name: entry.name, kind };
    });
  },

  makeDirectory(directory) {
    fs.mkdirSync(directory, { mode: DIRECTORY_MODE });
  },

  syncDirectory(directory) {
    const descriptor = fs.openSync(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    try {
      fs.fsyncSync(descriptor);
    } finally {
      fs.closeSync(descriptor);
    }
  },

  rename(source, target) {
    fs.renameSync(source, target);
  },

  unlink(filePath) {
    fs.unlinkSync(filePath);
  },

  removeDirectory(directory) {
    fs.rmdirSync(directory);
  },

  identify(place) {
    const { dev, ino } = fs.lstatSync(place, { bigint: true });
    return `${dev}:${ino}`;
  },

  freeBytes(directory) {
    const stat = fs.statfsSync(directory);
    return stat.bavail * stat.bsize;
  },
};

/** What stands under a name, itself, not what it may lead to. @throws the system's error */
export function lookAtFile(filePath: string): FileFacts {
  const stat = fs.lstatSync(filePath);
  const kind = stat.isFile()
    ? "file"
    : stat.isDirectory()
      ? "directory"
      : stat.isSymbolicLink()
        ? "symbolic link"
        : stat.isFIFO()
          ? "pipe"
          : stat.isSocket()
            ? "socket"
            : "device";
  const { uid: owner, nlink: linkCount, size: sizeBytes } = stat;
  return { kind, owner, mode: stat.mode & 0o7777, linkCount, sizeBytes };
}

/** Ours, or its directory's owner's: then root looks into somebody's store. */
function belongsHere(filePath: string, owner: number): boolean {
  return owner === process.geteuid?.() || owner === fs.lstatSync(path.dirname(filePath)).uid;
}

function refused(filePath: string, what: string): Error {
  const text = `ELOOP: ${what}, open '${path.basename(filePath)}'`;
  return Object.assign(new Error(text), { code: "ELOOP" });
}

class DescriptorFile implements StorageFile {
  readonly path: string;
  readonly #descriptor: number;
  #syncsRunning = 0;
  #closed = false;

  constructor(filePath: string, descriptor: number) {
    this.path = filePath;
    this.#descriptor = descriptor;
  }

  write(buffers: readonly Uint8Array[], position: number): number {
    return fs.writevSync(this.#descriptor, buffers, position);
  }

  read(target: Uint8Array, position: number): number {
    return fs.readSync(this.#descriptor, target, 0, target.length, position);
  }

  sync(done: (error: Error | undefined) => void): void {
    this.#syncsRunning += 1;
    fs.fdatasync(this.#descriptor, (error) => {
      this.#syncsRunning -= 1;
      if (this.#closed && this.#syncsRunning === 0) fs.closeSync(this.#descriptor);
      done(error ?? undefined);
    });
  }

  syncNow(): void {
    fs.fdatasyncSync(this.#descriptor);
  }

  truncate(sizeBytes: number): void {
    fs.ftruncateSync(this.#descriptor, sizeBytes);
  }

  sizeBytes(): number {
    return fs.fstatSync(this.#descriptor).size;
  }

  /** The descriptor stays open under a sync that still runs, or its number could be given to another file. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#syncsRunning === 0) fs.closeSync(this.#descriptor);
  }
}
