import type { Storage, StorageFile } from "../../src/log/storage.ts";
import type { SimStorage } from "./sim-storage.ts";

/** What replaces calls of a file; nothing where it is left as it is. */
export type FileOverrides = (file: StorageFile, storage: SimStorage) => Partial<StorageFile>;

/** The storage with some calls of its files, or of itself, replaced. */
export function patchStorage(storage: SimStorage, files: FileOverrides, own: Partial<Storage> = {}): Storage {
  return {
    open: (path, mode) => {
      const file = storage.open(path, mode);
      return {
        path,
        write: (buffers, position) => file.write(buffers, position),
        read: (target, position) => file.read(target, position),
        sync: (done) => file.sync(done),
        syncNow: () => file.syncNow(),
        truncate: (sizeBytes) => file.truncate(sizeBytes),
        sizeBytes: () => file.sizeBytes(),
        close: () => file.close(),
        ...files(file, storage),
      };
    },
    list: (directory) => storage.list(directory),
    makeDirectory: (directory) => storage.makeDirectory(directory),
    syncDirectory: (directory) => storage.syncDirectory(directory),
    rename: (source, target) => storage.rename(source, target),
    unlink: (path) => storage.unlink(path),
    removeDirectory: (directory) => storage.removeDirectory(directory),
    identify: (path) => storage.identify(path),
    freeBytes: () => storage.freeBytes(),
    ...own,
  };
}
