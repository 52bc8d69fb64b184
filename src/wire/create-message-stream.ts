import {
  decodeDefinitionRequest,
  encodeDefinitionRequest,
  type DefinitionRequest,
} from "./definition-request.ts";
import { Operation } from "./operation.ts";
import type { Reply } from "./reply.ts";
import { beginReply, readReply } from "./reply.ts";
import { checkStreamDefinition } from "./stream-definition-codec.ts";

/* CreateMessageStream (2): requestId, definition. Its reply (7) has no keys of its own. */

export function encodeCreateMessageStream(request: DefinitionRequest): Uint8Array {
  return encodeDefinitionRequest(Operation.CreateMessageStream, request);
}

/** @throws {MillraceError} MALFORMED_CBOR, INVALID_REQUEST */
export function decodeCreateMessageStream(frame: Uint8Array): DefinitionRequest {
  return decodeDefinitionRequest(frame, checkStreamDefinition);
}

export function encodeCreateMessageStreamResponse(reply: Reply): Uint8Array {
  return beginReply(Operation.CreateMessageStreamResponse, reply).finish();
}

/** @throws {MillraceError} MALFORMED_CBOR */
export function decodeCreateMessageStreamResponse(frame: Uint8Array): Reply {
  return readReply(frame);
}
