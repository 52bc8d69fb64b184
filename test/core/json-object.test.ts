import assert from "node:assert/strict";
import { test } from "node:test";
import { isJsonObject } from "../../src/core/json-object.ts";

test("isJsonObject takes what stands in braces, and nothing else that JSON can say", () => {
  for (const text of ["{}", '{"a":null}']) assert.ok(isJsonObject(JSON.parse(text)), text);
  for (const text of ["null", "[]", "[{}]", "1", '"{}"', "true"])
    assert.ok(!isJsonObject(JSON.parse(text)), text);
  assert.ok(!isJsonObject(undefined));
});
