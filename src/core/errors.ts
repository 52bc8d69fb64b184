import { StatusCode } from "./status-code.ts";

/**
 * Every failure that leaves a module. `status` is what an official client is told; `ownStatus` is what our own
 * operations say where they can be more exact. A status number is never reused.
 */
interface ErrorRow {
  readonly status: StatusCode;
  readonly ownStatus?: StatusCode;
  /** Whether the same request may succeed later without being changed. */
  readonly retryable: boolean;
}

const rows = {
  INTERNAL: { status: StatusCode.UnknownFailure, retryable: false },
  INVALID_REQUEST: { status: StatusCode.InvalidRequest, retryable: false },
  INVALID_SETTING: { status: StatusCode.InvalidRequest, retryable: false },
  UNAUTHORIZED: { status: StatusCode.Unauthorized, retryable: false },
  FRAME_TOO_LARGE: { status: StatusCode.RequestPayloadTooLarge, retryable: false },
  MESSAGE_TOO_LARGE: { status: StatusCode.RequestPayloadTooLarge, retryable: false },
  MALFORMED_FRAME: { status: StatusCode.InvalidRequest, retryable: false },
  MALFORMED_CBOR: { status: StatusCode.InvalidRequest, retryable: false },
  UNEXPECTED_OPERATION: { status: StatusCode.UnexpectedOperation, retryable: false },
  UNKNOWN_OPERATION: { status: StatusCode.UnknownOperation, retryable: false },
  UNSUPPORTED_PROTOCOL: { status: StatusCode.UnsupportedProtocolVersion, retryable: false },
  INVALID_PROTOCOL: { status: StatusCode.InvalidProtocolVersion, retryable: false },
  STREAM_NOT_FOUND: { status: StatusCode.ResourceNotFound, retryable: false },
  STREAM_EXISTS: { status: StatusCode.InvalidRequest, retryable: false },
  STREAM_LIMIT: { status: StatusCode.InvalidRequest, retryable: false },
  STREAM_FULL: { status: StatusCode.InvalidRequest, ownStatus: StatusCode.StreamFull, retryable: true },
  STREAM_FENCED: {
    status: StatusCode.UnknownFailure,
    ownStatus: StatusCode.StorageReadOnly,
    retryable: false,
  },
  STORAGE_READ_ONLY: {
    status: StatusCode.UnknownFailure,
    ownStatus: StatusCode.StorageReadOnly,
    retryable: true,
  },
  UNKNOWN_OUTCOME: {
    status: StatusCode.UnknownFailure,
    ownStatus: StatusCode.UnknownOutcome,
    retryable: true,
  },
  UNKNOWN_HANDLE: {
    status: StatusCode.InvalidRequest,
    ownStatus: StatusCode.UnknownHandle,
    retryable: false,
  },
  SERVER_BUSY: { status: StatusCode.UnknownFailure, ownStatus: StatusCode.ServerBusy, retryable: true },
  NOT_ENOUGH_MESSAGES: { status: StatusCode.NotEnoughMessages, retryable: true },
  STORE_READ_ERROR: { status: StatusCode.MessageStoreReadError, retryable: false },
  RESPONSE_TOO_LARGE: { status: StatusCode.ResponsePayloadTooLarge, retryable: false },
  UPDATE_FAILED: { status: StatusCode.UpdateFailed, retryable: false },
  UPDATE_NOT_ALLOWED: { status: StatusCode.UpdateNotAllowed, retryable: false },
  STORE_LOCKED: { status: StatusCode.UnknownFailure, retryable: true },
  STORE_UNUSABLE: { status: StatusCode.UnknownFailure, retryable: false },
  STORE_VERSION: { status: StatusCode.UnknownFailure, retryable: false },
  CONNECTION_CLOSED: {
    status: StatusCode.UnknownFailure,
    ownStatus: StatusCode.UnknownOutcome,
    retryable: true,
  },
  CONNECT_FAILED: { status: StatusCode.FailedToConnect, retryable: true },
  SEQUENCE_GAP: { status: StatusCode.InvalidRequest, ownStatus: StatusCode.SequenceGap, retryable: false },
  SHUTTING_DOWN: {
    status: StatusCode.UnknownFailure,
    ownStatus: StatusCode.ServerBusy,
    retryable: true,
  },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof rows;

/** The one error class. The message says action, values and limit, without a full stop. */
export class MillraceError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "MillraceError";
    this.code = code;
  }

  get status(): StatusCode {
    return rows[this.code].status;
  }

  /** The status for operations from 64 on, which may carry our own numbers. */
  get ownStatus(): StatusCode {
    const row: ErrorRow = rows[this.code];
    return row.ownStatus ?? row.status;
  }

  get retryable(): boolean {
    return rows[this.code].retryable;
  }
}

/** A batch that is not the next one of its producer. */
export class SequenceGapError extends MillraceError {
  /** The number of the batch that is; 0: the producer is not known. */
  readonly expectedSequence: number;

  constructor(expectedSequence: number, message: string) {
    super("SEQUENCE_GAP", message);
    this.expectedSequence = expectedSequence;
  }
}

/** Whatever was thrown, as a MillraceError; anything foreign becomes INTERNAL with the original as cause. */
export function asMillraceError(thrown: unknown): MillraceError {
  if (thrown instanceof MillraceError) return thrown;
  const text = textOf(thrown);
  return new MillraceError("INTERNAL", text, { cause: thrown });
}

/** What failed, in words, of whatever was thrown. */
export function textOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

/** The system error code of a failed file or socket call (`ENOSPC`, `EADDRINUSE`), if it has one. */
export function systemCode(thrown: unknown): string | undefined {
  if (thrown instanceof Error && "code" in thrown && typeof thrown.code === "string") return thrown.code;
  return undefined;
}

/** An error as the system's calls throw it, from a storage that is not the system's. */
export function systemError(code: string, call: string): Error {
  return Object.assign(new Error(`${code}: ${call}`), { code });
}
