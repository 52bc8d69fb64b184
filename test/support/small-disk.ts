import { spawnSync } from "node:child_process";
import { mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TestContext } from "node:test";
import type { Storage, StorageFile } from "../../src/log/storage.ts";
import { skipOrFail } from "./require-program.ts";
import { type SimStorage } from "./sim-storage.ts";
import { systemError } from "./system-error.ts";

/** A simulated storage of so many bytes: what does not fit is written in part, without an error, and then not at all. */
export class SmallDisk implements Storage {
  capacityBytes: number;
  readonly #storage: SimStorage;
  readonly #sizes = new Map<string, number>();

  constructor(storage: SimStorage, capacityBytes: number) {
    this.#storage = storage;
    this.capacityBytes = capacityBytes;
  }

  open(filePath: string, mode: "create" | "append" | "read"): StorageFile {
    const file = this.#storage.open(filePath, mode);
    return {
      path: filePath,
      write: (buffers, position) => this.#write(file, buffers, position),
      read: (target, position) => file.read(target, position),
      sync: (done) => file.sync(done),
      syncNow: () => file.syncNow(),
      truncate: (sizeBytes) => {
        file.truncate(sizeBytes);
        this.#sizes.set(filePath, sizeBytes);
      },
      sizeBytes: () => file.sizeBytes(),
      close: () => file.close(),
    };
  }

  #write(file: StorageFile, buffers: readonly Uint8Array[], position: number): number {
    const bytes = Buffer.concat(buffers);
    const sizeBytes = file.sizeBytes();
    const fits = Math.min(bytes.length, sizeBytes + this.freeBytes() - position);
    if (fits <= 0) throw systemError("ENOSPC", "write");
    const count = file.write([bytes.subarray(0, fits)], position);
    this.#sizes.set(file.path, Math.max(sizeBytes, position + count));
    return count;
  }

  freeBytes(): number {
    let usedBytes = 0;
    for (const sizeBytes of this.#sizes.values()) usedBytes += sizeBytes;
    return this.capacityBytes - usedBytes;
  }

  rename(source: string, target: string): void {
    this.#storage.rename(source, target);
    this.#sizes.set(target, this.#sizes.get(source) ?? 0);
    this.#sizes.delete(source);
  }

  unlink(filePath: string): void {
    this.#storage.unlink(filePath);
    this.#sizes.delete(filePath);
  }

  identify(place: string): string {
    return this.#storage.identify(place);
  }
  list(directory: string): ReturnType<Storage["list"]> {
    return this.#storage.list(directory);
  }
  makeDirectory(directory: string): void {
    this.#storage.makeDirectory(directory);
  }
  syncDirectory(directory: string): void {
    this.#storage.syncDirectory(directory);
  }
  removeDirectory(directory: string): void {
    this.#storage.removeDirectory(directory);
  }
}

/** A real file system of so many bytes, gone when the test ends; undefined where this user may not mount one: the test is skipped. */
export function mountSmallDisk(t: TestContext, sizeBytes: number): string | undefined {
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-disk-"));
  const options = ["-t", "tmpfs", "-o", `size=${sizeBytes},mode=0700`, "tmpfs", directory];
  const { status, error } = spawnSync("mount", options, { stdio: "ignore", timeout: 10_000 });
  if (error !== undefined || status !== 0) {
    rmdirSync(directory);
    skipOrFail(t, "cannot mount a file system; needed, with the rights of root, to fill a disk");
    return undefined;
  }
  t.after(() => {
    spawnSync("umount", ["--lazy", directory], { stdio: "ignore", timeout: 10_000 });
    rmdirSync(directory);
  });
  return directory;
}
