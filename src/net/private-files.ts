import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  statSync,
  unlinkSync,
  watch,
  writeSync,
} from "node:fs";
import path from "node:path";
import { MillraceError, systemCode } from "../core/errors.ts";
import { type Random, randomHex } from "../core/random.ts";

/** The only door of net/ to the file system: a few small files that belong to us alone. All calls block: for the start, and for what is small and rare. */

const PRIVATE_MODE = 0o600;
const PRIVATE_DIRECTORY_MODE = 0o700;
const GROUP_AND_OTHERS = 0o077;
const GROUP_MODE = 0o660;
const OTHERS_WRITE = 0o002;
/** In a directory with this bit, such as /tmp, only its owner removes a file. */
const STICKY = 0o1000;
const ROOT = 0;
/** As a umask: a file is for its owner alone, to read and to write. */
export const OWNER_ONLY_UMASK = 0o177;

/** What a file is called until it is whole. */
const TEMPORARY_NAME = /^\.new-[0-9a-f]{16}$/;

/**
 * Writes a new file 0600 and makes it durable; false if something of that name is there. Never follows a link, never leaves half
 * a file: it gets its name when it is whole, and for a moment has two.
 */
export function createPrivateFile(filePath: string, options: { text: string; random: Random }): boolean {
  const { text, random } = options;
  const temporaryPath = path.join(path.dirname(filePath), `.new-${randomHex(random, 8)}`);
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const bytes = Buffer.from(text);
  const descriptor = openSync(temporaryPath, flags, PRIVATE_MODE);
  let isNew: boolean;
  try {
    const writtenBytes = writeSync(descriptor, bytes);
    if (writtenBytes !== bytes.length) {
      const counts = `${writtenBytes} of ${bytes.length} bytes were written`;
      throw new MillraceError("STORE_UNUSABLE", `Cannot write ${filePath}: ${counts}`);
    }
    fsyncSync(descriptor);
    isNew = linkIfAbsent(temporaryPath, filePath);
  } finally {
    closeSync(descriptor);
    unlinkIfPresent(temporaryPath);
  }
  if (isNew) syncDirectory(path.dirname(filePath));
  return isNew;
}

/** Removes a file for good; false if it is not there. */
export function removeDurably(filePath: string): boolean {
  const wasThere = unlinkIfPresent(filePath);
  if (wasThere) syncDirectory(path.dirname(filePath));
  return wasThere;
}

/** A directory that is ours alone, made where there is none. @throws {MillraceError} STORE_UNUSABLE */
export function makePrivateDirectory(directory: string): void {
  try {
    mkdirSync(directory, { mode: PRIVATE_DIRECTORY_MODE });
    syncDirectory(path.dirname(directory));
  } catch (thrown) {
    if (systemCode(thrown) !== "EEXIST") throw thrown;
  }
  closeDirectory(openPrivateDirectory(directory));
}

