import assert from "node:assert/strict";
import { test } from "node:test";
import { classifyAwsError } from "../../../src/export/destinations/aws-errors.ts";

function thrown(name: string, status?: number): Error {
  const $metadata = status === undefined ? {} : { httpStatusCode: status };
  return Object.assign(new Error("as AWS says"), { name, $metadata });
}

test("classifyAwsError says who waits, and how long", () => {
  const everyone = { kind: "failed", scope: "endpoint", timedOut: false };
  const alone = { kind: "failed", scope: "exporter", timedOut: false };
  const cases: [Error, object][] = [
    [thrown("ValidationException", 400), { kind: "refused" }],
    [thrown("UnknownError", 413), { kind: "refused" }],
    [thrown("UnknownError", 400), { ...everyone, pace: "backoff" }],
    [thrown("InternalFailure", 500), { ...everyone, pace: "backoff" }],
    [thrown("TimeoutError"), { ...everyone, pace: "backoff", timedOut: true }],
    [thrown("ThrottlingException", 400), { ...everyone, pace: "backoff" }],
    [thrown("UnknownError", 429), { ...everyone, pace: "backoff" }],
    [thrown("ExpiredTokenException", 400), { ...everyone, pace: "slow" }],
    [thrown("RequestExpired", 400), { ...everyone, pace: "slow" }],
    [thrown("RequestTimeTooSkewed", 403), { ...everyone, pace: "slow" }],
    [thrown("CredentialsProviderError"), { ...everyone, pace: "slow" }],
    [thrown("CredentialsUnavailableError"), { ...everyone, pace: "backoff" }],
    [thrown("AccessDeniedException", 400), { ...alone, pace: "slow" }],
    [thrown("ConflictException", 409), { ...alone, pace: "backoff" }],
    [thrown("ResourceNotFoundException", 400), { kind: "refused" }],
  ];
  for (const [error, expected] of cases) {
    const failure = classifyAwsError(error, { service: "Test" });
    assert.deepEqual({ ...failure, ...expected }, failure, `${error.name} ${JSON.stringify(failure)}`);
  }
  const missing = classifyAwsError(thrown("ResourceNotFoundException", 400), {
    service: "Test",
    missing: "gone",
  });
  assert.deepEqual(missing, { ...alone, pace: "backoff", error: "gone" });
});

test("classifyAwsError names the error, or the status of an answer that names none", () => {
  const textOf = (error: unknown): string => classifyAwsError(error, { service: "Test" }).error;
  assert.equal(textOf(thrown("ThrottlingException", 400)), "ThrottlingException: as AWS says");
  assert.equal(textOf(thrown("UnknownError", 502)), "status 502 without an error of Test");
  assert.equal(textOf(Object.assign(new Error(""), { code: "ECONNRESET" })), "ECONNRESET");
  assert.equal(textOf("a text"), "a text");
});
