import { connect, createServer, type Server } from "node:net";
import path from "node:path";
import { MillraceError, systemCode } from "../core/errors.ts";
import { type Random, randomHex } from "../core/random.ts";
import {
  closeDirectory,
  fileIdentity,
  linkIfAbsent,
  openPrivateDirectory,
  renameIfPresent,
  unlinkIfPresent,
} from "./private-files.ts";

const LOCK_SOCKET = "lock.sock";
/** `sun_path` of a Unix socket holds 108 bytes; longer paths go by way of /proc. */
const SOCKET_PATH_BYTES_MAX = 100;
const ATTEMPTS_MAX = 10;

/** One process per store. The lock is a socket that listens: the kernel closes it with the process, however that ends. */
export interface StoreLock {
  release(): Promise<void>;
}

/**
 * Takes the store for this process.
 *
 * The socket listens under a name of its own before it is linked to `lock.sock`, so whoever finds `lock.sock` finds it
 * listening, or dead. A dead one is renamed away, which only one process can do, and tried once more under its new name: if
 * another process had taken the lock meanwhile, it gets its name back.
 * @throws {MillraceError} STORE_LOCKED when another process has it, STORE_UNUSABLE when the directory cannot hold a lock
 */
export async function lockStore(options: { directory: string; random: Random }): Promise<StoreLock> {
  const directory = path.resolve(options.directory);
  const lockPath = path.join(directory, LOCK_SOCKET);
  const descriptor = openPrivateDirectory(directory);
  const ownName = `lock-${randomHex(options.random, 8)}.sock`;
  const ownPath = path.join(directory, ownName);
  let server: Server | undefined;
  try {
    server = await listenAt(socketPath(directory, descriptor, ownName));
    const identity = fileIdentity(ownPath);
    await linkWhenFree({ directory, descriptor, ownPath, lockPath, random: options.random });
    unlinkIfPresent(ownPath);
    return new HeldLock({ server, descriptor, lockPath, inode: identity?.inode });
  } catch (thrown) {
    if (server !== undefined) await closeServer(server);
    closeDirectory(descriptor);
    if (thrown instanceof MillraceError) throw thrown;
    throw new MillraceError(
      "STORE_UNUSABLE",
      `Cannot lock store ${directory}: ${systemCode(thrown) ?? String(thrown)}`,
      { cause: thrown },
    );
  }
}

async function linkWhenFree(options: {
  directory: string;
  descriptor: number;
  ownPath: string;
  lockPath: string;
  random: Random;
}): Promise<void> {
  const { directory, descriptor, ownPath, lockPath, random } = options;
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    if (linkIfAbsent(ownPath, lockPath)) return;
    if (fileIdentity(lockPath)?.isSocket === false) {
      throw new MillraceError(
        "STORE_UNUSABLE",
        `Cannot lock store ${directory}: ${lockPath} is not a socket`,
      );
    }
    if (await isListening(socketPath(directory, descriptor, LOCK_SOCKET))) throw lockedError(directory);
    const staleName = `lock-${randomHex(random, 8)}.stale`;
    const stalePath = path.join(directory, staleName);
    if (!renameIfPresent(lockPath, stalePath)) continue;
    const isAlive = await isListening(socketPath(directory, descriptor, staleName));
    if (isAlive) linkIfAbsent(stalePath, lockPath);
    unlinkIfPresent(stalePath);
    if (isAlive) throw lockedError(directory);
  }
  throw lockedError(directory);
}

function lockedError(directory: string): MillraceError {
  return new MillraceError("STORE_LOCKED", `Cannot lock store ${directory}: another process uses it`);
}

class HeldLock implements StoreLock {
  readonly #server: Server;
  readonly #descriptor: number;
  readonly #lockPath: string;
  readonly #inode: bigint | undefined;
  readonly #onExit = (): void => this.#removeName();
  #isHeld = true;

  constructor(options: { server: Server; descriptor: number; lockPath: string; inode: bigint | undefined }) {
    this.#server = options.server;
    this.#descriptor = options.descriptor;
    this.#lockPath = options.lockPath;
    this.#inode = options.inode;
    process.once("exit", this.#onExit);
  }

  async release(): Promise<void> {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    process.removeListener("exit", this.#onExit);
    // The name goes first: a socket that is closed but still named would only cost the next start a detour.
    this.#removeName();
    await closeServer(this.#server);
    closeDirectory(this.#descriptor);
  }

  #removeName(): void {
    if (fileIdentity(this.#lockPath)?.inode === this.#inode) unlinkIfPresent(this.#lockPath);
  }
}

function socketPath(directory: string, descriptor: number, name: string): string {
  const direct = path.join(directory, name);
  if (Buffer.byteLength(direct) <= SOCKET_PATH_BYTES_MAX) return direct;
  return `/proc/self/fd/${descriptor}/${name}`;
}

function listenAt(socket: string): Promise<Server> {
  // Nobody has anything to say here: that the connection is accepted is the answer.
  const server = createServer((peer) => peer.destroy());
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(socket, () => {
      server.removeListener("error", reject);
      // A failed accept (no descriptors left) changes nothing: the kernel has accepted for us.
      server.on("error", () => undefined);
      server.unref();
      resolve(server);
    });
  });
}

function isListening(socket: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const client = connect(socket);
    client.once("connect", () => {
      client.destroy();
      resolve(true);
    });
    client.once("error", (error) => {
      const code = systemCode(error);
      // A full backlog belongs to a process that lives but is busy or stopped.
      if (code === "EAGAIN") resolve(true);
      else if (code === "ECONNREFUSED" || code === "ENOENT") resolve(false);
      else reject(error);
    });
  });
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
