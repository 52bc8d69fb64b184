import assert from "node:assert/strict";
import {
  linkSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { systemClock, type Clock } from "../../src/core/clock.ts";
import { MillraceError } from "../../src/core/errors.ts";
import { systemRandom } from "../../src/core/random.ts";
import { openAuthenticator } from "../../src/net/authenticator.ts";
import {
  bearerToken,
  openTokenStore,
  readToken,
  TokenAuthenticator,
  tokenPath,
} from "../../src/net/token-store.ts";

const TOKEN = "A".repeat(43);

function makeStore(t: TestContext): string {
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-token-"));
  t.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

function open(directory: string): ReturnType<typeof openTokenStore> {
  return openTokenStore({ directory, random: systemRandom, clock: systemClock });
}

test("openTokenStore makes a token of 32 random bytes, 0600, at the first start only", (t) => {
  const directory = makeStore(t);
  assert.equal(readToken(directory), undefined);
  const first = open(directory);
  assert.equal(first.isNew, true);
  const token = readToken(directory);
  assert.match(token ?? "", /^[A-Za-z0-9_-]{43}$/);
  assert.equal(statSync(tokenPath(directory)).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(directory), ["token"]);
  const second = open(directory);
  assert.equal(second.isNew, false);
  assert.equal(readToken(directory), token);
  assert.equal(second.authenticator.authenticate(token).isAccepted, true);
  assert.notEqual(open(makeStore(t)).authenticator.authenticate(token).isAccepted, true);
});

const untrusted: [string, (file: string, directory: string) => void][] = [
  ["a file that others may read", (file) => writeFileSync(file, TOKEN, { mode: 0o640 })],
  [
    "a symbolic link",
    (file, directory) => {
      writeFileSync(path.join(directory, "target"), TOKEN, { mode: 0o600 });
      symlinkSync(path.join(directory, "target"), file);
    },
  ],
  [
    "a second hard link",
    (file, directory) => {
      writeFileSync(file, TOKEN, { mode: 0o600 });
      linkSync(file, path.join(directory, "other"));
    },
  ],
  ["a file that is too large", (file) => writeFileSync(file, "A".repeat(5000), { mode: 0o600 })],
  ["an empty file", (file) => writeFileSync(file, "", { mode: 0o600 })],
  ["a token that is too short", (file) => writeFileSync(file, "short\n", { mode: 0o600 })],
  ["a token of two lines", (file) => writeFileSync(file, `${TOKEN}\n${TOKEN}\n`, { mode: 0o600 })],
];

for (const [what, plant] of untrusted) {
  test(`openTokenStore refuses ${what}, by its path and without its content`, (t) => {
    const directory = makeStore(t);
    const file = tokenPath(directory);
    plant(file, directory);
    const before = readFileSync(file);
    assert.throws(
      () => open(directory),
      (error: unknown) => {
        assert.ok(error instanceof MillraceError);
        assert.equal(error.code, "STORE_UNUSABLE");
        assert.ok(error.message.includes(file));
        assert.doesNotMatch(error.message, /AAAA|short/);
        return true;
      },
    );
    assert.deepEqual(readFileSync(file), before);
  });
}

test("TokenAuthenticator accepts its token only", () => {
  const authenticator = new TokenAuthenticator({ token: TOKEN, clock: systemClock });
  assert.deepEqual(authenticator.authenticate(TOKEN), { isAccepted: true, principal: { name: "owner" } });
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
