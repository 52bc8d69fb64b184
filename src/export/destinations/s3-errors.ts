import type { SendFailure } from "./destination.ts";
import { describeSdkError, fieldOf, httpStatusOf } from "./sdk-errors.ts";

/**
 * What a failed request to S3 means for the task.
 * - failure: this task, sent again unchanged, would be refused again.
 * - denied: the bucket, or its key, is not for us; a person may mend that.
 * - gone: S3 does not know the multipart upload, or not the parts of it that it should.
 * - redirect: the bucket is in another region.
 * - failed: temporary, or nobody gets through to S3 as we are.
 */
export type S3Fault =
  | { readonly kind: "failure"; readonly error: string }
  | { readonly kind: "denied"; readonly error: string }
  | { readonly kind: "gone"; readonly error: string }
  | { readonly kind: "redirect"; readonly region: string; readonly error: string }
  | SendFailure;

type FaultKind = "failure" | "denied" | "gone" | "backoff" | "busy" | "slow" | "timeout";

/** By the name that S3, or the SDK, gives an error; a name that is not here goes by its status. */
const faultsByName: Readonly<Record<string, FaultKind>> = {
  NoSuchBucket: "failure",
  InvalidBucketName: "failure",
  InvalidBucketState: "failure",
  EntityTooLarge: "failure",
  EntityTooSmall: "failure",
  InvalidTag: "failure",
  KeyTooLongError: "failure",
  MetadataTooLarge: "failure",
  MethodNotAllowed: "failure",
  NotImplemented: "failure",

  AccessDenied: "denied",
  AllAccessDisabled: "denied",
  "KMS.AccessDeniedException": "denied",
  "KMS.DisabledException": "denied",
  "KMS.KMSInvalidStateException": "denied",
  "KMS.NotFoundException": "denied",

  NoSuchUpload: "gone",
  InvalidPart: "gone",
  InvalidPartOrder: "gone",

  // The bytes were changed on their way, or the file under our hands: the next look says which.
  BadDigest: "busy",
  XAmzContentSHA256Mismatch: "busy",
  IncompleteBody: "busy",
  OperationAborted: "busy",
  ConditionalRequestConflict: "busy",
  // Of a prefix or a bucket: others need not wait.
  SlowDown: "busy",
  BandwidthLimitExceeded: "busy",
  "KMS.ThrottlingException": "busy",

  InternalError: "backoff",
  RequestLimitExceeded: "backoff",
  ServiceUnavailable: "backoff",
  Throttling: "backoff",
  ThrottlingException: "backoff",
  TooManyRequestsException: "backoff",

  AbortError: "timeout",
  RequestTimeout: "timeout",
  RequestTimeoutException: "timeout",
  TimeoutError: "timeout",

  AccountProblem: "slow",
  CredentialsProviderError: "slow",
  ExpiredToken: "slow",
  ExpiredTokenException: "slow",
  InvalidAccessKeyId: "slow",
  InvalidPayer: "slow",
  InvalidSecurity: "slow",
  InvalidToken: "slow",
  MissingSecurityHeader: "slow",
  NotSignedUp: "slow",
  // Our clock, or the other one, is wrong.
  RequestExpired: "slow",
  RequestTimeTooSkewed: "slow",
  SignatureDoesNotMatch: "slow",
  TokenProviderError: "slow",
  TokenRefreshRequired: "slow",
  UnauthorizedAccess: "slow",
};
const faultOfName = new Map(Object.entries(faultsByName));

const redirectNames = new Set([
  "AuthorizationHeaderMalformed",
  "IllegalLocationConstraintException",
  "PermanentRedirect",
  "Redirect",
  "TemporaryRedirect",
]);

/** What the SDK calls an answer that names no error, and one to a HEAD, which has no body. */
const unnamed = new Set(["", "Error", "Forbidden", "NotFound", "SyntaxError", "Unknown", "UnknownError"]);

/** Judges what a request to S3 has thrown. */
export function classifyS3Error(thrown: unknown): S3Fault {
  const name = thrown instanceof Error ? thrown.name : "";
  const status = httpStatusOf(thrown);
  const region = regionIn(thrown);
  const error = describeSdkError(thrown, { isNamed: !unnamed.has(name), unnamed: "without an S3 error" });
  const isRedirect = redirectNames.has(name);
  if (region !== undefined && (isRedirect || status === 301 || status === 307)) {
    return { kind: "redirect", region, error };
  }
  const kind = isRedirect ? "failure" : (faultOfName.get(name) ?? faultOfStatus(status, name));
  switch (kind) {
    case "failure":
    case "denied":
    case "gone":
      return { kind, error };
    case "busy":
      return { kind: "failed", scope: "exporter", pace: "backoff", timedOut: false, error };
    case "slow":
      return { kind: "failed", scope: "endpoint", pace: "slow", timedOut: false, error };
    case "backoff":
    case "timeout":
      return { kind: "failed", scope: "endpoint", pace: "backoff", timedOut: kind === "timeout", error };
  }
}

/** Only an answer that names what is wrong is a refusal; a proxy's bare 400, 403 or 404 is not. */
function faultOfStatus(status: number | undefined, name: string): FaultKind {
  if (status === 401 || status === 407) return "slow";
  if (status === 403) return unnamed.has(name) ? "slow" : "denied";
  if (status === 408 || status === 429) return "backoff";
  const isRefusal = status !== undefined && status >= 300 && status < 500;
  return isRefusal && !unnamed.has(name) ? "failure" : "backoff";
}

/** The region that S3 says the bucket is in. */
function regionIn(thrown: unknown): string | undefined {
  const headers = fieldOf(fieldOf(thrown, "$response"), "headers");
  const region = fieldOf(headers, "x-amz-bucket-region") ?? fieldOf(thrown, "Region");
  return typeof region === "string" && /^[a-z0-9-]{1,64}$/.test(region) ? region : undefined;
}
