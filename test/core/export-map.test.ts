import assert from "node:assert/strict";
import { test } from "node:test";
import { MillraceError } from "../../src/core/errors.ts";
import { parseExportMap, ruleFor } from "../../src/core/export-map.ts";

test("parseExportMap reads each kind of target, and a channel's own rule goes before that for any", () => {
  const rules = parseExportMap([
    "iotAnalytics/*=kinesis:all.others_1-2",
    "iotAnalytics/readings=http:https://collector.example:8443/in?a=b",
    "iotAnalytics/old=file:/var/lib/millrace/old",
  ]);
  assert.deepEqual(
    ["readings", "old", "another"].map((channel) => ruleFor(rules, channel)?.target),
    [
      { kind: "http", uri: "https://collector.example:8443/in?a=b" },
      { kind: "file", directory: "/var/lib/millrace/old" },
      { kind: "kinesis", kinesisStreamName: "all.others_1-2" },
    ],
  );
  assert.equal(ruleFor(rules.slice(1), "another"), undefined);
  assert.deepEqual(parseExportMap([]), []);
});

const refused: readonly (readonly [rules: readonly string[], expected: RegExp])[] = [
  [["kinesis/a=http:http://a"], /must be of the form iotAnalytics/],
  [["iotAnalytics=kinesis:a"], /must be of the form/],
  [["iotAnalytics/=kinesis:a"], /must be of the form/],
  [["iotAnalytics/a"], /must be of the form/],
  [["iotAnalytics/a=kinesis"], /must be of the form/],
  [["iotAnalytics/a=sqs:a"], /must be of the form/],
  [["iotAnalytics/a=kinesis:"], /must be of the form/],
  [["iotAnalytics/a=kinesis:a b"], /must be of the form/],
  [["iotAnalytics/a =kinesis:a"], /must be of the form/],
  [["iotAnalytics/a=kinesis:a/b"], /must name a Kinesis stream/],
  [["iotAnalytics/a=http:collector/in"], /must have a URI of http/],
  [["iotAnalytics/a=http:ftp://collector"], /must have a URI of http/],
  [["iotAnalytics/a=http:https://u:secret@collector"], /rule "iotAnalytics\/a" has a user name or password/],
  [["iotAnalytics/a=http:https://u@collector"], /has a user name or password in its URI; (?!.*@)/],
  [["iotAnalytics/a=file:relative"], /must have an absolute directory/],
  [
    ["iotAnalytics/a=kinesis:a", "iotAnalytics/a=kinesis:b"],
    /rule "iotAnalytics\/a=kinesis:b" is the second for channel a/,
  ],
  [["iotAnalytics/*=kinesis:a", "iotAnalytics/*=kinesis:b"], /is the second for channel \*/],
];

for (const [rules, expected] of refused) {
  test(`parseExportMap refuses ${rules.join(",")}`, () => {
    assert.throws(
      () => parseExportMap(rules),
      (error) =>
        error instanceof MillraceError &&
        error.code === "INVALID_SETTING" &&
        error.message.startsWith("MILLRACE_EXPORT_MAP: the rule ") &&
        expected.test(error.message),
    );
  });
}
