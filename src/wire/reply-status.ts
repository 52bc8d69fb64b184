import type { ErrorCode, MillraceError } from "../core/errors.ts";
import { StatusCode } from "../core/status-code.ts";

/*
 * Which status and text an official client is told (PROTOCOL 1.5, 2.3 and RELIABILITY A7). A number that a client does not
 * know kills its reader: 1.0.0 knows 0 to 15, 1.1.0 knows 0 to 18, and ours from 64 on appear on operations from 64 on only.
 */
const STATUS_MAX_1_0 = StatusCode.OutOfMemoryError;
const STATUS_MAX_1_1 = StatusCode.UnknownOperation;

/** Said first, so that a program that only sees a text can tell "may be stored" from "is not". */
const prefixes: Partial<Record<ErrorCode, string>> = {
  UNKNOWN_OUTCOME: "unknown outcome: retry",
  CONNECTION_CLOSED: "unknown outcome: retry",
  STORAGE_READ_ONLY: "rejected",
  STREAM_FENCED: "rejected",
  SERVER_BUSY: "rejected",
  SHUTTING_DOWN: "rejected",
};

/** The status that a client of this version may see in place of `status`, on an operation below 64. */
export function officialStatus(status: StatusCode, protocolVersion: string): StatusCode {
  if (status > STATUS_MAX_1_1) return StatusCode.UnknownFailure;
  if (status > STATUS_MAX_1_0 && protocolVersion === "1.0.0") return StatusCode.InvalidRequest;
  return status;
}

/** Status and text of a failed request, for a reply below 64. */
export function failureReply(
  requestId: string,
  error: MillraceError,
  protocolVersion: string,
): { requestId: string; status: StatusCode; errorMessage: string } {
  return {
    requestId,
    status: officialStatus(error.status, protocolVersion),
    errorMessage: failureText(error),
  };
}

/** The text for either kind of operation. */
export function failureText(error: MillraceError): string {
  const prefix = prefixes[error.code];
  return prefix === undefined ? error.message : `${prefix}: ${error.message}`;
}
