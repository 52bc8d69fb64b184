import assert from "node:assert/strict";
import { test } from "node:test";
import { companionName } from "../../src/engine/companion-name.ts";
import { NAME_PATTERN } from "../../src/wire/field-rules.ts";

test("companionName is the stream's name with a suffix, numbered from the second attempt on", () => {
  assert.equal(companionName("readings", 1), "readings.set-aside");
  assert.equal(companionName("readings", 2), "readings.set-aside-2");
});

test("companionName keeps within 255 characters, and long names that begin alike apart", () => {
  const [one, other] = ["a", "b"].map((end) => companionName("x".repeat(254) + end, 12));
  assert.equal(one!.length, 255);
  assert.match(one!, NAME_PATTERN);
  assert.match(one!, /^x+-[0-9a-f]{8}\.set-aside-12$/);
  assert.notEqual(one, other);
  assert.equal(companionName("y".repeat(245), 1), `${"y".repeat(245)}.set-aside`);
});
