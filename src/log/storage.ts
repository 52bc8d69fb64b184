/**
 * The file system as an argument: nothing outside `log/file-storage.ts` imports node:fs for stream data. Calls throw the
 * system's error (`error.code` is `EIO`, `ENOSPC`, …). Paths are absolute.
 */
export interface Storage {
  /** `create` fails if the file exists (O_EXCL); `append` opens an existing file for reading and writing. Files 0600, never through a symbolic link. */
  open(path: string, mode: "create" | "append" | "read"): StorageFile;
  /** Names in a directory, unsorted, without `.` and `..`. */
  list(directory: string): StorageEntry[];
  /** 0700; fails if it exists. */
  makeDirectory(path: string): void;
  /** Makes entries created, renamed or unlinked in the directory durable. */
  syncDirectory(path: string): void;
  /** Replaces `target` if it exists. */
  rename(source: string, target: string): void;
  unlink(path: string): void;
  removeDirectory(path: string): void;
  /** What stands under a name: another answer, and it is another file or directory. Only what is open keeps its own for itself. */
  identify(path: string): string;
  /** Bytes that a file in `directory` may still grow by. */
  freeBytes(directory: string): number;
}

export interface StorageEntry {
  readonly name: string;
  readonly kind: "file" | "directory" | "other";
}

/** What stands under a name, for those who check rights. */
export interface FileFacts {
  readonly kind: "file" | "directory" | "symbolic link" | "pipe" | "socket" | "device";
  readonly owner: number;
  /** Permission bits. */
  readonly mode: number;
  readonly linkCount: number;
  readonly sizeBytes: number;
}

export interface StorageFile {
  readonly path: string;
  /** One pwritev. Returns the bytes written, which may be fewer than asked for, without an error: the caller must look. */
  write(buffers: readonly Uint8Array[], position: number): number;
  /** One pread into `target`; returns the bytes read, 0 at the end of the file. */
  read(target: Uint8Array, position: number): number;
  /** Starts an fdatasync beside the caller; `done` is called later, never before `sync` returns. It covers every write made before the call. */
  sync(done: (error: Error | undefined) => void): void;
  /** An fdatasync that blocks. */
  syncNow(): void;
  truncate(sizeBytes: number): void;
  sizeBytes(): number;
  close(): void;
}
