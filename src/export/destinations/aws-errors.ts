import type { SendFailure } from "./destination.ts";
import { describeSdkError, httpStatusOf } from "./sdk-errors.ts";

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
  // Our clock, or the other one, is wrong.
  "RequestExpired",
  "RequestTimeTooSkewed",
  "SignatureDoesNotMatch",
  "UnrecognizedClientException",
]);

/** This target is not for us, or its key is not: others may be. */
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

/** Nothing of the request was accepted. */
export type RequestFailure = SendFailure | { readonly kind: "refused"; readonly error: string };

export interface AwsService {
  /** As texts name it. */
  readonly service: string;
  /** What is said when what we send to is not there. Without it such an answer is about what was sent, and so a refusal. */
  readonly missing?: string;
}

/**
 * What a request that failed as a whole means for the exporter: see RELIABILITY's rules for retry, refusal and lack of rights.
 * | kind | which |
 * |---|---|
 * | permanent: refused | 400 with a name of the service's own, 413, what `missing` says of ResourceNotFoundException |
 * | temporary: backoff | 5xx, timeouts, connections that fail, answers that make no sense, a conflict (409) |
 * | throttling: backoff | the names above, 429 |
 * | authentication: slow | no or expired credentials, a wrong clock, 401, 407; lack of rights and 403 hold up this exporter only |
 */
export function classifyAwsError(thrown: unknown, { service, missing }: AwsService): RequestFailure {
  const name = thrown instanceof Error ? thrown.name : "";
  const error = describeSdkError(thrown, {
    isNamed: isNamedByService(name),
    unnamed: `without an error of ${service}`,
  });
  const failed = (
    scope: "endpoint" | "exporter",
    pace: "backoff" | "slow",
    { timedOut = false, text = error }: { timedOut?: boolean; text?: string } = {},
  ): SendFailure => ({ kind: "failed", scope, pace, timedOut, error: text });

  if (timeoutNames.has(name)) return failed("endpoint", "backoff", { timedOut: true });
  if (name === "ResourceNotFoundException") {
    return missing === undefined
      ? { kind: "refused", error }
      : failed("exporter", "backoff", { text: missing });
  }
  if (throttlingNames.has(name)) return failed("endpoint", "backoff");
  if (authenticationNames.has(name)) return failed("endpoint", "slow");
  if (permissionNames.has(name)) return failed("exporter", "slow");

  const status = httpStatusOf(thrown);
  if (status === 413) return { kind: "refused", error };
  if (status === 401 || status === 407) return failed("endpoint", "slow");
  if (status === 403) return failed("exporter", "slow");
  if (status === 408 || status === 429) return failed("endpoint", "backoff");
  if (status === 409 && isNamedByService(name)) return failed("exporter", "backoff");
  // Only an answer that names what is wrong with the request is a refusal; a proxy's bare 400 is not.
  if (status === 400 && isNamedByService(name)) return { kind: "refused", error };
  return failed("endpoint", "backoff");
}

/** What the SDK calls an answer that names no error. */
const unnamed = new Set(["", "Error", "Unknown", "UnknownError", "SyntaxError"]);

function isNamedByService(name: string): boolean {
  return !unnamed.has(name);
}
