import { createHash } from "node:crypto";
import path from "node:path";
import { type AccessPatterns, AccessRights, streamRights } from "../core/access-rights.ts";
import type { Clock } from "../core/clock.ts";
import { MillraceError, asMillraceError, systemCode } from "../core/errors.ts";
import { NAMED_TOKENS_MAX, TOKEN_FILE_BYTES_MAX } from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import {
  closeDirectory,
  createPrivateFile,
  listNames,
  makePrivateDirectory,
  openPrivateDirectory,
  readPrivateFile,
  removeDurably,
} from "./private-files.ts";
import { type KnownToken, OWNER_NAME, tokenHash } from "./token-authenticator.ts";
import { makeToken } from "./token-store.ts";

/*
 * Tokens with names: <store>/tokens/, 0700, a file for each by its name, 0600.
 *
 *   {"version":1,"name":"camera","createdMs":…,"sha256":"…","append":["cam-*"],"read":[],"manage":[],"metrics":false}
 *   sha256:<of the line above>
 *
 * - It holds the token's hash, never the token.
 * - One file each: making and revoking are one link and one unlink, so nothing is half done after a crash, two commands cannot undo
 *   each other's work, and damage costs the one token whose file it hit.
 * - The second line makes a flipped bit a file that cannot be read. A right must not grow by one.
 */
const DIRECTORY = "tokens";
const VERSION = 1;
/** Names are parts of a path: no separators, and no leading dot, which temporary files have. */
const NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;
/** What logs and messages call those that have no file. */
const RESERVED_NAMES: readonly string[] = [OWNER_NAME, "anyone"];
/** Marks a token as one of ours where it turns up in a text, for people and for programs that search for secrets. */
const TOKEN_PREFIX = "mlr_";
const CHECK_PREFIX = "sha256:";

export interface NamedToken extends KnownToken {
  readonly createdMs: number;
}

/** A file that says nothing that may be relied upon: its token does not let anybody in. */
export interface UnreadableToken {
  readonly name: string;
  readonly path: string;
  readonly reason: string;
  /** The system's refusal, where the file was not even read. */
  readonly systemCode: string | undefined;
}

export interface NamedTokens {
  readonly tokens: readonly NamedToken[];
  readonly unreadable: readonly UnreadableToken[];
}

export function namedTokensPath(storeDirectory: string): string {
  return path.join(storeDirectory, DIRECTORY);
}

/** Makes the directory where there is none. @throws {MillraceError} STORE_UNUSABLE when others may write to it */
export function ensureTokensDirectory(storeDirectory: string): void {
  closeDirectory(openPrivateDirectory(storeDirectory));
  makePrivateDirectory(namedTokensPath(storeDirectory));
}

/**
 * Makes a token and returns it; it cannot be had again. Durable on return.
 * @throws {MillraceError} INVALID_REQUEST for its name or its patterns, STORE_UNUSABLE
 */
export function createNamedToken(options: {
  storeDirectory: string;
  name: string;
  patterns: AccessPatterns;
  random: Random;
  clock: Clock;
}): string {
  const { storeDirectory, name, patterns, random, clock } = options;
  checkName(name);
  if (RESERVED_NAMES.includes(name)) throw invalid(`Cannot name a token ${name}: that name is taken`);
  const { append, read, manage, metrics } = new AccessRights(patterns).patterns;
  ensureTokensDirectory(storeDirectory);
  const directory = namedTokensPath(storeDirectory);
  if (namesIn(directory).length >= NAMED_TOKENS_MAX) {
    throw invalid(`Cannot make token ${name}: ${NAMED_TOKENS_MAX} tokens, which is the most there may be`);
  }
  const token = TOKEN_PREFIX + makeToken(random);
  const sha256 = tokenHash(token).toString("hex");
  const createdMs = clock.nowMs();
  const body = JSON.stringify({ version: VERSION, name, createdMs, sha256, append, read, manage, metrics });
  const isNew = createPrivateFile(path.join(directory, name), {
    text: `${body}\n${CHECK_PREFIX}${checkOf(body)}\n`,
    random,
  });
  if (!isNew) throw invalid(`Cannot make token ${name}: there is one of that name; revoke it first`);
  return token;
}

