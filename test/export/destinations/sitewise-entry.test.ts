import assert from "node:assert/strict";
import { test } from "node:test";
import { MillraceError } from "../../../src/core/errors.ts";
import { cutIntoCalls, entryIdsOf } from "../../../src/export/destinations/sitewise-calls.ts";
import { parseSiteWiseEntry, type SiteWiseEntry } from "../../../src/export/destinations/sitewise-entry.ts";

const ID = "11111111-2222-3333-4444-555555555555";
const value = {
  value: { doubleValue: 1 },
  timestamp: { timeInSeconds: 1_700_000_000, offsetInNanos: 5 },
  quality: "GOOD",
};
const entry = { entryId: "a", propertyAlias: "/a", propertyValues: [value] };

const parse = (given: unknown): SiteWiseEntry =>
  parseSiteWiseEntry(Buffer.from(typeof given === "string" ? given : JSON.stringify(given)));

test("parseSiteWiseEntry reads entries as the official helpers write them", () => {
  assert.deepEqual(parse(entry), entry);
  const byIds = { entryId: "A_-9", assetId: ID, propertyId: ID, propertyValues: entry.propertyValues };
  assert.deepEqual(parse(byIds), byIds);
  const byExternalIds = { ...byIds, assetId: "externalId:pump.1", propertyId: "externalId:rpm" };
  assert.deepEqual(parse(byExternalIds), byExternalIds);
  const variants = [
    { stringValue: "on" },
    { integerValue: -2 },
    { doubleValue: -1.5e10 },
    { booleanValue: false },
    { nullValue: { valueType: "D" } },
  ];
  for (const variant of variants) {
    const one = { ...entry, propertyValues: [{ ...value, value: variant }] };
    assert.deepEqual(parse(one), one);
  }
  const ten = { ...entry, propertyValues: Array.from({ length: 10 }, () => value) };
  assert.deepEqual(parse(ten), ten);
});

test("parseSiteWiseEntry leaves out nulls and fields that nobody knows", () => {
  const given = { ...entry, assetId: null, note: 1, propertyValues: [{ ...value, quality: null, more: {} }] };
  const { value: variant, timestamp } = value;
  assert.deepEqual(parse(given), { ...entry, propertyValues: [{ value: variant, timestamp }] });
});

const withValue = (change: object) => ({ ...entry, propertyValues: [{ ...value, ...change }] });
const refused: readonly (readonly [unknown, RegExp])[] = [
  ["", /it is not JSON in UTF-8/],
  ["{", /it is not JSON in UTF-8/],
  ["[]", /the message is \[\], must be an object/],
  ["null", /the message is null, must be an object/],
  [{ ...entry, entryId: undefined }, /entryId is missing, must be at most 64 characters/],
  [{ ...entry, entryId: "" }, /entryId is ""/],
  [{ ...entry, entryId: "a b" }, /entryId is "a b"/],
  [{ ...entry, entryId: "a".repeat(65) }, /at most 64 characters/],
  [{ ...entry, propertyAlias: undefined }, /names no property/],
  [{ ...entry, propertyAlias: undefined, assetId: ID }, /names no property/],
  [{ ...entry, propertyAlias: "a\u0000" }, /propertyAlias is "a\\u0000"/],
  [{ ...entry, propertyAlias: "a".repeat(2049) }, /1 to 2048 characters/],
  [{ ...entry, assetId: "pump" }, /assetId is "pump"/],
  [{ ...entry, propertyValues: {} }, /propertyValues is \{\}, must be a list/],
  [{ ...entry, propertyValues: [] }, /propertyValues has 0 values, must have 1 to 10/],
  [{ ...entry, propertyValues: Array.from({ length: 11 }, () => value) }, /has 11 values/],
  [withValue({ value: {} }), /propertyValues\[0\]\.value has none, must have one value/],
  [withValue({ value: { doubleValue: 1, stringValue: "a" } }), /has stringValue and doubleValue/],
  [withValue({ value: { integerValue: 2 ** 31 } }), /integerValue is 2147483648/],
  [withValue({ value: { integerValue: 1.5 } }), /must be an integer/],
  [withValue({ value: { doubleValue: "1" } }), /doubleValue is "1", must be a double/],
  [withValue({ value: { booleanValue: 1 } }), /must be a boolean/],
  [withValue({ value: { nullValue: { valueType: "X" } } }), /must be one of D, B, S, I, U/],
  [withValue({ quality: "FINE" }), /quality is "FINE", must be one of GOOD, BAD, UNCERTAIN/],
  [withValue({ timestamp: undefined }), /timestamp is missing/],
  [withValue({ timestamp: { timeInSeconds: 0 } }), /timeInSeconds is 0, must be an integer from 1/],
  [withValue({ timestamp: { timeInSeconds: 1, offsetInNanos: 1e9 } }), /from 0 to 999999999/],
  [JSON.stringify(entry).replace('"doubleValue":1', '"doubleValue":1e999'), /must be a double/],
];

for (const [given, expected] of refused) {
  test(`parseSiteWiseEntry refuses: ${expected.source}`, () => {
    assert.throws(
      () => parse(given),
      (error) =>
        error instanceof MillraceError && error.code === "INVALID_REQUEST" && expected.test(error.message),
    );
  });
}

test("parseSiteWiseEntry refuses bytes that are not UTF-8", () => {
  const bytes = Buffer.from(JSON.stringify({ ...entry, propertyAlias: "é" }), "latin1");
  assert.throws(() => parseSiteWiseEntry(bytes), /not JSON in UTF-8/);
});

type Point = readonly [alias: string, timeInSeconds: number, offsetInNanos?: number];

const placed = (...points: readonly Point[]) =>
  points.map(([propertyAlias, timeInSeconds, offsetInNanos], index) => ({
    index,
    entry: parse({
      ...{ entryId: "same", propertyAlias },
      propertyValues: [{ ...value, timestamp: { timeInSeconds, offsetInNanos } }],
    }),
  }));

test("cutIntoCalls keeps the order, and one property's values of one time apart", () => {
  const cut = (...given: readonly Point[]) =>
    cutIntoCalls(placed(...given)).map((call) => call.map(({ index }) => index));
  assert.deepEqual(cut(), []);
  assert.deepEqual(cut(["a", 1], ["b", 1], ["a", 2]), [[0, 1, 2]]);
  assert.deepEqual(cut(["a", 1], ["b", 1], ["a", 1], ["b", 1]), [
    [0, 1],
    [2, 3],
  ]);
  assert.deepEqual(cut(["a", 1], ["a", 1], ["a", 1]), [[0], [1], [2]]);
  assert.deepEqual(cut(["a", 1], ["a", 1, 0]), [[0], [1]], "no nanoseconds are none");
  assert.deepEqual(cut(["a", 1], ["a", 1, 1]), [[0, 1]]);
});

test("entryIdsOf changes an id only where another entry has it, and to one that no entry has", () => {
  const ids = (...given: readonly string[]) =>
    entryIdsOf(
      placed(...given.map((id) => [id, 1] as const)).map((one, index) => ({
        ...one,
        entry: { ...one.entry, entryId: given[index]! },
      })),
    );
  assert.deepEqual(ids("a", "b"), ["a", "b"]);
  assert.deepEqual(ids("a", "a", "b"), ["a", "duplicate-1", "b"]);
  const crossed = ids("a", "a", "duplicate-1", "a", "duplicate-1");
  assert.equal(new Set(crossed).size, 5, crossed.join(" "));
  assert.equal(crossed[0], "a");
  assert.equal(crossed[2], "duplicate-1");
});
