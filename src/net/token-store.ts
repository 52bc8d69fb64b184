import path from "node:path";
import { MillraceError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { createPrivateFile, readPrivateFile } from "./private-files.ts";

/*
 * The owner's token, <store>/token, 0600. It stands there as it is, where named tokens are kept as hashes only: the commands of
 * the same user must present it, and whoever can read it as that user can read the streams themselves.
 */
const TOKEN_FILE = "token";
const TOKEN_BYTES = 32;
const TOKEN_FILE_BYTES_MAX = 4096;
/** base64url of 16 bytes and more: what a person may put into the file instead of ours. */
const TOKEN_PATTERN = /^[A-Za-z0-9_-]{22,1024}$/;

/** Where the token of a store is, for the commands that present it. */
export function tokenPath(storeDirectory: string): string {
  return path.join(storeDirectory, TOKEN_FILE);
}

/** A new token: 256 random bits. */
export function makeToken(random: Random): string {
  return Buffer.from(random.bytes(TOKEN_BYTES)).toString("base64url");
}

/**
 * The token of a store as the commands need it; undefined if the engine has never run there.
 * @throws {MillraceError} STORE_UNUSABLE when others may read or change the file
 */
export function readToken(storeDirectory: string): string | undefined {
  const file = tokenPath(storeDirectory);
  const token = readPrivateFile(file, TOKEN_FILE_BYTES_MAX)?.trim();
  if (token !== undefined && !TOKEN_PATTERN.test(token)) {
    throw new MillraceError(
      "STORE_UNUSABLE",
      `Cannot use ${file}: not a token (22 to 1024 characters of A-Z, a-z, 0-9, - and _)`,
    );
  }
  return token;
}

/** The store's token, made where there is none. The directory must exist. @throws {MillraceError} STORE_UNUSABLE */
export function ensureToken(options: { directory: string; random: Random }): {
  readonly token: string;
  readonly isNew: boolean;
} {
  const { directory, random } = options;
  let token = readToken(directory);
  const isNew =
    token === undefined &&
    createPrivateFile(tokenPath(directory), { text: `${makeToken(random)}\n`, random });
  token ??= readToken(directory);
  if (token === undefined) {
    throw new MillraceError("STORE_UNUSABLE", `Cannot read ${tokenPath(directory)}: it vanished`);
  }
  return { token, isNew };
}
