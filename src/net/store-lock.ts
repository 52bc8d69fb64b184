import { createServer, type Server } from "node:net";
import path from "node:path";
import { MillraceError, systemCode } from "../core/errors.ts";
import { type Random, randomHex } from "../core/random.ts";
import {
  closeDirectory,
  linkIfAbsent,
  listNames,
  openDirectory,
  openPrivateDirectory,
  unlinkIfPresent,
} from "./private-files.ts";
import { isListening } from "./socket-liveness.ts";

/*
 * One process per store. The lock is a socket that listens, since the kernel closes it with the process however that ends.
 * A socket's name outlives it, so the names are numbered: `lock-<generation>.sock`.
 *
 * - The holder is the process that listens on the highest generation.
 * - A socket listens under a name of its own, `claim-<random>.sock`, before it is linked to a generation: a generation that
 *   refuses connections is dead, not about to live.
 * - Who finds the highest generation dead links the next one, which one process can do; it holds the lock if no higher one has
 *   appeared meanwhile.
 * - Only lower generations than the holder's are ever removed. So a process that was slow to act on an old look finds its
 *   generation taken, or finds a higher one after linking it. One name for all would have to be removed by somebody, and could
 *   be removed from under a new holder.
 */
const LOCK_NAME = /^lock-(\d{1,15})\.sock$/;
const CLAIM_NAME = /^claim-[0-9a-f]+\.sock$/;
/** `sun_path` of a Unix socket holds 108 bytes; longer paths go by way of /proc. */
const SOCKET_PATH_BYTES_MAX = 100;
const ATTEMPTS_MAX = 10;

/** The store is ours until `release`, or until the process ends. The socket's name stays behind, dead. */
export interface StoreLock {
  release(): Promise<void>;
}

/**
 * Takes the store for this process.
 * @throws {MillraceError} STORE_LOCKED when another process has it, STORE_UNUSABLE when the directory cannot hold a lock
 */
export async function lockStore(options: { directory: string; random: Random }): Promise<StoreLock> {
  const directory = path.resolve(options.directory);
  const descriptor = openPrivateDirectory(directory);
  const claim = `claim-${randomHex(options.random, 8)}.sock`;
  let server: Server | undefined;
  try {
    server = await listenAt(socketPath(directory, descriptor, claim));
    const generation = await linkNextGeneration({ directory, descriptor, claim });
    removeLeftovers(directory, generation);
    return heldLock(server, descriptor);
  } catch (thrown) {
    // Closing also removes the claim.
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

/**
 * Whether a process has the store. Changes nothing, and needs no right but to look and to connect.
 * @throws {MillraceError} STORE_UNUSABLE when that cannot be told
 */
export async function isStoreLocked(storeDirectory: string): Promise<boolean> {
  const directory = path.resolve(storeDirectory);
  try {
    const highest = highestGeneration(directory);
    if (highest === 0) return false;
    const descriptor = openDirectory(directory);
    try {
      return await isListening(socketPath(directory, descriptor, lockName(highest)));
    } finally {
      closeDirectory(descriptor);
    }
  } catch (thrown) {
    if (systemCode(thrown) === "ENOENT") return false;
    const reason = systemCode(thrown) ?? String(thrown);
    const text = `Cannot tell whether an engine has store ${directory}: ${reason}`;
    throw new MillraceError("STORE_UNUSABLE", text, { cause: thrown });
  }
}

async function linkNextGeneration(options: {
  directory: string;
  descriptor: number;
  claim: string;
}): Promise<number> {
  const { directory, descriptor, claim } = options;
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const highest = highestGeneration(directory);
    if (highest > 0 && (await isListening(socketPath(directory, descriptor, lockName(highest))))) break;
    const generation = highest + 1;
    const lockPath = path.join(directory, lockName(generation));
    if (!linkClaim(path.join(directory, claim), lockPath)) continue;
    if (highestGeneration(directory) === generation) return generation;
    unlinkIfPresent(lockPath);
  }
  throw new MillraceError("STORE_LOCKED", `Cannot lock store ${directory}: another process uses it`);
}

/** False if somebody was faster: the generation is taken, or its holder has already removed our claim. */
function linkClaim(claimPath: string, lockPath: string): boolean {
  try {
    return linkIfAbsent(claimPath, lockPath);
  } catch (thrown) {
    if (systemCode(thrown) === "ENOENT") return false;
    throw thrown;
  }
}

/** 0 if there never was a lock. */
function highestGeneration(directory: string): number {
  let highest = 0;
  for (const name of listNames(directory)) {
    const generation = LOCK_NAME.exec(name)?.[1];
    if (generation !== undefined) highest = Math.max(highest, Number(generation));
  }
  return highest;
}

/** Names of dead holders, and of claims that lost or died. */
function removeLeftovers(directory: string, ownGeneration: number): void {
  for (const name of listNames(directory)) {
    const generation = LOCK_NAME.exec(name)?.[1];
    const isOld = generation !== undefined && Number(generation) < ownGeneration;
    if (isOld || CLAIM_NAME.test(name)) unlinkIfPresent(path.join(directory, name));
  }
}

function lockName(generation: number): string {
  return `lock-${generation}.sock`;
}

function heldLock(server: Server, descriptor: number): StoreLock {
  let isHeld = true;
  return {
    release: async () => {
      if (!isHeld) return;
      isHeld = false;
      await closeServer(server);
      closeDirectory(descriptor);
    },
  };
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

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
