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
import { MillraceError } from "../../src/core/errors.ts";
import { systemRandom } from "../../src/core/random.ts";
import { ensureToken, readToken, tokenPath } from "../../src/net/token-store.ts";

const TOKEN = "A".repeat(43);

function makeStore(t: TestContext): string {
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-token-"));
  t.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

function open(directory: string): ReturnType<typeof ensureToken> {
  return ensureToken({ directory, random: systemRandom });
}

test("ensureToken makes a token of 32 random bytes, 0600, at the first start only", (t) => {
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
  assert.equal(second.token, token);
  assert.notEqual(open(makeStore(t)).token, token);
});

test("ensureToken takes the token of a process that died before it had removed the file's first name", (t) => {
  const directory = makeStore(t);
  const { token } = open(directory);
  linkSync(tokenPath(directory), path.join(directory, ".new-0123456789abcdef"));
  writeFileSync(path.join(directory, ".new-00000000000000ff"), "of another", { mode: 0o600 });
  assert.equal(open(directory).token, token);
  assert.deepEqual(readdirSync(directory).sort(), [".new-00000000000000ff", "token"]);
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
  test(`ensureToken refuses ${what}, by its path and without its content`, (t) => {
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
