import assert from "node:assert/strict";
import { test } from "node:test";
import { BoundedMap } from "../../src/core/bounded-map.ts";

test("BoundedMap forgets what was used longest ago, and nothing while there is room", () => {
  const map = new BoundedMap<string, number>(3);
  for (const [index, key] of ["a", "b", "c"].entries()) map.set(key, index);
  assert.equal(map.get("a"), 0);
  map.set("b", 7);
  assert.equal(map.size, 3);
  map.set("d", 4);
  assert.deepEqual(
    ["a", "b", "c", "d"].map((key) => map.get(key)),
    [0, 7, undefined, 4],
  );
  map.delete("a");
  assert.equal(map.get("a"), undefined);
  assert.equal(map.size, 2);
});

test("BoundedMap that is filled without end keeps its size", () => {
  const map = new BoundedMap<number, string>(10);
  for (let key = 0; key < 1000; key += 1) map.set(key, "value");
  assert.equal(map.size, 10);
  assert.equal(map.get(989), undefined);
  assert.equal(map.get(990), "value");
});
