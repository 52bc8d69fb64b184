import assert from "node:assert/strict";
import { test } from "node:test";
import { systemRandom } from "../../../src/core/random.ts";
import { type ChosenKeys, partitionKeysOf } from "../../../src/export/destinations/partition-keys.ts";

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

function choose(setting: string, ...messages: string[]): ChosenKeys {
  const records = messages.map((text, sequence) => ({
    sequence,
    ingestTimeMs: 1,
    data: Buffer.from(text),
  }));
  return partitionKeysOf(setting).choose(records, systemRandom);
}

test("random partition keys are UUIDs, each another", () => {
  const { keys, fallbackCount } = choose("random", "a", "b", "c");
  for (const key of keys) assert.match(key, uuid);
  assert.equal(new Set(keys).size, 3);
  assert.equal(fallbackCount, 0);
  assert.equal(partitionKeysOf("random").bytesMax, 36);
});

test("a fixed partition key is that of every record, and counts its bytes", () => {
  assert.deepEqual(choose("fixed:größe", "a", "b"), { keys: ["größe", "größe"], fallbackCount: 0 });
  assert.equal(partitionKeysOf("fixed:größe").bytesMax, 7);
});

test("a pointer finds strings and numbers wherever RFC 6901 says", () => {
  const message = JSON.stringify({ site: "north", line: [{ id: 17 }], "a/b": { "c~d": "odd" }, "": "empty" });
  const found = (pointer: string): unknown => choose(`pointer:${pointer}`, message).keys[0];
  assert.equal(found("/site"), "north");
  assert.equal(found("/line/0/id"), "17");
  assert.equal(found("/a~1b/c~0d"), "odd");
  assert.equal(found("/"), "empty");
  assert.deepEqual(choose("pointer:", '"whole"').keys, ["whole"]);
});

for (const [what, message] of [
  ["no JSON", "north"],
  ["no such member", "{}"],
  ["an inherited member", '{"site":{}}'],
  ["a list's length", '{"site":[]}'],
  ["null", "null"],
  ["an empty text", '{"site":{"length":""}}'],
  ["257 characters", JSON.stringify({ site: { length: "x".repeat(257) } })],
  ["half a character", '{"site":{"length":"\\ud800"}}'],
] as const) {
  test(`a message whose pointer meets ${what} gets a random key and is counted`, () => {
    const { keys, fallbackCount } = choose("pointer:/site/length", message, '{"site":{"length":5}}');
    assert.match(keys[0]!, uuid);
    assert.deepEqual(keys.slice(1), ["5"]);
    assert.equal(fallbackCount, 1);
  });
}

test("keys of 256 characters fit what a pointer's records are told to leave for them", () => {
  const longest = "\u{ffff}".repeat(256);
  const { keys } = choose("pointer:/key", JSON.stringify({ key: longest }));
  assert.deepEqual(keys, [longest]);
  assert.ok(Buffer.byteLength(longest) <= partitionKeysOf("pointer:/key").bytesMax);
});
