import type { Storage, StorageFile } from "../../src/log/storage.ts";
import { patchStorage } from "./patch-storage.ts";
import type { SimStorage } from "./sim-storage.ts";
import { systemError } from "./system-error.ts";

/** A simulated storage of so many bytes: what does not fit is written in part, without an error, and then not at all. */
export type SmallDisk = Storage & { capacityBytes: number; freeBytes(): number };

/** See SmallDisk; a real one is that of TestDisk. */
export function smallDisk(storage: SimStorage, capacityBytes: number): SmallDisk {
  const sizes = new Map<string, number>();
  const freeBytes = (): number => {
    let usedBytes = 0;
    for (const sizeBytes of sizes.values()) usedBytes += sizeBytes;
    return disk.capacityBytes - usedBytes;
  };
  const write = (file: StorageFile, buffers: readonly Uint8Array[], position: number): number => {
    const bytes = Buffer.concat(buffers);
    const sizeBytes = file.sizeBytes();
    const fits = Math.min(bytes.length, sizeBytes + freeBytes() - position);
    if (fits <= 0) throw systemError("ENOSPC", "write");
    const count = file.write([bytes.subarray(0, fits)], position);
    sizes.set(file.path, Math.max(sizeBytes, position + count));
    return count;
  };
  const patched = patchStorage(
    storage,
    (file) => ({
      write: (buffers, position) => write(file, buffers, position),
      truncate: (sizeBytes) => {
        file.truncate(sizeBytes);
        sizes.set(file.path, sizeBytes);
      },
    }),
    {
      rename: (source, target) => {
        storage.rename(source, target);
        sizes.set(target, sizes.get(source) ?? 0);
        sizes.delete(source);
      },
      unlink: (filePath) => {
        storage.unlink(filePath);
        sizes.delete(filePath);
      },
    },
  );
  const disk = Object.assign(patched, { capacityBytes, freeBytes });
  return disk;
}
