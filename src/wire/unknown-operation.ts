import { StatusCode } from "../core/status-code.ts";
import { Operation } from "./operation.ts";
import type { Reply } from "./reply.ts";
import { beginReply, readReply } from "./reply.ts";

/* UnknownOperationError (17): the answer to an operation that the server does not know, under the id of that request. */

export function encodeUnknownOperationError(request: { requestId: string; operation: number }): Uint8Array {
  const errorMessage = `Cannot handle request: operation ${request.operation} is not known`;
  const reply = { requestId: request.requestId, status: StatusCode.UnknownOperation, errorMessage };
  return beginReply(Operation.UnknownOperationError, reply).finish();
}

/** @throws {MillraceError} MALFORMED_CBOR */
export function decodeUnknownOperationError(frame: Uint8Array): Reply {
  return readReply(frame);
}