/** All tokens, by name. None where the directory is not there. @throws {MillraceError} STORE_UNUSABLE */
export function readNamedTokens(storeDirectory: string): NamedTokens {
  const directory = namedTokensPath(storeDirectory);
  const tokens: NamedToken[] = [];
  const unreadable: UnreadableToken[] = [];
  for (const name of namesIn(directory)) {
    const file = path.join(directory, name);
    try {
      const text = readPrivateFile(file, TOKEN_FILE_BYTES_MAX);
      // Revoked since the directory was read.
      if (text !== undefined) tokens.push(parseToken(text, { name, path: file }));
    } catch (thrown) {
      const error = asMillraceError(thrown);
      unreadable.push({ name, path: file, reason: error.message, systemCode: systemCode(error.cause) });
    }
  }
  return { tokens, unreadable };
}

/**
 * Removes a token, also one whose file cannot be read. Durable on return.
 * @throws {MillraceError} INVALID_REQUEST when there is none of that name, STORE_UNUSABLE
 */
export function revokeNamedToken(storeDirectory: string, name: string): void {
  checkName(name);
  const file = path.join(namedTokensPath(storeDirectory), name);
  if (!removeDurably(file)) throw invalid(`Cannot revoke token ${name}: there is none of that name`);
}

function namesIn(directory: string): string[] {
  try {
    closeDirectory(openPrivateDirectory(directory));
    // Sorted, so that it is always the same ones that count should there be too many.
    return listNames(directory)
      .filter((name) => !name.startsWith("."))
      .sort();
  } catch (thrown) {
    const { cause } = asMillraceError(thrown);
    if (systemCode(cause) === "ENOENT" || systemCode(thrown) === "ENOENT") return [];
    throw thrown;
  }
}

function parseToken(text: string, { name, path }: { name: string; path: string }): NamedToken {
  const unusable = (what: string): MillraceError =>
    new MillraceError("STORE_UNUSABLE", `Cannot trust ${path}: ${what}`);
  const [body = "", check = "", ...rest] = text.split("\n");
  const isWhole = rest.length === 1 && rest[0] === "" && check === CHECK_PREFIX + checkOf(body);
  if (!isWhole) throw unusable("it is incomplete or was changed");
  // What follows is what we wrote, unless a later version did.
  const stored = JSON.parse(body) as Partial<Record<string, unknown>>;
  if (stored["version"] !== VERSION) throw unusable(`version ${String(stored["version"])} is not known`);
  if (stored["name"] !== name || !NAME_PATTERN.test(name)) throw unusable("it is of another name");
  const { createdMs, sha256, metrics } = stored;
  const [append, read, manage] = streamRights.map((right) => stored[right]);
  const isSound =
    typeof createdMs === "number" &&
    typeof sha256 === "string" &&
    /^[0-9a-f]{64}$/.test(sha256) &&
    typeof metrics === "boolean" &&
    isTextList(append) &&
    isTextList(read) &&
    isTextList(manage);
  if (!isSound) throw unusable("it is not a token file");
  const rights = new AccessRights({ append, read, manage, metrics });
  return { name, createdMs, hash: Buffer.from(sha256, "hex"), rights };
}

function isTextList(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

function checkOf(body: string): string {
  return createHash("sha256").update(body).digest("hex");
}

function checkName(name: string): void {
  if (NAME_PATTERN.test(name)) return;
  throw invalid(
    `${JSON.stringify(name.slice(0, 80))} is no name for a token: 1 to 64 characters of A-Z, a-z, 0-9, _, . and -, the first a letter or a digit`,
  );
}

function invalid(message: string): MillraceError {
  return new MillraceError("INVALID_REQUEST", message);
}
