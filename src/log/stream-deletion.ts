import path from "node:path";

import { removeQuarantine } from "./quarantine.ts";
import type { Storage } from "./storage.ts";

const DELETED_SUFFIX = ".deleted";

/** Removes a stream's directory with all it holds, and what was kept of it elsewhere; the rename is the commit. */
export function destroyStreamDirectory(stream: {
  readonly storage: Storage;
  readonly directory: string;
  readonly quarantineDirectory?: string | undefined;
}): void {
  const { storage, directory, quarantineDirectory } = stream;
  if (quarantineDirectory !== undefined) removeQuarantine(storage, quarantineDirectory);
  const target = `${directory}${DELETED_SUFFIX}`;
  storage.rename(directory, target);
  storage.syncDirectory(path.dirname(directory));
  removeTree(storage, target);
}

/**
 * Finishes deletions that a crash cut short. `directory` holds the streams' directories. What cannot be removed stays for the
 * next start: no stream is refused for it.
 */
export function removeDeletedStreams(storage: Storage, directory: string): void {
  for (const entry of storage.list(directory)) {
    if (entry.kind === "directory" && entry.name.endsWith(DELETED_SUFFIX)) {
      try {
        removeTree(storage, path.join(directory, entry.name));
      } catch {
        // Under this name no start takes it for a stream.
      }
    }
  }
}

function removeTree(storage: Storage, directory: string): void {
  for (const entry of storage.list(directory)) {
    const entryPath = path.join(directory, entry.name);
    if (entry.kind === "directory") removeTree(storage, entryPath);
    else storage.unlink(entryPath);
  }
  storage.removeDirectory(directory);
}
