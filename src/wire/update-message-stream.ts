import {
  decodeDefinitionRequest,
  encodeDefinitionRequest,
  type DefinitionRequest,
} from "./definition-request.ts";
import { Operation } from "./operation.ts";
import type { Reply } from "./reply.ts";
import { beginReply, readReply } from "./reply.ts";
import { checkUpdatedDefinition } from "./stream-definition-codec.ts";

/* UpdateMessageStream (15): requestId, definition. Its reply (16) has no keys of its own. */

export function encodeUpdateMessageStream(request: DefinitionRequest): Uint8Array {
  return encodeDefinitionRequest(Operation.UpdateMessageStream, request);
}

/** @throws {MillraceError} MALFORMED_CBOR, INVALID_REQUEST */
export function decodeUpdateMessageStream(frame: Uint8Array): DefinitionRequest {
  return decodeDefinitionRequest(frame, checkUpdatedDefinition);
}

export function encodeUpdateMessageStreamResponse(reply: Reply): Uint8Array {
  return beginReply(Operation.UpdateMessageStreamResponse, reply).finish();
}

/** @throws {MillraceError} MALFORMED_CBOR */
export function decodeUpdateMessageStreamResponse(frame: Uint8Array): Reply {
  return readReply(frame);
}