function syncDirectory(directory: string): void {
  const descriptor = openDirectory(directory);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Changes whenever a name in a directory comes or goes, or a file is written or replaced; undefined where there is none. */
export function pathStamp(path: string): string | undefined {
  const status = statSync(path, { bigint: true, throwIfNoEntry: false });
  return status && `${status.ino}-${status.mtimeNs}-${status.ctimeNs}`;
}

/**
 * Calls when something in the directory may have changed, where the system can tell; the calls come in bursts, and may be lost.
 * @returns what ends them; undefined where the system cannot
 */
export function watchDirectory(directory: string, onChange: () => void): (() => void) | undefined {
  try {
    const watcher = watch(directory, { persistent: false }, onChange);
    watcher.on("error", onChange);
    return () => watcher.close();
  } catch {
    // Too many watches on this machine, or none on this file system: whoever asks looks from time to time as well.
    return undefined;
  }
}

/**
 * Text of a file that only we can have written; undefined if it is not there.
 * @throws {MillraceError} STORE_UNUSABLE for a link, a device, a file of someone else or one that others may touch
 */
export function readPrivateFile(filePath: string, sizeBytesMax: number): string | undefined {
  let descriptor: number;
  try {
    // Without O_NONBLOCK a planted FIFO would block the start for ever.
    descriptor = openSync(filePath, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (cause) {
    if (systemCode(cause) === "ENOENT") return undefined;
    throw new MillraceError("STORE_UNUSABLE", `Cannot read ${filePath}: ${systemCode(cause) ?? "failed"}`, {
      cause,
    });
  }
  try {
    let status = fstatSync(descriptor);
    if (status.nlink > 1) {
      removeTemporaryName(filePath, status.ino);
      status = fstatSync(descriptor);
    }
    const problem = !status.isFile()
      ? "not a regular file"
      : status.uid !== ownUser()
        ? `owned by user ${status.uid}, not by us`
        : (status.mode & GROUP_AND_OTHERS) !== 0
          ? `mode ${(status.mode & 0o777).toString(8)} lets others in, must be 600`
          : status.nlink !== 1
            ? `${status.nlink} hard links, must be 1`
            : status.size > sizeBytesMax
              ? `${status.size} bytes, the limit is ${sizeBytesMax}`
              : undefined;
    if (problem !== undefined) {
      throw new MillraceError("STORE_UNUSABLE", `Cannot trust ${filePath}: ${problem}`);
    }
    const bytes = Buffer.alloc(status.size);
    const count = readSync(descriptor, bytes, 0, bytes.length, 0);
    return bytes.toString("utf8", 0, count);
  } finally {
    closeSync(descriptor);
  }
}

/** The first name of a file that whoever made it did not come to remove: it was killed there, or is about to. */
function removeTemporaryName(filePath: string, inode: number): void {
  const directory = path.dirname(filePath);
  for (const name of readdirSync(directory)) {
    const other = path.join(directory, name);
    if (!TEMPORARY_NAME.test(name) || lstatSync(other, { throwIfNoEntry: false })?.ino !== inode) continue;
    unlinkIfPresent(other);
  }
}

/** A file of anybody's, through links, and whose it is. @throws the system's error; {MillraceError} INVALID_SETTING for what is no file */
export function readLinkedFile(
  filePath: string,
  sizeBytesMax: number,
): { readonly bytes: Buffer; readonly mode: number; readonly owner: number; readonly isOurs: boolean } {
  const descriptor = openSync(filePath, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const status = fstatSync(descriptor);
    if (!status.isFile() || status.size > sizeBytesMax) {
      const text = `Cannot read ${filePath}: not a regular file of at most ${sizeBytesMax} bytes`;
      throw new MillraceError("INVALID_SETTING", text);
    }
    const bytes = Buffer.alloc(status.size);
    const count = readSync(descriptor, bytes, 0, bytes.length, 0);
    const { mode, uid: owner } = status;
    return { bytes: bytes.subarray(0, count), mode: mode & 0o777, owner, isOurs: owner === ownUser() };
  } finally {
    closeSync(descriptor);
  }
}

const OTHERS = 0o007;
const GROUP = 0o070;
const GROUP_WRITE_OR_RUN = 0o030;

/**
 * Who may touch a file that is to be closed to others; undefined if nobody may. As PostgreSQL has it: one of our own is for us
 * alone; one of root's may be lent to a group that we are in.
 */
export function whoElseMayTouch({
  mode,
  owner,
  isOurs,
}: {
  readonly mode: number;
  readonly owner: number;
  readonly isOurs: boolean;
}): string | undefined {
  const forbidden = isOurs || owner !== ROOT ? OTHERS | GROUP : OTHERS | GROUP_WRITE_OR_RUN;
  const isClosed = (mode & forbidden) === 0;
  return isClosed ? undefined : `mode ${mode.toString(8)} lets others in, must be 600 (640 if root's)`;
}

/** A descriptor of a directory that is ours. @throws {MillraceError} STORE_UNUSABLE */
export function openPrivateDirectory(path: string): number {
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch (cause) {
    throw new MillraceError("STORE_UNUSABLE", `Cannot open store ${path}: ${systemCode(cause) ?? "failed"}`, {
      cause,
    });
  }
  const status = fstatSync(descriptor);
  if (status.uid === ownUser() && (status.mode & GROUP_AND_OTHERS) === 0) return descriptor;
  closeSync(descriptor);
  throw new MillraceError(
    "STORE_UNUSABLE",
    `Cannot use store ${path}: owner ${status.uid}, mode ${(status.mode & 0o777).toString(8)}; must be ours and 700`,
  );
}

/** A descriptor of any directory, to look only. @throws the system's error */
export function openDirectory(path: string): number {
  return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
}

export function closeDirectory(descriptor: number): void {
  closeSync(descriptor);
}

/** A second name for a file, made only if `path` is free. */
export function linkIfAbsent(existingPath: string, path: string): boolean {
  try {
    linkSync(existingPath, path);
    return true;
  } catch (thrown) {
    if (systemCode(thrown) === "EEXIST") return false;
    throw thrown;
  }
}

/** @returns whether it was there */
export function unlinkIfPresent(path: string): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch (thrown) {
    if (systemCode(thrown) === "ENOENT") return false;
    throw thrown;
  }
}

/** Names in a directory, unsorted. */
export function listNames(directory: string): string[] {
  return readdirSync(directory);
}

/** The number of a group, by its name in /etc/group or its number as text. */
export function findGroup(group: string): number | undefined {
  if (/^\d{1,10}$/.test(group)) return Number(group);
  const rows = readFileSync("/etc/group", "utf8").split("\n");
  const row = rows.map((line) => line.split(":")).find(([name]) => name === group);
  return row?.[2] === undefined ? undefined : Number(row[2]);
}

/** Lets a group open a file of ours. The group first: the mode of the file must never be that of another group. */
export function giveToGroup(filePath: string, groupId: number): void {
  chownSync(filePath, ownUser(), groupId);
  chmodSync(filePath, GROUP_MODE);
}

/** Why other users could put something of their own in the place of what has a name in this directory; undefined if they cannot. */
export function whyReplaceable(directory: string): string | undefined {
  const status = statSync(directory, { throwIfNoEntry: false });
  // What is not there lets nobody do anything.
  if (status === undefined) return undefined;
  const { mode, uid } = status;
  if (uid !== ownUser() && uid !== ROOT) return `${directory} belongs to user ${uid}`;
  const isOpen = (mode & OTHERS_WRITE) !== 0 && (mode & STICKY) === 0;
  return isOpen ? `mode ${(mode & 0o777).toString(8)} of ${directory} lets others replace it` : undefined;
}

/** Whether the name is that of a socket that belongs to us. */
export function isOwnSocket(filePath: string): boolean {
  const status = lstatSync(filePath, { throwIfNoEntry: false });
  return status?.isSocket() === true && status.uid === ownUser();
}

function ownUser(): number {
  const user = process.geteuid?.();
  if (user === undefined) throw new MillraceError("INTERNAL", "Cannot tell who owns a file on this system");
  return user;
}
