import assert from "node:assert/strict";
import { test } from "node:test";
import { classifyS3Error } from "../../../src/export/destinations/s3-errors.ts";

function thrown(name: string, status?: number, headers?: Record<string, string>): Error {
  const error = new Error("as S3 says");
  error.name = name;
  return Object.assign(error, {
    $metadata: status === undefined ? {} : { httpStatusCode: status },
    $response: { headers },
  });
}

test("classifyS3Error tells what fails the task from what waits", () => {
  const cases: [Error, string][] = [
    [thrown("NoSuchBucket", 404), "failure"],
    [thrown("InvalidArgument", 400), "failure"],
    [thrown("Unheard", 409), "failure"],
    [thrown("Unheard", 413), "failure"],
    [thrown("AccessDenied", 403), "denied"],
    [thrown("Unheard", 403), "denied"],
    [thrown("Unknown", 403), "failed"],
    [thrown("Unknown", 301), "failed"],
    [thrown("Unknown", 301, { "x-amz-bucket-region": "eu-west-1" }), "redirect"],
    [thrown("Unknown", 307), "failed"],
    [thrown("UnknownError", 413), "failed"],
    [thrown("NoSuchUpload", 404), "gone"],
    [thrown("PermanentRedirect", 301, { "x-amz-bucket-region": "eu-west-1" }), "redirect"],
    [thrown("PermanentRedirect", 301), "failure"],
    [thrown("AuthorizationHeaderMalformed", 400, { "x-amz-bucket-region": "a b" }), "failure"],
    [thrown("UnknownError", 404), "failed"],
    [thrown("UnknownError", 400), "failed"],
    [thrown("Unheard", 503), "failed"],
    [thrown("TypeError"), "failed"],
  ];
  for (const [error, kind] of cases) assert.equal(classifyS3Error(error).kind, kind, error.name);
});

test("classifyS3Error says who waits, and how long", () => {
  const cases: [Error, object][] = [
    [thrown("SlowDown", 503), { scope: "exporter", pace: "backoff", timedOut: false }],
    [thrown("InternalError", 500), { scope: "endpoint", pace: "backoff", timedOut: false }],
    [thrown("AbortError"), { scope: "endpoint", pace: "backoff", timedOut: true }],
    [thrown("ExpiredToken", 400), { scope: "endpoint", pace: "slow", timedOut: false }],
    [thrown("RequestExpired", 400), { scope: "endpoint", pace: "slow", timedOut: false }],
    [thrown("CredentialsUnavailableError"), { scope: "endpoint", pace: "backoff", timedOut: false }],
    [thrown("CredentialsProviderError"), { scope: "endpoint", pace: "slow", timedOut: false }],
    [thrown("Forbidden", 403), { scope: "endpoint", pace: "slow", timedOut: false }],
    [thrown("Unknown", 407), { scope: "endpoint", pace: "slow", timedOut: false }],
    [thrown("Unknown", 429), { scope: "endpoint", pace: "backoff", timedOut: false }],
  ];
  for (const [error, expected] of cases) {
    const fault = classifyS3Error(error);
    assert.deepEqual({ ...fault, ...expected }, fault, error.name);
  }
  assert.match(
    JSON.stringify(classifyS3Error(thrown("UnknownError", 502))),
    /status 502 without an S3 error/,
  );
});
