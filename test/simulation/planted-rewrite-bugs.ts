import path from "node:path";

import { SEGMENT_HEADER_BYTES } from "../../src/log/segment-layout.ts";
import type { Storage, StorageEntry, StorageFile } from "../../src/log/storage.ts";
import { patchStorage } from "../support/patch-storage.ts";
import type { SimStorage } from "../support/sim-storage.ts";
import { patched, type PlantedBug } from "./planted-bugs.ts";
import { type Seams, soundSeams } from "./workload.ts";

function isCopy(file: StorageFile): boolean {
  return file.path.endsWith(".lz4.tmp");
}

/** Nothing is synced before the name, and all of it right after, before the source is unlinked. */
function syncedAfterItsName(own: (storage: SimStorage) => Partial<Storage> = () => ({})): Seams {
  return patched(
    (file, storage) => (isCopy(file) ? { sync: (done) => storage.defer(() => done(undefined)) } : {}),
    (storage) => {
      let copy: string | undefined;
      return {
        rename: (source, target) => {
          storage.rename(source, target);
          copy = target;
        },
        syncDirectory: (directory) => {
          storage.syncDirectory(directory);
          if (copy === undefined) return;
          const file = storage.open(copy, "append");
          copy = undefined;
          file.syncNow();
          file.close();
        },
        ...own(storage),
      };
    },
  );
}

/** What a start sees that takes the highest generation of a base whatever is in it. */
function highestGenerations(entries: readonly StorageEntry[]): StorageEntry[] {
  const isLower = (name: string): boolean =>
    entries.some(
      (other) =>
        /^\d{20}-\d{4}\.lz4$/.test(other.name) &&
        other.name.slice(0, 20) === name.slice(0, 20) &&
        other.name > name,
    );
  return entries.filter(({ name }) => !/^\d{20}-\d{4}\.lz4$/.test(name) || !isLower(name));
}

/** A start syncs its two directories, but only once it has removed what it does not need, or writes. */
function syncsNamesLate(storage: SimStorage): Storage {
  let left = 2;
  const owed: string[] = [];
  const pay = (): void => {
    for (const directory of owed.splice(0)) storage.syncDirectory(directory);
  };
  return patchStorage(
    storage,
    (file) => ({
      write: (buffers, position) => {
        pay();
        return file.write(buffers, position);
      },
    }),
    {
      makeDirectory: (directory) => {
        left = 0;
        storage.makeDirectory(directory);
      },
      syncDirectory: (directory) => {
        left -= 1;
        if (left < 0) storage.syncDirectory(directory);
        else owed.push(directory);
      },
      unlink: (file) => {
        storage.unlink(file);
        pay();
      },
    },
  );
}

/** A block that reads back and never reaches the medium. */
function lostBlock(file: StorageFile): Partial<StorageFile> {
  if (!isCopy(file)) return {};
  let lost: { readonly bytes: Buffer; readonly position: number } | undefined;
  return {
    write: (buffers, position) => {
      if (lost !== undefined || position !== SEGMENT_HEADER_BYTES) return file.write(buffers, position);
      lost = { bytes: Buffer.concat(buffers), position };
      return lost.bytes.length;
    },
    read: (target, position) => {
      const count = file.read(target, position);
      if (lost === undefined) return count;
      const from = Math.max(position, lost.position);
      const to = Math.min(position + count, lost.position + lost.bytes.length);
      if (from < to)
        target.set(lost.bytes.subarray(from - lost.position, to - lost.position), from - position);
      return count;
    },
  };
}

export const plantedRewriteBugs: readonly PlantedBug[] = [
  {
    name: "the source of a rewrite is unlinked before the name of the copy is synced",
    scenario: "rewrite",
    seams: patched(
      () => ({}),
      (storage) => {
        let isFresh = false;
        return {
          rename: (source, target) => {
            storage.rename(source, target);
            isFresh = true;
          },
          syncDirectory: (directory) => {
            if (!isFresh) storage.syncDirectory(directory);
            isFresh = false;
          },
        };
      },
    ),
  },
  {
    name: "a start removes the source of a rewrite before the name of the copy is synced",
    scenario: "rewrite",
    seams: { ...soundSeams, wrap: syncsNamesLate },
  },
  {
    name: "a rewrite is not synced",
    scenario: "rewrite",
    seams: patched((file, storage) =>
      isCopy(file) ? { sync: (done) => storage.defer(() => done(undefined)) } : {},
    ),
  },
  {
    name: "a rewrite loses a block",
    scenario: "rewrite",
    seams: patched((file) => lostBlock(file)),
  },
  {
    name: "a rewrite gets its name before it is synced, and the highest generation wins whatever is in it",
    scenario: "rewrite",
    seams: syncedAfterItsName((storage) => ({
      list: (directory) => highestGenerations(storage.list(directory)),
    })),
  },
  {
    name: "the source of a rewrite is unlinked before the copy is there",
    scenario: "rewrite",
    seams: patched(
      () => ({}),
      (storage) => ({
        rename: (source, target) => {
          storage.unlink(target.replace(/-\d{4}\.lz4$/, "-0000.lz4"));
          storage.syncDirectory(path.dirname(target));
          storage.rename(source, target);
        },
      }),
    ),
  },
];

/** A copy that is not whole yet when it gets its name: what makes it safe is that its source is still there and wins. */
export const lateSync: Seams = syncedAfterItsName();
