import { readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import path from "node:path";
import { findMount, type Mount } from "./mount-table.ts";

/** What the kernel says of a device that holds the directory, perhaps by way of others. */
export interface BlockDevice {
  readonly name: string;
  /** "write back": it has a cache that a power cut empties, and a sync flushes it. Undefined where the kernel does not say. */
  readonly writeCache: string | undefined;
  readonly isRemovable: boolean;
  readonly isRotational: boolean;
  readonly model: string | undefined;
}

/** Where the kernel's tables are; tests pass their own. */
export interface KernelPaths {
  readonly sys: string;
}

/** Devices on devices (a file on a disk, mapped, in an array) are followed so far. */
const DEPTH_MAX = 8;

/** The devices at the bottom of a mount; none for a file system that has none, or in a container that hides them. */
export function findBlockDevices(
  mount: Mount,
  mounts: readonly Mount[],
  paths: KernelPaths = { sys: "/sys" },
): BlockDevice[] {
  const found = new Map<string, BlockDevice>();
  followMount(mount, { mounts, paths, found, depth: 0 });
  return [...found.values()];
}

interface Search {
  readonly mounts: readonly Mount[];
  readonly paths: KernelPaths;
  readonly found: Map<string, BlockDevice>;
  readonly depth: number;
}

function followMount(mount: Mount, search: Search): void {
  const number = mount.major > 0 ? `${mount.major}:${mount.minor}` : deviceNumber(mount.source);
  if (number === undefined || search.depth > DEPTH_MAX) return;
  const directory = realPath(path.join(search.paths.sys, "dev/block", number));
  if (directory !== undefined) followDevice(directory, search);
}

function followDevice(directory: string, search: Search): void {
  const { mounts, found, depth } = search;
  if (depth > DEPTH_MAX) return;
  // A partition has no queue of its own: the disk around it has.
  const isPartition = readText(path.join(directory, "partition")) !== undefined;
  const disk = isPartition ? path.dirname(directory) : directory;
  const deeper = { ...search, depth: depth + 1 };
  const below = listNames(path.join(disk, "slaves"));
  const backingFile = readText(path.join(disk, "loop/backing_file"));
  const backingMount = backingFile === undefined ? undefined : findMount(mounts, backingFile);
  if (below.length > 0) {
    for (const name of below) {
      const slave = realPath(path.join(disk, "slaves", name));
      if (slave !== undefined) followDevice(slave, deeper);
    }
  } else if (backingMount !== undefined) {
    followMount(backingMount, deeper);
  } else {
    const device = describeDisk(disk);
    found.set(device.name, device);
  }
}

function describeDisk(disk: string): BlockDevice {
  return {
    name: path.basename(disk),
    writeCache: readText(path.join(disk, "queue/write_cache")),
    isRemovable: readText(path.join(disk, "removable")) === "1",
    isRotational: readText(path.join(disk, "queue/rotational")) === "1",
    model: readText(path.join(disk, "device/model")),
  };
}

/** Some file systems (btrfs) are mounted under a number of their own and name the device as their source. */
function deviceNumber(source: string): string | undefined {
  if (!source.startsWith("/dev/")) return undefined;
  try {
    const status = statSync(source);
    return status.isBlockDevice() ? formatDeviceNumber(status.rdev) : undefined;
  } catch {
    return undefined;
  }
}

/** `major:minor` of a Linux `dev_t`. */
export function formatDeviceNumber(device: number): string {
  const high = Math.floor(device / 2 ** 32);
  const low = device % 2 ** 32;
  const major = ((low >>> 8) & 0xfff) + (high & ~0xfff);
  const minor = (low & 0xff) + ((low >>> 12) & 0xfff00) + (high & 0xfff) * 2 ** 20;
  return `${major}:${minor}`;
}

function readText(file: string): string | undefined {
  try {
    const text = readFileSync(file, "utf8").trim();
    return text === "" ? undefined : text;
  } catch {
    return undefined;
  }
}

function listNames(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function realPath(link: string): string | undefined {
  try {
    return realpathSync(link);
  } catch {
    return undefined;
  }
}
