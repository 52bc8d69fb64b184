import type { ErrorCode } from "../core/errors.ts";
import { MillraceError } from "../core/errors.ts";
import { StatusCode, statusName } from "../core/status-code.ts";

/** The code under which a program sees what the engine answered. */
const codes: Record<Exclude<StatusCode, 0>, ErrorCode> = {
  [StatusCode.UnknownFailure]: "INTERNAL",
  [StatusCode.Unauthorized]: "UNAUTHORIZED",
  [StatusCode.InvalidRequest]: "INVALID_REQUEST",
  [StatusCode.RequestPayloadTooLarge]: "MESSAGE_TOO_LARGE",
  [StatusCode.ResourceNotFound]: "STREAM_NOT_FOUND",
  [StatusCode.ServerTimeout]: "UNKNOWN_OUTCOME",
  [StatusCode.ResponsePayloadTooLarge]: "RESPONSE_TOO_LARGE",
  [StatusCode.UnsupportedConnectVersion]: "UNSUPPORTED_PROTOCOL",
  [StatusCode.UnexpectedOperation]: "UNEXPECTED_OPERATION",
  [StatusCode.UnsupportedProtocolVersion]: "UNSUPPORTED_PROTOCOL",
  [StatusCode.InvalidProtocolVersion]: "INVALID_PROTOCOL",
  [StatusCode.FailedToConnect]: "CONNECT_FAILED",
  [StatusCode.NotEnoughMessages]: "NOT_ENOUGH_MESSAGES",
  [StatusCode.MessageStoreReadError]: "STORE_READ_ERROR",
  [StatusCode.OutOfMemoryError]: "SERVER_BUSY",
  [StatusCode.UpdateFailed]: "UPDATE_FAILED",
  [StatusCode.UpdateNotAllowed]: "UPDATE_NOT_ALLOWED",
  [StatusCode.UnknownOperation]: "UNKNOWN_OPERATION",
  [StatusCode.StreamFull]: "STREAM_FULL",
  [StatusCode.UnknownOutcome]: "UNKNOWN_OUTCOME",
  [StatusCode.StorageReadOnly]: "STORAGE_READ_ONLY",
  [StatusCode.SequenceGap]: "SEQUENCE_GAP",
  [StatusCode.UnknownHandle]: "UNKNOWN_HANDLE",
  [StatusCode.ServerBusy]: "SERVER_BUSY",
};

/** The error for an answer whose status is not 0. `text` is the engine's own, which names action, values and limit. */
export function statusError(status: number, text: string): MillraceError {
  const code = (codes as Partial<Record<number, ErrorCode>>)[status] ?? "INTERNAL";
  return new MillraceError(code, text === "" ? `The engine answered ${statusName(status)}` : text);
}

/** Answers after which the same batch may succeed: it is sent again. */
export const resendCodes = new Set(["UNKNOWN_OUTCOME", "SERVER_BUSY", "UNKNOWN_HANDLE"]);
/** Refusals that say of every copy of the batch that it is not stored. */
export const notStoredCodes = new Set(["STREAM_FULL", "MESSAGE_TOO_LARGE", "INVALID_REQUEST"]);
