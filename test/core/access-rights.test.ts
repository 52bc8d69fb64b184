import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type AccessPatterns,
  AccessRights,
  fullRights,
  matchesPattern,
  sameRights,
} from "../../src/core/access-rights.ts";
import { MillraceError } from "../../src/core/errors.ts";
import { ACCESS_PATTERNS_MAX, ACCESS_VERDICTS_MAX } from "../../src/core/limits.ts";

function rights(some: Partial<AccessPatterns>): AccessRights {
  return new AccessRights({ append: [], read: [], manage: [], metrics: false, ...some });
}

const matches: [pattern: string, text: string, expected: boolean][] = [
  ["cam-1", "cam-1", true],
  ["cam-1", "cam-12", false],
  ["cam-1", "Cam-1", false],
  ["cam-*", "cam-", true],
  ["cam-*", "cam-front", true],
  ["cam-*", "xcam-front", false],
  ["*", "anything at all", true],
  ["**", "a", true],
  ["*-raw", "cam-raw", true],
  ["*-raw", "cam-raw-2", false],
  ["a*b*c", "abc", true],
  ["a*b*c", "a-b-b-c", true],
  ["a*b*c", "a-c-b", false],
  ["a*aab", "aaaab", true],
  // Nothing but the star means anything.
  ["a.c", "abc", false],
  ["a.c", "a.c", true],
];

for (const [pattern, text, expected] of matches) {
  test(`matchesPattern: ${pattern} ${expected ? "takes" : "does not take"} ${text}`, () => {
    assert.equal(matchesPattern(pattern, text), expected);
  });
}

test("matchesPattern takes no longer than both lengths allow, whatever the pattern", () => {
  const started = process.cpuUsage().user;
  assert.equal(matchesPattern("*a".repeat(127) + "b", "a".repeat(255)), false);
  // With a backtracking matcher this would not end.
  assert.ok(process.cpuUsage().user - started < 1_000_000);
});

test("AccessRights gives each right by its own patterns, and any of them to see the stream", () => {
  const some = rights({ append: ["cam-*", "mic"], read: ["*-raw"] });
  assert.equal(some.allows("append", "cam-1"), true);
  assert.equal(some.allows("read", "cam-1"), false);
  assert.equal(some.allows("manage", "cam-1"), false);
  assert.equal(some.allows("read", "cam-raw"), true);
  assert.equal(some.allows("append", "cam-raw"), true);
  assert.equal(some.allowsAny("x-raw"), true);
  assert.equal(some.allowsAny("mic-2"), false);
  assert.equal(some.mayReadMetrics, false);
  // Once more, from what it remembers.
  assert.equal(some.allows("append", "cam-1"), true);
  assert.equal(some.allows("read", "cam-1"), false);
  assert.equal(rights({}).allowsAny("a"), false);
  assert.equal(fullRights.allows("manage", "whatever"), true);
  assert.equal(fullRights.mayReadMetrics, true);
});

test("AccessRights answers the same after more names than it remembers", () => {
  const some = rights({ append: ["keep"] });
  for (let index = 0; index < ACCESS_VERDICTS_MAX * 2; index++) {
    assert.equal(some.allows("append", `other-${index}`), false);
  }
  assert.equal(some.allows("append", "keep"), true);
});

test("AccessRights refuses patterns that no stream could have, and too many", () => {
  const isRefusal = (error: unknown): boolean =>
    error instanceof MillraceError && error.code === "INVALID_REQUEST";
  for (const pattern of ["", "a/b", "a\n", "é", "a?", "a".repeat(256)]) {
    assert.throws(() => rights({ read: [pattern] }), isRefusal, pattern);
  }
  const many = Array.from({ length: ACCESS_PATTERNS_MAX + 1 }, (_, index) => `s-${index}`);
  assert.throws(() => rights({ manage: many }), isRefusal);
  assert.doesNotThrow(() => rights({ manage: many.slice(1) }));
});

test("sameRights compares what may be done", () => {
  assert.equal(sameRights(rights({ append: ["a"] }), rights({ append: ["a"] })), true);
  assert.equal(sameRights(rights({ append: ["a"] }), rights({ read: ["a"] })), false);
  assert.equal(sameRights(rights({}), rights({ metrics: true })), false);
});
