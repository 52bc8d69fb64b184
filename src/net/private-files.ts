import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readSync,
  readdirSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { MillraceError, systemCode } from "../core/errors.ts";

/** The only door of net/ to the file system: a few small files that belong to us alone. All calls block and are for the start. */

const PRIVATE_MODE = 0o600;
const GROUP_AND_OTHERS = 0o077;

/** Writes a new file 0600 and makes it durable; false if something of that name is there. Never follows a link, never leaves half a file. */
export function createPrivateFile(path: string, options: { text: string; temporaryPath: string }): boolean {
  const { text, temporaryPath } = options;
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const descriptor = openSync(temporaryPath, flags, PRIVATE_MODE);
  try {
    writeSync(descriptor, text);
    fsyncSync(descriptor);
    return linkIfAbsent(temporaryPath, path);
  } finally {
    closeSync(descriptor);
    unlinkSync(temporaryPath);
  }
}

/**
 * Text of a file that only we can have written; undefined if it is not there.
 * @throws {MillraceError} STORE_UNUSABLE for a link, a device, a file of someone else or one that others may touch
 */
export function readPrivateFile(path: string, sizeBytesMax: number): string | undefined {
  let descriptor: number;
  try {
    // Without O_NONBLOCK a planted FIFO would block the start for ever.
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (cause) {
    if (systemCode(cause) === "ENOENT") return undefined;
    throw new MillraceError("STORE_UNUSABLE", `Cannot read ${path}: ${systemCode(cause) ?? "failed"}`, {
      cause,
    });
  }
  try {
    const status = fstatSync(descriptor);
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
      throw new MillraceError("STORE_UNUSABLE", `Cannot trust ${path}: ${problem}`);
    }
    const bytes = Buffer.alloc(status.size);
    const count = readSync(descriptor, bytes, 0, bytes.length, 0);
    return bytes.toString("utf8", 0, count);
  } finally {
    closeSync(descriptor);
  }
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

export function unlinkIfPresent(path: string): void {
  try {
    unlinkSync(path);
  } catch (thrown) {
    if (systemCode(thrown) !== "ENOENT") throw thrown;
  }
}

/** Names in a directory, unsorted. */
export function listNames(directory: string): string[] {
  return readdirSync(directory);
}

function ownUser(): number {
  const user = process.geteuid?.();
  if (user === undefined) throw new MillraceError("INTERNAL", "Cannot tell who owns a file on this system");
  return user;
}
