import assert from "node:assert/strict";
import {
  chmodSync,
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
import { type AccessPatterns } from "../../src/core/access-rights.ts";
import { systemClock } from "../../src/core/clock.ts";
import { MillraceError } from "../../src/core/errors.ts";
import { NAMED_TOKENS_MAX } from "../../src/core/limits.ts";
import { systemRandom } from "../../src/core/random.ts";
import {
  createNamedToken,
  namedTokensPath,
  readNamedTokens,
  revokeNamedToken,
} from "../../src/net/named-tokens.ts";
import { tokenHash } from "../../src/net/token-authenticator.ts";

function makeStore(t: TestContext): string {
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-tokens-"));
  t.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

const camera: AccessPatterns = { append: ["cam-*"], read: ["cam-*", "mic"], manage: [], metrics: false };

function create(storeDirectory: string, name: string, patterns = camera): string {
  return createNamedToken({ storeDirectory, name, patterns, random: systemRandom, clock: systemClock });
}

const refuses = (code: string, text: RegExp) => (error: unknown) =>
  error instanceof MillraceError && error.code === code && text.test(error.message);

test("createNamedToken stores a token of 256 random bits by its hash, 0600, with what it may do", (t) => {
  const store = makeStore(t);
  const token = create(store, "camera");
  assert.match(token, /^mlr_[A-Za-z0-9_-]{43}$/);
  assert.notEqual(create(store, "other"), token);
  const { tokens, unreadable } = readNamedTokens(store);
  assert.deepEqual(unreadable, []);
  assert.deepEqual(
    tokens.map(({ name }) => name),
    ["camera", "other"],
  );
  assert.deepEqual(tokens[0]!.rights.patterns, camera);
  assert.deepEqual(Buffer.from(tokens[0]!.hash), tokenHash(token));
  const directory = namedTokensPath(store);
  assert.equal(statSync(directory).mode & 0o777, 0o700);
  assert.deepEqual(readdirSync(directory).sort(), ["camera", "other"]);
  const file = path.join(directory, "camera");
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const text = readFileSync(file, "utf8");
  assert.ok(!text.includes(token) && !text.includes(token.slice(4)), "the token itself is nowhere");
});

test("createNamedToken refuses a name that is taken, and one that is no name", (t) => {
  const store = makeStore(t);
  create(store, "camera");
  const before = readFileSync(path.join(namedTokensPath(store), "camera"), "utf8");
  assert.throws(() => create(store, "camera"), refuses("INVALID_REQUEST", /there is one of that name/));
  assert.equal(readFileSync(path.join(namedTokensPath(store), "camera"), "utf8"), before);
  for (const name of ["", "../token", "a/b", ".hidden", "a b", "-x", "a".repeat(65), "owner", "anyone"]) {
    assert.throws(() => create(store, name), refuses("INVALID_REQUEST", /name/), name);
  }
  assert.throws(
    () => create(store, "odd", { ...camera, read: ["a/b"] }),
    refuses("INVALID_REQUEST", /Cannot allow to read "a\/b"/),
  );
  assert.deepEqual(readdirSync(store), ["tokens"]);
});

test("createNamedToken makes no more than there may be", (t) => {
  const store = makeStore(t);
  create(store, "first");
  const directory = namedTokensPath(store);
  for (let index = 1; index < NAMED_TOKENS_MAX; index++) {
    writeFileSync(path.join(directory, `t-${index}`), "", { mode: 0o600 });
  }
  assert.throws(() => create(store, "more"), refuses("INVALID_REQUEST", /which is the most there may be/));
});

test("revokeNamedToken removes one for good, whatever its file holds", (t) => {
  const store = makeStore(t);
  const token = create(store, "camera");
  create(store, "other");
  revokeNamedToken(store, "camera");
  assert.deepEqual(
    readNamedTokens(store).tokens.map(({ name }) => name),
    ["other"],
  );
  writeFileSync(path.join(namedTokensPath(store), "other"), "garbage");
  revokeNamedToken(store, "other");
  assert.deepEqual(readNamedTokens(store), { tokens: [], unreadable: [] });
  assert.throws(
    () => revokeNamedToken(store, "camera"),
    refuses("INVALID_REQUEST", /there is none of that name/),
  );
  assert.throws(() => revokeNamedToken(store, "../token"), refuses("INVALID_REQUEST", /is no name/));
  assert.notEqual(create(store, "camera"), token);
});

const damages: [string, (file: string, directory: string) => void][] = [
  ["an empty file", (file) => writeFileSync(file, "")],
  ["a file that others may write", (file) => chmodSync(file, 0o602)],
  [
    "a link",
    (file, directory) => {
      const target = path.join(directory, "..", "elsewhere");
      writeFileSync(target, readFileSync(file), { mode: 0o600 });
      rmSync(file);
      symlinkSync(target, file);
    },
  ],
  [
    "a copy under another name",
    (file, directory) => writeFileSync(file, readFileSync(path.join(directory, "other"))),
  ],
  [
    "more rights than were written",
    (file) => writeFileSync(file, readFileSync(file, "utf8").replace('"cam-*"', '"*"')),
  ],
  [
    "a later version",
    (file) => writeFileSync(file, readFileSync(file, "utf8").replace('"version":1', '"version":2')),
  ],
];

for (const [what, plant] of damages) {
  test(`readNamedTokens takes ${what} for no token, names it, and reads the others`, (t) => {
    const store = makeStore(t);
    create(store, "camera");
    create(store, "other");
    const directory = namedTokensPath(store);
    const file = path.join(directory, "camera");
    plant(file, directory);
    const { tokens, unreadable } = readNamedTokens(store);
    assert.deepEqual(
      tokens.map(({ name }) => name),
      ["other"],
    );
    assert.equal(unreadable.length, 1);
    assert.equal(unreadable[0]!.path, file);
    assert.match(unreadable[0]!.reason, /^Cannot (trust|read) /);
  });
}

test("readNamedTokens takes no prefix and no file with one flipped bit for a token", (t) => {
  const store = makeStore(t);
  create(store, "camera");
  const file = path.join(namedTokensPath(store), "camera");
  const whole = readFileSync(file);
  for (let length = 0; length < whole.length; length++) {
    writeFileSync(file, whole.subarray(0, length));
    assert.equal(readNamedTokens(store).tokens.length, 0, `${length} bytes`);
  }
  for (let bit = 0; bit < whole.length * 8; bit += 5) {
    const flipped = Buffer.from(whole);
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    writeFileSync(file, flipped);
    assert.equal(readNamedTokens(store).tokens.length, 0, `bit ${bit}`);
  }
  writeFileSync(file, whole);
  assert.equal(readNamedTokens(store).tokens.length, 1);
});

test("readNamedTokens refuses a directory that others may write to", (t) => {
  const store = makeStore(t);
  create(store, "camera");
  chmodSync(namedTokensPath(store), 0o770);
  assert.throws(() => readNamedTokens(store), refuses("STORE_UNUSABLE", /must be ours and 700/));
});
