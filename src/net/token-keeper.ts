import type { Clock } from "../core/clock.ts";
import { asMillraceError } from "../core/errors.ts";
import { NAMED_TOKENS_MAX, TOKENS_CHECK_MS } from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import type { Timers } from "../core/timers.ts";
import type { MetricSample } from "../observe/counters.ts";
import { EventName } from "../observe/events.ts";
import type { Logger } from "../observe/logger.ts";
import {
  type NamedToken,
  type NamedTokens,
  ensureTokensDirectory,
  namedTokensPath,
  readNamedTokens,
} from "./named-tokens.ts";
import { pathStamp, watchDirectory } from "./private-files.ts";
import { TokenAuthenticator } from "./token-authenticator.ts";
import { ensureToken, tokenPath } from "./token-store.ts";

/** The system's refusals that say nothing of the file and may be over soon; anything else, such as a link, is the file's. */
const PASSING_FAILURES: ReadonlySet<string | undefined> = new Set(["EMFILE", "ENFILE", "ENOMEM", "EIO"]);
/** Events of one change come together. */
const SETTLE_MS = 20;

export interface TokenKeeperOptions {
  readonly storeDirectory: string;
  readonly random: Random;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly logger: Logger;
  /** Reads the files of a store; from its directory by default. */
  readonly readTokens?: (storeDirectory: string) => NamedTokens;
}

/**
 * Keeps an authenticator in step with the token files of a store: what a command makes or revokes holds within moments.
 *
 * - A file that does not hold what a token file must lets nobody in, and costs nobody else anything.
 * - A file that the system would not read for now (a failing medium, no descriptors) changes nothing for a token that is known.
 * - The owner's token comes from another file, so whatever becomes of the others, the owner gets in.
 */
export class TokenKeeper {
  readonly authenticator: TokenAuthenticator;
  readonly #options: TokenKeeperOptions;
  #tokens: readonly NamedToken[] = [];
  #unreadableCount = 0;
  /** Why the directory could not be read. */
  #fault = "";
  #stamp: string | undefined;
  #watchedInode: string | undefined;
  #endWatch: (() => void) | undefined;
  #cancelCheck: () => void = () => undefined;
  #cancelSettle: (() => void) | undefined;
  #isClosed = false;

  /** Makes the owner's token where there is none. The store must exist. @throws {MillraceError} STORE_UNUSABLE */
  constructor(options: TokenKeeperOptions) {
    const { storeDirectory, random, clock, logger } = options;
    this.#options = options;
    const { token, isNew } = ensureToken({ directory: storeDirectory, random });
    if (isNew) logger.info(EventName.TokenCreated, { path: tokenPath(storeDirectory) });
    this.authenticator = new TokenAuthenticator({ token, clock });
    ensureTokensDirectory(storeDirectory);
    this.#check();
  }

  /** Reads everything again, the owner's token too. A file of the owner's that cannot be trusted changes nothing. */
  reload(): void {
    const { storeDirectory, random, logger } = this.#options;
    try {
      this.authenticator.setOwnerToken(ensureToken({ directory: storeDirectory, random }).token);
    } catch (thrown) {
      logger.error(EventName.TokenUnreadable, { path: tokenPath(storeDirectory) }, thrown);
    }
    this.#load();
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelCheck();
    this.#cancelSettle?.();
    this.#endWatch?.();
  }

  *samples(): Iterable<MetricSample> {
    yield { name: "named_tokens", value: this.#tokens.length };
    yield { name: "unreadable_tokens", value: this.#unreadableCount };
  }

  /** Beside being told by the system, which not every file system does. */
  #check(): void {
    const { storeDirectory, timers } = this.#options;
    if (this.#stamp === undefined || pathStamp(namedTokensPath(storeDirectory)) !== this.#stamp) {
      this.#load();
    }
    this.#cancelCheck = timers.setTimer(() => this.#check(), TOKENS_CHECK_MS);
  }

  #onChange(): void {
    if (this.#isClosed || this.#cancelSettle !== undefined) return;
    this.#cancelSettle = this.#options.timers.setTimer(() => {
      this.#cancelSettle = undefined;
      this.#load();
    }, SETTLE_MS);
  }

  #load(): void {
    const { storeDirectory, logger, readTokens = readNamedTokens } = this.#options;
    const directory = namedTokensPath(storeDirectory);
    try {
      this.#watch(directory);
      // Before it is read: what changes meanwhile is seen by the next look.
      this.#stamp = pathStamp(directory);
      this.#adopt(readTokens(storeDirectory));
      this.#fault = "";
    } catch (thrown) {
      // Tried again at the next look, and told of once.
      this.#stamp = undefined;
      const { message } = asMillraceError(thrown);
      if (message !== this.#fault) logger.error(EventName.TokenUnreadable, { path: directory }, thrown);
      this.#fault = message;
    }
  }

  /** Also of a directory that was removed, and made again, since. Only commands make it then: the store may be being removed. */
  #watch(directory: string): void {
    const inode = pathStamp(directory)?.split("-")[0];
    if (this.#endWatch !== undefined && inode === this.#watchedInode) return;
    this.#endWatch?.();
    this.#watchedInode = inode;
    this.#endWatch = inode === undefined ? undefined : watchDirectory(directory, () => this.#onChange());
  }

  #adopt({ tokens, unreadable }: NamedTokens): void {
    const { logger } = this.#options;
    const kept = unreadable
      .filter(({ systemCode }) => PASSING_FAILURES.has(systemCode))
      .flatMap(({ name }) => this.#tokens.filter((known) => known.name === name));
    for (const { path, reason } of unreadable) logger.error(EventName.TokenUnreadable, { path, reason });
    const all = [...tokens, ...kept];
    if (all.length > NAMED_TOKENS_MAX) {
      const reason = `${all.length} tokens, those after the first ${NAMED_TOKENS_MAX} by name let nobody in`;
      logger.error(EventName.TokenUnreadable, { reason, limit: NAMED_TOKENS_MAX });
    }
    this.#tokens = all.slice(0, NAMED_TOKENS_MAX);
    this.#unreadableCount = unreadable.length;
    this.authenticator.setTokens(this.#tokens);
    if (this.#tokens.length > 0) logger.info(EventName.TokensLoaded, { count: this.#tokens.length });
  }
}
