import assert from "node:assert/strict";
import { test } from "node:test";
import { S3_TASK_BYTES_MAX } from "../../../src/core/service-limits.ts";
import { parseS3Task } from "../../../src/export/destinations/s3-task.ts";

const task = { inputUrl: "file:///data/a", bucket: "my-bucket", key: "k" };

function errorOf(changes: object | string): string {
  const text = typeof changes === "string" ? changes : JSON.stringify({ ...task, ...changes });
  const parsed = parseS3Task(Buffer.from(text));
  return "error" in parsed ? parsed.error : "";
}

test("parseS3Task reads what the official clients write", () => {
  const text =
    '{"inputUrl": "file:/tmp/a.txt", "bucket": "my-bucket", "key": "k/!{timestamp:yyyy/MM/dd}/f.txt", "userMetadata": {"a": "b"}}';
  assert.deepEqual(parseS3Task(Buffer.from(text)), {
    task: {
      inputUrl: "file:/tmp/a.txt",
      bucket: "my-bucket",
      key: "k/!{timestamp:yyyy/MM/dd}/f.txt",
      userMetadata: { a: "b" },
    },
  });
  assert.equal(errorOf({ userMetadata: null }), "");
  assert.equal(errorOf({ somethingNew: 1 }), "");
});

test("parseS3Task refuses what is no task and says why", () => {
  const cases: [object | string, RegExp][] = [
    ["", /no JSON in UTF-8/],
    ["{", /no JSON in UTF-8/],
    ["null", /no JSON object/],
    ["[]", /no JSON object/],
    [{ inputUrl: undefined }, /inputUrl is missing/],
    [{ bucket: 1 }, /bucket is missing or no text/],
    [{ key: null }, /key is missing or no text/],
    [{ userMetadata: [] }, /userMetadata is no object of texts/],
    [{ userMetadata: { a: 1 } }, /userMetadata is no object of texts/],
    [{ userMetadata: { "$aws-gg-a": "" } }, /begins with \$aws-gg-, which is reserved/],
    [{ userMetadata: { "a b": "" } }, /cannot be a header's name/],
    [{ userMetadata: { a: "line\r\nx-amz-acl: public-read" } }, /characters that no header may have/],
    [{ userMetadata: { a: "x".repeat(2048) } }, /2049 bytes, the maximum is 2048/],
    [`"${"x".repeat(S3_TASK_BYTES_MAX)}"`, /65538 bytes, the maximum is 65536/],
  ];
  for (const [changes, reason] of cases) assert.match(errorOf(changes), reason);
  const invalid = parseS3Task(Buffer.from([0x22, 0xff, 0x22]));
  assert.ok("error" in invalid);
});

test("parseS3Task takes the names that buckets may have, and no others", () => {
  for (const bucket of ["abc", "a-b", "a.b-c.d1", "1bucket", "a".repeat(63), "1.2.3.a"]) {
    assert.equal(errorOf({ bucket }), "", bucket);
  }
  const refused = [
    "ab",
    "a".repeat(64),
    "A-b",
    "a_b",
    "-ab",
    "ab-",
    "a..b",
    ".ab",
    "a.-b",
    "1.2.3.4",
    "a/b",
    "a\nb",
  ];
  for (const bucket of refused) assert.match(errorOf({ bucket }), /the bucket's name/, bucket);
});
