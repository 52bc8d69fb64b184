import type { MillraceError } from "../core/errors.ts";
import { encodeAppendMessageResponse } from "../wire/append-message.ts";
import { encodeCreateMessageStreamResponse } from "../wire/create-message-stream.ts";
import { encodeDeleteMessageStreamResponse } from "../wire/delete-message-stream.ts";
import { encodeDescribeMessageStreamResponse } from "../wire/describe-message-stream.ts";
import { encodeListStreamsResponse } from "../wire/list-streams.ts";
import { Operation } from "../wire/operation.ts";
import { encodeReadMessagesResponse } from "../wire/read-messages.ts";
import { failureReply } from "../wire/reply-status.ts";
import type { Reply } from "../wire/reply.ts";
import { encodeUpdateMessageStreamResponse } from "../wire/update-message-stream.ts";
import type { ClientState } from "./client-state.ts";

const encoders: Partial<Record<number, (reply: Reply) => Uint8Array>> = {
  [Operation.CreateMessageStream]: encodeCreateMessageStreamResponse,
  [Operation.DeleteMessageStream]: encodeDeleteMessageStreamResponse,
  [Operation.AppendMessage]: encodeAppendMessageResponse,
  [Operation.ReadMessages]: encodeReadMessagesResponse,
  [Operation.ListStreams]: encodeListStreamsResponse,
  [Operation.DescribeMessageStream]: encodeDescribeMessageStreamResponse,
  [Operation.UpdateMessageStream]: encodeUpdateMessageStreamResponse,
};

/** Whether this is a stream manager operation that gets a reply of its own kind. */
export function isOfficialRequest(operation: number): boolean {
  return encoders[operation] !== undefined;
}

/** Answers a stream manager request that failed. Every request gets an answer: a Node.js client waits for ever without. */
export function replyFailure(
  client: ClientState,
  request: { readonly operation: number; readonly requestId: string },
  error: MillraceError,
): void {
  const reply = failureReply(request.requestId, error, client.session.protocolVersion);
  const encode = encoders[request.operation];
  if (encode !== undefined) client.session.send(encode(reply));
}
