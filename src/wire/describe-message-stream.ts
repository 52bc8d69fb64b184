import type { MessageStreamInfo } from "../core/stream-definition.ts";
import { Operation } from "./operation.ts";
import type { NamedRequest, Reply } from "./reply.ts";
import { beginReply, decodeNamedRequest, encodeNamedRequest, readReply } from "./reply.ts";
import { readMessageStreamInfo, writeMessageStreamInfo } from "./stream-definition-codec.ts";

/* DescribeMessageStream (13): requestId, name. Its reply (14) adds messageStreamInfo, left out when the status is not 0. */
export interface DescribeMessageStreamResponse extends Reply {
  readonly messageStreamInfo?: MessageStreamInfo;
}

export function encodeDescribeMessageStream(request: NamedRequest): Uint8Array {
  return encodeNamedRequest(Operation.DescribeMessageStream, request);
}

/** @throws {MillraceError} MALFORMED_CBOR, INVALID_REQUEST */
export function decodeDescribeMessageStream(frame: Uint8Array): NamedRequest {
  return decodeNamedRequest(frame);
}

export function encodeDescribeMessageStreamResponse(reply: DescribeMessageStreamResponse): Uint8Array {
  const { messageStreamInfo } = reply;
  const writer = beginReply(Operation.DescribeMessageStreamResponse, reply, messageStreamInfo ? 1 : 0, 1024);
  if (messageStreamInfo) writeMessageStreamInfo(writer.text("messageStreamInfo"), messageStreamInfo);
  return writer.finish();
}

/** @throws {MillraceError} MALFORMED_CBOR, INVALID_REQUEST */
export function decodeDescribeMessageStreamResponse(frame: Uint8Array): DescribeMessageStreamResponse {
  let messageStreamInfo: MessageStreamInfo | undefined;
  const reply = readReply(frame, (reader, key) => {
    if (key !== "messageStreamInfo") return false;
    messageStreamInfo = readMessageStreamInfo(reader);
    return true;
  });
  return messageStreamInfo ? { ...reply, messageStreamInfo } : reply;
}
