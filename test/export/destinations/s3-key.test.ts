import assert from "node:assert/strict";
import { test } from "node:test";
import { evaluateKey, keyFault } from "../../../src/export/destinations/s3-key.ts";

const timeMs = Date.UTC(2026, 1, 3, 0, 5, 9, 78);

function evaluated(pattern: string, atMs = timeMs): string {
  const found = evaluateKey(`!{timestamp:${pattern}}`, atMs);
  return "key" in found ? found.key : found.error;
}

test("evaluateKey replaces time fields as Java's DateTimeFormatter does", () => {
  const cases: Record<string, string> = {
    "yyyy/MM/dd": "2026/02/03",
    "yy/M/d": "26/2/3",
    "uuuu/DDD/D": "2026/034/34",
    "HH/mm/ss": "00/05/09",
    "H/m/s": "0/5/9",
    "hh/KK/kk/a": "12/00/24/AM",
    SSS: "078",
    "S/SS/SSSSSS": "0/07/078000",
    "MMM/MMMM/MMMMM": "Feb/February/F",
    "E/EEEE": "Tue/Tuesday",
    "Q/QQ/QQQ": "1/01/Q1",
    "n/A": "78000000/309078",
    N: "309078000000",
    "X/Z/z": "Z/+0000/UTC",
    yyyyMMddHHmmss: "20260203000509",
    "YYYY/ww": "2026/06",
  };
  for (const [pattern, key] of Object.entries(cases)) assert.equal(evaluated(pattern), key, pattern);
});

test("evaluateKey counts weeks as ISO 8601 does", () => {
  assert.equal(evaluated("YYYY/w", Date.UTC(2027, 0, 1)), "2026/53");
  assert.equal(evaluated("YYYY/w", Date.UTC(2024, 11, 30)), "2025/1");
  assert.equal(evaluated("YYYY/w", Date.UTC(2023, 0, 1)), "2022/52");
});

test("evaluateKey refuses what is no time field, and placeholders of another name", () => {
  for (const pattern of ["J", "yyyy/bb", "HHH", "e", "MMMMMM", "SSSSSSSSSS", "VV"]) {
    assert.match(evaluated(pattern), /is no time field that is known/, pattern);
  }
  const other = evaluateKey("a/!{thing:name}", timeMs);
  assert.ok("error" in other && other.error.includes("the only one there is begins with !{timestamp:"));
});

test("evaluateKey leaves everything else, and keeps to the length that S3 takes", () => {
  assert.deepEqual(evaluateKey("a/!{timestamp:yyyy}-!b!{timestamp:MM}", timeMs), { key: "a/2026-!b02" });
  const long = evaluateKey("é".repeat(513), timeMs);
  assert.ok("error" in long && long.error === "the key has 1026 bytes in UTF-8, the maximum is 1024");
});

test("keyFault finds what no key may contain outside of a placeholder", () => {
  for (const key of ["a", "a/b!c", "!{timestamp:yyyy/MM}/x", "é", "a=b&c", "x".repeat(1024)]) {
    assert.equal(keyFault(key), undefined, key);
  }
  for (const character of [
    "\\",
    "{",
    " ",
    "}",
    "%",
    "`",
    "[",
    "]",
    '"',
    "'",
    ">",
    "<",
    "~",
    "#",
    "^",
    "?",
    "|",
  ]) {
    assert.equal(
      keyFault(`a${character}b`),
      `the key contains ${JSON.stringify(character)}, which only a placeholder !{timestamp:letters} may`,
    );
  }
  assert.match(keyFault("!{timestamp:yyyy-MM}") ?? "", /contains "{"/);
  assert.match(keyFault("") ?? "", /is empty/);
  assert.match(keyFault("x".repeat(1025)) ?? "", /1025 characters, the maximum is 1024/);
});
