/**
 * The files of S3 tasks. A task comes from any client that may append to the stream, so what it names is read only within
 * the directories that the machine's owner has listed, and never in the store.
 */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, lstat, open, readlink, realpath } from "node:fs/promises";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { systemCode, textOf } from "../../core/errors.ts";
import { S3_READ_BYTES } from "../../core/service-limits.ts";
import { isWithin } from "./path-within.ts";

/** What may be read. */
export interface InputPolicy {
  readonly directories: readonly string[];
  readonly storeDirectory: string;
}

/** Another one, and the file has been changed or replaced. */
export interface InputIdentity {
  readonly sizeBytes: number;
  readonly mtimeNs: string;
  readonly inode: string;
}

export interface InputRefusal {
  readonly error: string;
  /** The machine is short of something, which says nothing about the file. */
  readonly isTemporary: boolean;
}

/** A part of the file. */
export interface InputRange {
  readonly offset: number;
  readonly sizeBytes: number;
}

/** The file could not be read to where it should end. */
export class InputReadError extends Error {}

const SETTING = "STREAM_MANAGER_READ_ONLY_DIRS";
// O_NOFOLLOW: the path has no links any more. O_NONBLOCK: a FIFO that took the file's place must not hang the thread.
const OPEN_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;
const exhausted = new Set(["EMFILE", "ENFILE", "ENOMEM", "EAGAIN"]);

/** Opens the file of a task, if it may be read. Never rejects. */
export async function openInputFile(
  inputUrl: string,
  policy: InputPolicy,
): Promise<InputFile | InputRefusal> {
  const named = pathOf(inputUrl);
  if ("error" in named) return { error: named.error, isTemporary: false };
  try {
    const real = await realpath(named.path);
    const refusal = await whyNotIn(real, named.path, policy);
    if (refusal !== undefined) return { error: refusal, isTemporary: false };
    // Before it is opened: to open a device can have effects.
    if (!(await lstat(real)).isFile()) return notRegular(named.path);
    const handle = await open(real, OPEN_FLAGS);
    try {
      const file = await inspect(handle, { real, named: named.path });
      if ("error" in file) await handle.close();
      return file;
    } catch (error) {
      await handle.close();
      throw error;
    }
  } catch (error) {
    const code = systemCode(error) ?? "error";
    const reason = code === "ENOENT" ? "there is no such file" : textOf(error);
    return { error: `cannot read ${named.path}: ${reason}`, isTemporary: exhausted.has(code) };
  }
}

function pathOf(inputUrl: string): { readonly path: string } | { readonly error: string } {
  if (!URL.canParse(inputUrl)) return { error: `inputUrl ${JSON.stringify(inputUrl)} is no file: URL` };
  const url = new URL(inputUrl);
  if (url.protocol !== "file:") return { error: `inputUrl begins with ${url.protocol}, not with file:` };
  if (url.search !== "" || url.hash !== "") return { error: "inputUrl has a query or a fragment" };
  try {
    const named = fileURLToPath(url);
    return named.includes("\0") ? { error: "inputUrl has a zero byte" } : { path: named };
  } catch (error) {
    return { error: `inputUrl ${JSON.stringify(inputUrl)} names no local file: ${textOf(error)}` };
  }
}

/** `real` has no links. @returns undefined where it may be read */
async function whyNotIn(
  real: string,
  named: string,
  { directories, storeDirectory }: InputPolicy,
): Promise<string | undefined> {
  if (directories.length === 0) {
    return `cannot read ${named}: ${SETTING} names no directory, and files are read only in those`;
  }
  if (isWithin(real, await realpath(storeDirectory))) return `cannot read ${named}: it is in the store`;
  for (const directory of directories) {
    if (isWithin(real, await realpath(directory).catch(() => directory))) return undefined;
  }
  return `cannot read ${named}: it is in none of the directories of ${SETTING}`;
}

async function inspect(
  handle: FileHandle,
  { real, named }: { real: string; named: string },
): Promise<InputFile | InputRefusal> {
  const stat = await handle.stat({ bigint: true });
  if (!stat.isFile()) return notRegular(named);
  // A directory of the path may have become a link since it was resolved.
  if ((await placeOf(handle, real)) !== real) {
    return { error: `cannot read ${named}: its path changed while it was opened`, isTemporary: false };
  }
  if (stat.size > BigInt(Number.MAX_SAFE_INTEGER)) {
    return { error: `cannot read ${named}: it has ${stat.size} bytes`, isTemporary: false };
  }
  return new InputFile(handle, named, identityOf(stat));
}

/** Where the open file is, as the kernel says; without /proc, where the path leads now. */
async function placeOf(handle: FileHandle, real: string): Promise<string> {
  try {
    return await readlink(`/proc/self/fd/${handle.fd}`);
  } catch {
    return await realpath(real);
  }
}

function notRegular(named: string): InputRefusal {
  return { error: `cannot read ${named}: it is no regular file`, isTemporary: false };
}

function identityOf(stat: { size: bigint; mtimeNs: bigint; ino: bigint; dev: bigint }): InputIdentity {
  return {
    sizeBytes: Number(stat.size),
    mtimeNs: String(stat.mtimeNs),
    inode: `${stat.dev}/${stat.ino}`,
  };
}

export function isSameFile(one: InputIdentity, other: InputIdentity): boolean {
  return one.sizeBytes === other.sizeBytes && one.mtimeNs === other.mtimeNs && one.inode === other.inode;
}

/** An open file. Close it when done. */
export class InputFile {
  readonly identity: InputIdentity;
  readonly path: string;
  readonly #handle: FileHandle;

  constructor(handle: FileHandle, named: string, identity: InputIdentity) {
    this.#handle = handle;
    this.path = named;
    this.identity = identity;
  }

  /** The bytes of a range, a piece at a time; read anew by each call. Errors are an InputReadError. */
  stream(range: InputRange): Readable {
    return Readable.from(this.#pieces(range), { objectMode: false });
  }

  /** Of the bytes of a range. @throws {InputReadError} */
  async md5(range: InputRange): Promise<Buffer> {
    const hash = createHash("md5");
    for await (const piece of this.#pieces(range)) hash.update(piece);
    return hash.digest();
  }

  /** Whether it is still what it was when it was opened. @throws {InputReadError} */
  async isUnchanged(): Promise<boolean> {
    const stat = await this.#handle.stat({ bigint: true }).catch((error: unknown) => this.#fail(error));
    return isSameFile(this.identity, identityOf(stat));
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  #fail(cause: unknown): never {
    throw new InputReadError(`cannot read ${this.path}: ${textOf(cause)}`, { cause });
  }

  async *#pieces({ offset, sizeBytes }: InputRange): AsyncGenerator<Buffer> {
    const end = offset + sizeBytes;
    let at = offset;
    while (at < end) {
      // A buffer for each piece: the socket may hold it until the kernel takes it.
      const piece = Buffer.allocUnsafe(Math.min(S3_READ_BYTES, end - at));
      const { bytesRead } = await this.#handle
        .read(piece, 0, piece.length, at)
        .catch((error: unknown) => this.#fail(error));
      if (bytesRead === 0) {
        throw new InputReadError(`${this.path} ends at byte ${at}, and had ${this.identity.sizeBytes}`);
      }
      yield piece.subarray(0, bytesRead);
      at += bytesRead;
    }
  }
}
