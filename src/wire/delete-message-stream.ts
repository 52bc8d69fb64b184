import { Operation } from "./operation.ts";
import type { NamedRequest, Reply } from "./reply.ts";
import { beginReply, decodeNamedRequest, encodeNamedRequest, readReply } from "./reply.ts";

/* DeleteMessageStream (3): requestId, name. Its reply (8) has no keys of its own. */

export function encodeDeleteMessageStream(request: NamedRequest): Uint8Array {
  return encodeNamedRequest(Operation.DeleteMessageStream, request);
}

/** @throws {MillraceError} MALFORMED_CBOR, INVALID_REQUEST */
export function decodeDeleteMessageStream(frame: Uint8Array): NamedRequest {
  return decodeNamedRequest(frame);
}

export function encodeDeleteMessageStreamResponse(reply: Reply): Uint8Array {
  return beginReply(Operation.DeleteMessageStreamResponse, reply).finish();
}

/** @throws {MillraceError} MALFORMED_CBOR */
export function decodeDeleteMessageStreamResponse(frame: Uint8Array): Reply {
  return readReply(frame);
}
