import { createHash, timingSafeEqual } from "node:crypto";
import { type AccessRights, type Principal, fullRights, sameRights } from "../core/access-rights.ts";
import type { Clock } from "../core/clock.ts";
import { AUTHENTICATION_DELAY_MS_MAX, AUTHENTICATION_FAILURES_PER_SECOND_MAX } from "../core/limits.ts";
import type { Authenticator, Verdict } from "./authenticator.ts";

/** A token as it is kept: by its hash. */
export interface KnownToken {
  readonly name: string;
  readonly hash: Uint8Array;
  readonly rights: AccessRights;
}

interface Holder {
  readonly hash: Uint8Array;
  readonly principal: Principal;
}

export const OWNER_NAME = "owner";

/** Compares in constant time and slows refusals down. Keeps the hashes of tokens, not the tokens. */
export class TokenAuthenticator implements Authenticator {
  readonly #clock: Clock;
  readonly #listeners = new Set<() => void>();
  #owner: Holder;
  #others: readonly Holder[] = [];
  #failureCount = 0;
  /** When the allowance of free refusals is full again; each refusal moves it on by its share of a second. */
  #fullAgainMs = 0;

  /** `token` is the owner's. */
  constructor(options: { token: string; clock: Clock }) {
    this.#clock = options.clock;
    this.#owner = holderOf({ name: OWNER_NAME, hash: tokenHash(options.token), rights: fullRights });
  }

  get failureCount(): number {
    return this.#failureCount;
  }

  /** Another token is the owner's from now on. */
  setOwnerToken(token: string): void {
    const hash = tokenHash(token);
    if (timingSafeEqual(hash, this.#owner.hash)) return;
    this.#owner = holderOf({ name: OWNER_NAME, hash, rights: fullRights });
    this.#tellRevoked();
  }

  /** These are the tokens beside the owner's from now on. A token that is known and may do what it might stays the same principal. */
  setTokens(tokens: readonly KnownToken[]): void {
    const before = this.#others;
    this.#others = tokens.map((token) => before.find((holder) => isOf(holder, token)) ?? holderOf(token));
    if (before.some((holder) => !this.#others.includes(holder))) this.#tellRevoked();
  }

  authenticate(token: string | undefined): Verdict {
    const principal = token === undefined ? undefined : this.#find(tokenHash(token));
    if (principal !== undefined) return { isAccepted: true, principal };
    this.#failureCount += 1;
    return { isAccepted: false, delayMs: this.#takeDelayMs() };
  }

  isCurrent(principal: Principal): boolean {
    return (
      this.#owner.principal === principal || this.#others.some((holder) => holder.principal === principal)
    );
  }

  onRevoked(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Compares with every token, whichever it is. Hashed first: timingSafeEqual wants equal lengths, and the length must not show. */
  #find(hash: Uint8Array): Principal | undefined {
    let found = timingSafeEqual(hash, this.#owner.hash) ? this.#owner.principal : undefined;
    for (const holder of this.#others) {
      if (timingSafeEqual(hash, holder.hash)) found = holder.principal;
    }
    return found;
  }

  #tellRevoked(): void {
    for (const listener of this.#listeners) listener();
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

/**
 * One round of SHA-256: a token is 256 random bits, which no dictionary and no search will find, so a slow hash, made for what
 * people think up, would only slow connecting down.
 */
export function tokenHash(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}

function holderOf({ name, hash, rights }: KnownToken): Holder {
  return { hash, principal: { name, rights } };
}

function isOf({ hash, principal }: Holder, token: KnownToken): boolean {
  return (
    principal.name === token.name &&
    timingSafeEqual(hash, token.hash) &&
    sameRights(principal.rights, token.rights)
  );
}

const BEARER = /^Bearer +([A-Za-z0-9_.~+/=-]+) *$/i;

/** The token of an `Authorization` header. */
export function bearerToken(header: string | undefined): string | undefined {
  return header === undefined ? undefined : BEARER.exec(header)?.[1];
}
