import { systemCode } from "../../core/errors.ts";
import type { SendOutcome } from "./destination.ts";

/** Our own deadline passed, or the SDK's. */
const timeoutNames = new Set(["TimeoutError", "AbortError", "RequestTimeout", "RequestTimeoutException"]);

/** Who we are is not accepted: nobody gets through to this endpoint until a role or a person mends it. */
const authenticationNames = new Set([
  "CredentialsProviderError",
  "TokenProviderError",
  "ExpiredTokenException",
  "ExpiredToken",
  "IncompleteSignature",
  "IncompleteSignatureException",
  "InvalidClientTokenId",
  "InvalidSignatureException",
  "MissingAuthenticationToken",
  "MissingAuthenticationTokenException",
  "NotAuthorized",
  "OptInRequired",
  "SignatureDoesNotMatch",
  "UnrecognizedClientException",
]);

/** This Kinesis stream is not for us, or its key is not: other streams may be. */
const permissionNames = new Set([
  "AccessDeniedException",
  "AccessDenied",
  "KMSAccessDeniedException",
  "KMSDisabledException",
  "KMSInvalidStateException",
  "KMSNotFoundException",
  "KMSOptInRequired",
]);

const throttlingNames = new Set([
  "KMSThrottlingException",
  "LimitExceededException",
  "ProvisionedThroughputExceededException",
  "RequestLimitExceeded",
  "ServiceUnavailable",
  "SlowDown",
  "Throttling",
  "ThrottlingException",
  "TooManyRequestsException",
]);

/** What a failed PutRecords means for the exporter: see RELIABILITY's rules for retry, refusal and lack of rights. */
export function classifyKinesisError(thrown: unknown, kinesisStreamName: string): SendOutcome {
  const name = thrown instanceof Error ? thrown.name : "";
  const error = describe(thrown, name);
  const failed = (
    scope: "endpoint" | "exporter",
    pace: "backoff" | "slow",
    { timedOut = false, text = error }: { timedOut?: boolean; text?: string } = {},
  ): SendOutcome => ({ kind: "failed", scope, pace, timedOut, error: text });

  if (timeoutNames.has(name)) return failed("endpoint", "backoff", { timedOut: true });
  if (name === "ResourceNotFoundException") {
    return failed("exporter", "backoff", { text: `export stream ${kinesisStreamName} doesn't exist` });
  }
  if (throttlingNames.has(name)) return failed("endpoint", "backoff");
  if (authenticationNames.has(name)) return failed("endpoint", "slow");
  if (permissionNames.has(name)) return failed("exporter", "slow");

  const status = httpStatus(thrown);
  if (status === 413) return { kind: "refused", error };
  if (status === 401 || status === 407) return failed("endpoint", "slow");
  if (status === 403) return failed("exporter", "slow");
  if (status === 408 || status === 429) return failed("endpoint", "backoff");
  // Only an answer that names what is wrong with the request is a refusal; a proxy's bare 400 is not.
  if (status === 400 && isNamedByService(name)) return { kind: "refused", error };
  return failed("endpoint", "backoff");
}

/** What the SDK calls an answer that names no error. */
const unnamed = new Set(["", "Error", "Unknown", "UnknownError", "SyntaxError"]);

function isNamedByService(name: string): boolean {
  return !unnamed.has(name);
}

function httpStatus(thrown: unknown): number | undefined {
  if (!(thrown instanceof Error) || !("$metadata" in thrown)) return undefined;
  const metadata = thrown.$metadata;
  if (typeof metadata !== "object" || metadata === null || !("httpStatusCode" in metadata)) return undefined;
  return typeof metadata.httpStatusCode === "number" ? metadata.httpStatusCode : undefined;
}

function describe(thrown: unknown, name: string): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const status = httpStatus(thrown);
  if (!isNamedByService(name) && status !== undefined && status !== 200) {
    return `status ${status} without a Kinesis error`;
  }
  const text = thrown.message === "" ? (systemCode(thrown) ?? "no message") : thrown.message;
  return name === "" || name === "Error" ? text : `${name}: ${text}`;
}
