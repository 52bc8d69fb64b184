import { MillraceError } from "../core/errors.ts";
import { ERROR_TEXT_BYTES_MAX, STREAM_DOCUMENT_BYTES_MAX } from "../core/limits.ts";
import { readU16, readU32, writeU16, writeU32 } from "./little-endian.ts";
import type { Operation } from "./operation.ts";
import { decodeText, encodeText, encodeTextCut } from "./text.ts";

/*
 * Control of a stream by JSON documents. Little-endian; all four requests have one layout, and so have their results.
 *
 *   DescribeStream (73), ConfigureStream (75), CreateStream (77), CommandExports (79)
 *   0   1   2            4           8                12
 *   +---+---+------------+-----------+----------------+------+----------
 *   |op | 0 | name bytes | requestId | document bytes | name | document
 *   +---+---+------------+-----------+----------------+------+----------
 *
 *   DescribeStreamResult (74), ConfigureStreamResult (76), CreateStreamResult (78), CommandExportsResult (80)
 *   0   1       2            4           8                12
 *   +---+-------+------------+-----------+----------------+------+----------
 *   |op | status| text bytes | requestId | document bytes | text | document
 *   +---+-------+------------+-----------+----------------+------+----------
 *
 * Documents are JSON in UTF-8, of at most STREAM_DOCUMENT_BYTES_MAX. A request to describe has none; a result has one on
 * success of describing, a StreamDescription (core/stream-description.ts), and of commanding, an ExportCommandResult
 * (core/export-command.ts); keys may be added to both at any time.
 * To create and to configure it is {"definition":{…},"options":{…}}; either may be left out, and other keys are refused. The
 * definition has the protocol's field names without its name, and is complete: what it leaves out has its default. Without one a
 * stream that is configured keeps its own. Of the options, those that are not named stay: {"options":{"freeExported":true}}.
 * To command exports it is {"command":"retry"} or "redrive", of all exporters of the stream, or with "exporter" and an identifier.
 */
const NAME_OR_TEXT_BYTES_AT = 2;
const REQUEST_ID_AT = 4;
const DOCUMENT_BYTES_AT = 8;
const BODY_AT = 12;
/** 255 UTF-16 units at 3 bytes each. */
const NAME_BYTES_MAX = 765;

export interface StreamDocumentRequest {
  readonly requestId: number;
  readonly name: string;
  /** JSON; empty for none. */
  readonly document: string;
}

export interface StreamDocumentResult {
  readonly requestId: number;
  readonly status: number;
  readonly errorMessage: string;
  /** JSON; empty for none. */
  readonly document: string;
}

export type StreamDocumentOperation =
  | typeof Operation.DescribeStream
  | typeof Operation.ConfigureStream
  | typeof Operation.CreateStream
  | typeof Operation.CommandExports;

/** @throws {MillraceError} INVALID_REQUEST when name or document is too long */
export function encodeStreamDocumentRequest(
  operation: StreamDocumentOperation,
  request: StreamDocumentRequest,
): Uint8Array {
  const name = encodeText(request.name);
  if (name.length > NAME_BYTES_MAX) {
    throw new MillraceError(
      "INVALID_REQUEST",
      `Cannot name stream: the name is ${name.length} bytes, the maximum is ${NAME_BYTES_MAX}`,
    );
  }
  const document = encodeText(request.document);
  if (document.length > STREAM_DOCUMENT_BYTES_MAX) {
    throw new MillraceError(
      "INVALID_REQUEST",
      `Cannot send a document of ${document.length} bytes, the maximum is ${STREAM_DOCUMENT_BYTES_MAX}`,
    );
  }
  return encodeFrame([operation, 0], request.requestId, { first: name, document });
}

/** @throws {MillraceError} MALFORMED_FRAME */
export function decodeStreamDocumentRequest(frame: Uint8Array): StreamDocumentRequest {
  const documentAt = splitBody(frame, { firstBytesMax: NAME_BYTES_MAX });
  return {
    requestId: readU32(frame, REQUEST_ID_AT),
    name: decodeText(frame, BODY_AT, documentAt),
    document: decodeText(frame, documentAt, frame.length),
  };
}

/** The result of the request of `operation`. A document that is too long becomes a refusal that says so. */
export function encodeStreamDocumentResult(
  operation: StreamDocumentOperation,
  result: StreamDocumentResult,
): Uint8Array {
  const document = encodeText(result.document);
  if (document.length > STREAM_DOCUMENT_BYTES_MAX) {
    const { requestId } = result;
    const errorMessage = `The answer has ${document.length} bytes, the maximum is ${STREAM_DOCUMENT_BYTES_MAX}`;
    const { ownStatus: status } = new MillraceError("RESPONSE_TOO_LARGE", errorMessage);
    return encodeStreamDocumentResult(operation, { requestId, status, errorMessage, document: "" });
  }
  const text = encodeTextCut(result.errorMessage, ERROR_TEXT_BYTES_MAX);
  return encodeFrame([operation + 1, result.status], result.requestId, { first: text, document });
}

/** @throws {MillraceError} MALFORMED_FRAME */
export function decodeStreamDocumentResult(frame: Uint8Array): StreamDocumentResult {
  const documentAt = splitBody(frame, { firstBytesMax: ERROR_TEXT_BYTES_MAX });
  return {
    status: frame[1]!,
    requestId: readU32(frame, REQUEST_ID_AT),
    errorMessage: decodeText(frame, BODY_AT, documentAt),
    document: decodeText(frame, documentAt, frame.length),
  };
}

function encodeFrame(
  begin: readonly [number, number],
  requestId: number,
  { first, document }: { readonly first: Uint8Array; readonly document: Uint8Array },
): Uint8Array {
  const frame = new Uint8Array(BODY_AT + first.length + document.length);
  frame.set(begin);
  writeU16(frame, NAME_OR_TEXT_BYTES_AT, first.length);
  writeU32(frame, REQUEST_ID_AT, requestId);
  writeU32(frame, DOCUMENT_BYTES_AT, document.length);
  frame.set(first, BODY_AT);
  frame.set(document, BODY_AT + first.length);
  return frame;
}

/** Where the document begins in a frame of which all lengths add up. */
function splitBody(frame: Uint8Array, { firstBytesMax }: { firstBytesMax: number }): number {
  if (frame.length >= BODY_AT) {
    const firstBytes = readU16(frame, NAME_OR_TEXT_BYTES_AT);
    const documentBytes = readU32(frame, DOCUMENT_BYTES_AT);
    const isWithin = firstBytes <= firstBytesMax && documentBytes <= STREAM_DOCUMENT_BYTES_MAX;
    if (isWithin && frame.length === BODY_AT + firstBytes + documentBytes) return BODY_AT + firstBytes;
  }
  throw new MillraceError(
    "MALFORMED_FRAME",
    `Cannot decode a request or result with a document: the lengths in ${frame.length} bytes do not add up`,
  );
}
