import { constants, type Stats } from "node:fs";
import { type FileHandle, link, lstat, open, readlink, realpath, rename, unlink } from "node:fs/promises";
import path from "node:path";
import { MillraceError, systemCode } from "../../core/errors.ts";
import { isWithin } from "./path-within.ts";

/** Readable for the group too: whoever takes the files is often another user. */
const FILE_MODE = 0o640;

/**
 * A directory outside the store that exports write to. It is opened once and everything goes through its descriptor, so that
 * what stands under its name may change meanwhile without leading elsewhere. Files are never followed through links.
 */
export class ExportDirectory {
  readonly #handle: FileHandle;

  private constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  /**
   * Opens a directory that lies within one of `allowed`, links on the way resolved; it is not made.
   * @throws {MillraceError} INVALID_REQUEST where it does not; the system's error
   */
  static async open(directory: string, allowed: readonly string[]): Promise<ExportDirectory> {
    const flags = constants.O_RDONLY | constants.O_DIRECTORY;
    const handle = await open(directory, flags);
    return keptOpen(handle, async () => {
      const real = await readlink(descriptorPath(handle));
      if (!(await isAllowed(real, allowed))) throw notAllowed(directory, allowed);
      return new ExportDirectory(handle);
    });
  }

  /** A new file. @throws the system's error, EEXIST if there is something of that name */
  async create(name: string): Promise<FileHandle> {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const file = await open(this.#pathOf(name), flags, FILE_MODE);
    return keptOpen(file, async () => {
      // Against the umask, which is that of the store.
      await file.chmod(FILE_MODE);
      return file;
    });
  }

  /** A regular file of one name; undefined if it is not there. @throws the system's error, or one for what is no such file */
  async openFile(name: string): Promise<FileHandle | undefined> {
    let file: FileHandle;
    try {
      file = await open(this.#pathOf(name), constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    } catch (error) {
      if (systemCode(error) === "ENOENT") return undefined;
      // A symbolic link.
      if (systemCode(error) === "ELOOP") throw notOurs(name);
      throw error;
    }
    return keptOpen(file, async () => {
      const status = await file.stat();
      if (!status.isFile() || status.nlink !== 1) throw notOurs(name);
      return file;
    });
  }

  /** Whether something has the name. @throws the system's error */
  async has(name: string): Promise<boolean> {
    return (await this.#statusOf(name)) !== undefined;
  }

  /** Whether two names are there for one file. @throws the system's error */
  async isSame(name: string, other: string): Promise<boolean> {
    const [one, two] = await Promise.all([this.#statusOf(name), this.#statusOf(other)]);
    return one !== undefined && one.ino === two?.ino && one.dev === two.dev;
  }

  /** @throws the system's error */
  async remove(name: string): Promise<void> {
    await unlink(this.#pathOf(name));
  }

  async #statusOf(name: string): Promise<Stats | undefined> {
    try {
      return await lstat(this.#pathOf(name));
    } catch (error) {
      if (systemCode(error) === "ENOENT") return undefined;
      throw error;
    }
  }

  /** Another name, if nothing has it. @returns whether that was so @throws the system's error */
  async renameNew(source: string, target: string): Promise<boolean> {
    try {
      await link(this.#pathOf(source), this.#pathOf(target));
    } catch (error) {
      if (systemCode(error) === "EEXIST") return false;
      if (!withoutLinks.has(systemCode(error) ?? "")) throw error;
      return this.#renameWithoutLinks(source, target);
    }
    await unlink(this.#pathOf(source));
    return true;
  }

  /** Such as that of a memory stick, where two names for one file are not to be had. */
  async #renameWithoutLinks(source: string, target: string): Promise<boolean> {
    try {
      // Taken by an empty file first, so that nothing of somebody else's is replaced.
      await (await this.create(target)).close();
    } catch (error) {
      if (systemCode(error) === "EEXIST") return false;
      throw error;
    }
    await rename(this.#pathOf(source), this.#pathOf(target));
    return true;
  }

  /** Makes new and changed names durable. @throws the system's error */
  async sync(): Promise<void> {
    await this.#handle.sync();
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  #pathOf(name: string): string {
    return path.join(descriptorPath(this.#handle), name);
  }
}

/** Closes the file if `act` fails. @returns what `act` does @throws what `act` throws */
export async function keptOpen<Result>(file: FileHandle, act: () => Promise<Result>): Promise<Result> {
  try {
    return await act();
  } catch (error) {
    await file.close();
    throw error;
  }
}

/**
 * Looks beforehand whether files may be exported to a directory, which need not be there yet: then the place where it would be
 * counts. @throws {MillraceError} INVALID_REQUEST where they may not
 */
export async function checkExportDirectory(directory: string, allowed: readonly string[]): Promise<void> {
  let there = path.resolve(directory);
  let real = await realPathOf(there);
  while (real === undefined && path.dirname(there) !== there) {
    there = path.dirname(there);
    real = await realPathOf(there);
  }
  const place = path.join(real ?? there, path.relative(there, path.resolve(directory)));
  if (!(await isAllowed(place, allowed))) throw notAllowed(directory, allowed);
}

/** `place` has no links on its way. */
async function isAllowed(place: string, allowed: readonly string[]): Promise<boolean> {
  const roots = await Promise.all(allowed.map(realPathOf));
  return roots.some((root) => root !== undefined && isWithin(place, root));
}

function notOurs(name: string): MillraceError {
  return new MillraceError("INVALID_REQUEST", `Cannot write ${name}: it is a link, or no file`);
}

function notAllowed(directory: string, allowed: readonly string[]): MillraceError {
  const list = allowed.length === 0 ? "which names none" : `which names ${allowed.join(", ")}`;
  const text = `Cannot export to ${directory}: it is not within MILLRACE_EXPORT_FILE_DIRS, ${list}`;
  return new MillraceError("INVALID_REQUEST", text);
}

const withoutLinks = new Set(["EPERM", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EMLINK"]);

function descriptorPath({ fd }: FileHandle): string {
  return `/proc/self/fd/${fd}`;
}

/** Undefined where there is none. */
async function realPathOf(directory: string): Promise<string | undefined> {
  try {
    return await realpath(directory);
  } catch {
    return undefined;
  }
}
