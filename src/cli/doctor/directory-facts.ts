import { lstatSync, readFileSync, realpathSync, statfsSync } from "node:fs";
import path from "node:path";
import { systemCode } from "../../core/errors.ts";
import { findBlockDevices, type BlockDevice } from "./block-device.ts";
import { findMount, parseMountTable, type Mount } from "./mount-table.ts";

/** One directory on the way from the root to the store. */
export interface Level {
  readonly path: string;
  readonly owner: number;
  readonly group: number;
  /** Permission bits with the sticky bit. */
  readonly mode: number;
}

export interface FileSystemFacts {
  /** As the mount table names it; by its magic number where there is no table. */
  readonly type: string;
  readonly mountPoint: string | undefined;
  readonly source: string | undefined;
  readonly options: readonly string[];
  readonly totalBytes: number;
  /** Free for us. */
  readonly freeBytes: number;
  /** 0 where the file system does not count files. */
  readonly totalFiles: number;
  readonly freeFiles: number;
  readonly devices: readonly BlockDevice[];
}

export interface DirectoryFacts {
  readonly directory: string;
  /** "other": something that is no directory has its name. */
  readonly state: "there" | "missing" | "other";
  /** The directory itself, else the nearest above it that is there. */
  readonly nearest: string;
  /** From the root down to `nearest`. */
  readonly levels: readonly Level[];
  readonly fileSystem: FileSystemFacts;
}

/** Looks at a directory and where it lies; changes nothing. @throws the system's error when not even the root can be looked at */
export function lookAtDirectory(directory: string): DirectoryFacts {
  const state = stateOf(directory);
  // Where a file stands in the way, what lies around it is still worth a word.
  const nearest = realpathSync(state === "there" ? directory : nearestDirectory(path.dirname(directory)));
  return { directory, state, nearest, levels: levelsOf(nearest), fileSystem: lookAtFileSystem(nearest) };
}

function stateOf(directory: string): DirectoryFacts["state"] {
  try {
    return lstatSync(directory).isDirectory() ? "there" : "other";
  } catch (error) {
    // ENOTDIR: one above it is a file.
    return systemCode(error) === "ENOTDIR" ? "other" : "missing";
  }
}

function nearestDirectory(directory: string): string {
  try {
    if (lstatSync(realpathSync(directory)).isDirectory()) return directory;
  } catch {
    // Not there, or not for us: the one above it.
  }
  const parent = path.dirname(directory);
  return parent === directory ? directory : nearestDirectory(parent);
}

function levelsOf(directory: string): Level[] {
  const parent = path.dirname(directory);
  const above = parent === directory ? [] : levelsOf(parent);
  const { uid, gid, mode } = lstatSync(directory);
  return [...above, { path: directory, owner: uid, group: gid, mode: mode & 0o7777 }];
}

function lookAtFileSystem(directory: string): FileSystemFacts {
  const stat = statfsSync(directory);
  const mounts = readMounts();
  const mount = findMount(mounts, directory);
  return {
    type: mount?.type ?? typeNames.get(stat.type) ?? `0x${stat.type.toString(16)}`,
    mountPoint: mount?.mountPoint,
    source: mount?.source,
    options: mount?.options ?? [],
    totalBytes: stat.blocks * stat.bsize,
    freeBytes: stat.bavail * stat.bsize,
    totalFiles: stat.files,
    freeFiles: stat.ffree,
    devices: mount === undefined ? [] : findBlockDevices(mount, mounts),
  };
}

function readMounts(): Mount[] {
  try {
    return parseMountTable(readFileSync("/proc/self/mountinfo", "utf8"));
  } catch {
    return [];
  }
}

/** statfs(2); for where /proc is not mounted. */
const typeNames: ReadonlyMap<number, string> = new Map([
  [0xef53, "ext4"],
  [0x58465342, "xfs"],
  [0x9123683e, "btrfs"],
  [0xf2f52010, "f2fs"],
  [0x2fc12fc1, "zfs"],
  [0xca451a4e, "bcachefs"],
  [0x24051905, "ubifs"],
  [0x72b6, "jffs2"],
  [0x01021994, "tmpfs"],
  [0x858458f6, "ramfs"],
  [0x794c7630, "overlay"],
  [0x6969, "nfs"],
  [0xff534d42, "cifs"],
  [0xfe534d42, "smb3"],
  [0x01021997, "9p"],
  [0x65735546, "fuse"],
  [0x4d44, "vfat"],
  [0x2011bab0, "exfat"],
  [0x5346544e, "ntfs"],
  [0x73717368, "squashfs"],
]);

/** Descriptors that this process, and so an engine of the same user, may have open. */
export function openFilesMax(): number | undefined {
  try {
    const line = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    if (line === undefined) return undefined;
    return line === "unlimited" ? Number.POSITIVE_INFINITY : Number(line);
  } catch {
    return undefined;
  }
}
