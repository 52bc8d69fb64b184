import assert from "node:assert/strict";
import { test } from "node:test";
import { AccessRights, fullRights } from "../../src/core/access-rights.ts";
import { systemClock, type Clock } from "../../src/core/clock.ts";
import { openAuthenticator } from "../../src/net/authenticator.ts";
import {
  bearerToken,
  type KnownToken,
  TokenAuthenticator,
  tokenHash,
} from "../../src/net/token-authenticator.ts";

const TOKEN = "A".repeat(43);

function known(name: string, options: { token?: string; append?: readonly string[] } = {}): KnownToken {
  const { token = `token-of-${name}`, append = ["*"] } = options;
  const rights = new AccessRights({ append, read: [], manage: [], metrics: false });
  return { name, hash: tokenHash(token), rights };
}

test("TokenAuthenticator accepts its token only", () => {
  const authenticator = new TokenAuthenticator({ token: TOKEN, clock: systemClock });
  const principal = { name: "owner", rights: fullRights };
  assert.deepEqual(authenticator.authenticate(TOKEN), { isAccepted: true, principal });
  for (const token of [undefined, "", "A".repeat(42), "A".repeat(44), "B".repeat(43), TOKEN.toLowerCase()]) {
    assert.equal(authenticator.authenticate(token).isAccepted, false);
  }
  assert.equal(authenticator.failureCount, 6);
});

test("TokenAuthenticator delays refusals over five a second, to at most five seconds, and no acceptance", () => {
  let nowMs = 1_000_000;
  const clock: Clock = { nowMs: () => nowMs, monotonicMs: () => nowMs };
  const authenticator = new TokenAuthenticator({ token: TOKEN, clock });
  const delayMs = (): number => {
    const verdict = authenticator.authenticate("wrong");
    if (verdict.isAccepted) assert.fail("a wrong token was accepted");
    return verdict.delayMs;
  };
  const delays = Array.from({ length: 8 }, delayMs).map(Math.round);
  assert.deepEqual(delays, [0, 0, 0, 0, 0, 200, 400, 600]);
  for (let count = 0; count < 1000; count++) delayMs();
  assert.equal(delayMs(), 5000);
  assert.equal(authenticator.authenticate(TOKEN).isAccepted, true);
  nowMs += 60_000;
  assert.equal(delayMs(), 0);
});

test("TokenAuthenticator tells every token's own name and rights, wherever in the set it stands", () => {
  const authenticator = new TokenAuthenticator({ token: TOKEN, clock: systemClock });
  const names = ["first", "middle", "last"];
  authenticator.setTokens(names.map((name) => known(name, { append: [`${name}-*`] })));
  for (const name of names) {
    const verdict = authenticator.authenticate(`token-of-${name}`);
    assert.ok(verdict.isAccepted);
    assert.equal(verdict.principal.name, name);
    assert.deepEqual(verdict.principal.rights.patterns.append, [`${name}-*`]);
    assert.equal(authenticator.isCurrent(verdict.principal), true);
  }
  assert.equal(authenticator.authenticate("token-of-another").isAccepted, false);
  assert.equal(authenticator.authenticate(TOKEN).isAccepted, true);
});

test("TokenAuthenticator revokes who is gone, may do other things or has another secret, and nobody else", () => {
  const authenticator = new TokenAuthenticator({ token: TOKEN, clock: systemClock });
  let revocations = 0;
  const endCalls = authenticator.onRevoked(() => (revocations += 1));
  const principalOf = (token: string) => {
    const verdict = authenticator.authenticate(token);
    assert.ok(verdict.isAccepted);
    return verdict.principal;
  };
  authenticator.setTokens(["stays", "goes", "changes", "renewed"].map((name) => known(name)));
  assert.equal(revocations, 0);
  const before = ["stays", "goes", "changes", "renewed"].map((name) => principalOf(`token-of-${name}`));
  const owner = principalOf(TOKEN);
  authenticator.setTokens([
    known("stays"),
    known("changes", { append: ["a"] }),
    known("renewed", { token: "another" }),
  ]);
  assert.equal(revocations, 1);
  assert.deepEqual(
    before.map((principal) => authenticator.isCurrent(principal)),
    [true, false, false, false],
  );
  assert.equal(authenticator.isCurrent(owner), true);
  authenticator.setOwnerToken(TOKEN);
  assert.equal(revocations, 1);
  authenticator.setOwnerToken("B".repeat(43));
  assert.equal(revocations, 2);
  assert.equal(authenticator.isCurrent(owner), false);
  assert.equal(authenticator.authenticate(TOKEN).isAccepted, false);
  endCalls();
  authenticator.setTokens([]);
  assert.equal(revocations, 2);
});

test("openAuthenticator lets everybody in", () => {
  assert.equal(openAuthenticator.authenticate(undefined).isAccepted, true);
});

test("bearerToken reads an Authorization header", () => {
  assert.equal(bearerToken("Bearer abc"), "abc");
  assert.equal(bearerToken("bearer  a-b_c "), "a-b_c");
  for (const header of [undefined, "", "Bearer", "Bearer ", "Basic abc", "abc", "Bearer a b"]) {
    assert.equal(bearerToken(header), undefined);
  }
});
