import { createHash, timingSafeEqual } from "node:crypto";
import path from "node:path";
import type { Clock } from "../core/clock.ts";
import { MillraceError } from "../core/errors.ts";
import { AUTHENTICATION_DELAY_MS_MAX, AUTHENTICATION_FAILURES_PER_SECOND_MAX } from "../core/limits.ts";
import { type Random, randomHex } from "../core/random.ts";
import type { Authenticator, Principal, Verdict } from "./authenticator.ts";
import { createPrivateFile, readPrivateFile } from "./private-files.ts";

const TOKEN_FILE = "token";
const TOKEN_BYTES = 32;
const TOKEN_FILE_BYTES_MAX = 4096;
/** base64url of 16 bytes and more: what a person may put into the file instead of ours. */
const TOKEN_PATTERN = /^[A-Za-z0-9_-]{22,1024}$/;

/** Where the token of a store is, for the commands that present it. */
export function tokenPath(storeDirectory: string): string {
  return path.join(storeDirectory, TOKEN_FILE);
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

/** Reads the store's token, and makes it at the first start: `<store>/token`, 0600. The directory must exist. */
export function openTokenStore(options: { directory: string; random: Random; clock: Clock }): {
  readonly authenticator: TokenAuthenticator;
  readonly isNew: boolean;
} {
  const { directory, random, clock } = options;
  let token = readToken(directory);
  const isNew =
    token === undefined &&
    createPrivateFile(tokenPath(directory), {
      text: `${Buffer.from(random.bytes(TOKEN_BYTES)).toString("base64url")}\n`,
      temporaryPath: path.join(directory, `${TOKEN_FILE}.${randomHex(random, 8)}`),
    });
  token ??= readToken(directory);
  if (token === undefined) {
    throw new MillraceError("STORE_UNUSABLE", `Cannot read ${tokenPath(directory)}: it vanished`);
  }
  return { authenticator: new TokenAuthenticator({ token, clock }), isNew };
}

/** Compares in constant time and slows refusals down. Keeps the hash of the token, not the token. */
export class TokenAuthenticator implements Authenticator {
  readonly #hash: Buffer;
  readonly #clock: Clock;
  readonly #principal: Principal = { name: "owner" };
  #failureCount = 0;
  /** When the allowance of free refusals is full again; each refusal moves it on by its share of a second. */
  #fullAgainMs = 0;

  constructor(options: { token: string; clock: Clock }) {
    this.#hash = hashOf(options.token);
    this.#clock = options.clock;
  }

  get failureCount(): number {
    return this.#failureCount;
  }

  authenticate(token: string | undefined): Verdict {
    // Hashed first: timingSafeEqual wants equal lengths, and the length must not show either.
    if (token !== undefined && timingSafeEqual(hashOf(token), this.#hash)) {
      return { isAccepted: true, principal: this.#principal };
    }
    this.#failureCount += 1;
    return { isAccepted: false, delayMs: this.#takeDelayMs() };
  }

  #takeDelayMs(): number {
    const nowMs = this.#clock.monotonicMs();
    const shareMs = 1000 / AUTHENTICATION_FAILURES_PER_SECOND_MAX;
    this.#fullAgainMs = Math.max(this.#fullAgainMs, nowMs) + shareMs;
    const delayMs = this.#fullAgainMs - nowMs - 1000;
    if (delayMs <= 0) return 0;
    if (delayMs > AUTHENTICATION_DELAY_MS_MAX) this.#fullAgainMs -= shareMs;
    return Math.min(delayMs, AUTHENTICATION_DELAY_MS_MAX);
  }
}

function hashOf(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}

const BEARER = /^Bearer +([A-Za-z0-9_.~+/=-]+) *$/i;

/** The token of an `Authorization` header. */
export function bearerToken(header: string | undefined): string | undefined {
  return header === undefined ? undefined : BEARER.exec(header)?.[1];
}
