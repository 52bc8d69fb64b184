import type { Storage, StorageEntry, StorageFile } from "./storage.ts";

/** Something that was done to a file or directory. */
export type StorageChange =
  | { readonly kind: "created" | "removed" | "made directory" | "removed directory"; readonly path: string }
  | { readonly kind: "renamed"; readonly path: string; readonly target: string }
  | { readonly kind: "cut"; readonly path: string; readonly fromBytes: number; readonly toBytes: number }
  | { readonly kind: "written"; readonly path: string; readonly position: number; sizeBytes: number };

/** Passes everything on to another storage and keeps what changes something, in order; writes to one file in a row are one. */
export class ChangeRecorder implements Storage {
  readonly #base: Storage;
  #changes: StorageChange[] = [];

  constructor(base: Storage) {
    this.#base = base;
  }

  get changes(): readonly StorageChange[] {
    return this.#changes;
  }

  /** What was done since the last call. */
  takeChanges(): StorageChange[] {
    const changes = this.#changes;
    this.#changes = [];
    return changes;
  }

  open(path: string, mode: "create" | "append" | "read"): StorageFile {
    const file = this.#base.open(path, mode);
    if (mode === "create") this.#changes.push({ kind: "created", path });
    return new RecordedFile(file, () => this.#changes);
  }

  list(directory: string): StorageEntry[] {
    return this.#base.list(directory);
  }

  makeDirectory(path: string): void {
    this.#base.makeDirectory(path);
    this.#changes.push({ kind: "made directory", path });
  }

  syncDirectory(path: string): void {
    this.#base.syncDirectory(path);
  }

  rename(source: string, target: string): void {
    this.#base.rename(source, target);
    this.#changes.push({ kind: "renamed", path: source, target });
  }

  unlink(path: string): void {
    this.#base.unlink(path);
    this.#changes.push({ kind: "removed", path });
  }

  removeDirectory(path: string): void {
    this.#base.removeDirectory(path);
    this.#changes.push({ kind: "removed directory", path });
  }

  identify(path: string): string {
    return this.#base.identify(path);
  }

  freeBytes(directory: string): number {
    return this.#base.freeBytes(directory);
  }
}

class RecordedFile implements StorageFile {
  readonly #file: StorageFile;
  readonly #changes: () => StorageChange[];

  constructor(file: StorageFile, changes: () => StorageChange[]) {
    this.#file = file;
    this.#changes = changes;
  }

  get path(): string {
    return this.#file.path;
  }

  write(buffers: readonly Uint8Array[], position: number): number {
    const sizeBytes = this.#file.write(buffers, position);
    const changes = this.#changes();
    const last = changes.at(-1);
    const { path } = this;
    if (last?.kind === "written" && last.path === path) last.sizeBytes += sizeBytes;
    else changes.push({ kind: "written", path, position, sizeBytes });
    return sizeBytes;
  }

  truncate(toBytes: number): void {
    const fromBytes = this.#file.sizeBytes();
    this.#file.truncate(toBytes);
    if (fromBytes !== toBytes) this.#changes().push({ kind: "cut", path: this.path, fromBytes, toBytes });
  }

  read(target: Uint8Array, position: number): number {
    return this.#file.read(target, position);
  }

  sync(done: (error: Error | undefined) => void): void {
    this.#file.sync(done);
  }

  syncNow(): void {
    this.#file.syncNow();
  }

  sizeBytes(): number {
    return this.#file.sizeBytes();
  }

  close(): void {
    this.#file.close();
  }
}
