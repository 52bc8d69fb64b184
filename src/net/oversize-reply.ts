import { StatusCode } from "../core/status-code.ts";
import type { OversizeFrame } from "../wire/frame-decoder.ts";
import { Operation } from "../wire/operation.ts";
import { beginReply, findRequestId } from "../wire/reply.ts";

/** PROTOCOL 1.4: the numbers of requests and replies follow no rule. */
const replyOperations = new Map<number, Operation>([
  [Operation.CreateMessageStream, Operation.CreateMessageStreamResponse],
  [Operation.DeleteMessageStream, Operation.DeleteMessageStreamResponse],
  [Operation.AppendMessage, Operation.AppendMessageResponse],
  [Operation.ReadMessages, Operation.ReadMessagesResponse],
  [Operation.ListStreams, Operation.ListStreamsResponse],
  [Operation.DescribeMessageStream, Operation.DescribeMessageStreamResponse],
  [Operation.UpdateMessageStream, Operation.UpdateMessageStreamResponse],
]);

/** Status 4 for a frame over the limit; undefined when nobody can be told: no request id in reach, or no such request. */
export function oversizeReply(frame: OversizeFrame, frameBytesMax: number): Uint8Array | undefined {
  const operation = replyOperations.get(frame.operation);
  const requestId = findRequestId(frame.prefix);
  if (operation === undefined || requestId === undefined) return undefined;
  const errorMessage = `Cannot take request: ${frame.frameBytes} bytes, the limit is ${frameBytesMax}`;
  return beginReply(operation, {
    requestId,
    status: StatusCode.RequestPayloadTooLarge,
    errorMessage,
  }).finish();
}
