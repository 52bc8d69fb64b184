import { REQUEST_ID_BYTES_MAX } from "../core/limits.ts";
import type { StreamDefinition } from "../core/stream-definition.ts";
import { CborWriter } from "./cbor-writer.ts";
import { invalid } from "./field-rules.ts";
import { Operation } from "./operation.ts";
import type { Reply } from "./reply.ts";
import { beginReply, checkRequestId, readFields, readReply } from "./reply.ts";
import { readStreamDefinition, writeStreamDefinition } from "./stream-definition-codec.ts";

/* CreateMessageStream (2): requestId, definition. Its reply (7) has no keys of its own. */
export interface CreateMessageStream {
  readonly requestId: string;
  /** Checked, with every default filled in. */
  readonly definition: StreamDefinition;
}

export function encodeCreateMessageStream(request: CreateMessageStream): Uint8Array {
  const writer = new CborWriter(Operation.CreateMessageStream)
    .map(2)
    .text("requestId")
    .text(request.requestId);
  writeStreamDefinition(writer.text("definition"), request.definition);
  return writer.finish();
}

/** @throws {MillraceError} MALFORMED_CBOR, INVALID_REQUEST */
export function decodeCreateMessageStream(frame: Uint8Array): CreateMessageStream {
  let requestId: string | undefined;
  let definition: StreamDefinition | undefined;
  readFields(frame, (reader, key) => {
    if (key === "requestId") requestId = reader.readText(key, REQUEST_ID_BYTES_MAX);
    else if (key === "definition") definition = readStreamDefinition(reader);
    else return false;
    return true;
  });
  if (!definition) throw invalid("definition is missing");
  return { requestId: checkRequestId(requestId), definition };
}

export function encodeCreateMessageStreamResponse(reply: Reply): Uint8Array {
  return beginReply(Operation.CreateMessageStreamResponse, reply).finish();
}

/** @throws {MillraceError} MALFORMED_CBOR */
export function decodeCreateMessageStreamResponse(frame: Uint8Array): Reply {
  return readReply(frame);
}
