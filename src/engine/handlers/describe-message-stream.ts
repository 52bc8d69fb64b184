import type { MessageStreamInfo } from "../../core/stream-definition.ts";
import { encodeDescribeMessageStreamResponse } from "../../wire/describe-message-stream.ts";
import { type NamedRequest, success } from "../../wire/reply.ts";
import type { ClientState } from "../client-state.ts";
import type { EngineContext } from "../engine-context.ts";
import type { StreamEntry } from "../stream-entry.ts";

/** DescribeMessageStream (13): answered from what the workers last told, which is never behind an acknowledgement. */
export function handleDescribeMessageStream(
  engine: EngineContext,
  client: ClientState,
  { requestId, name }: NamedRequest,
): void {
  const messageStreamInfo = describeStream(engine, engine.catalog.get(name));
  client.session.send(encodeDescribeMessageStreamResponse({ ...success(requestId), messageStreamInfo }));
}

function describeStream(engine: EngineContext, entry: StreamEntry): MessageStreamInfo {
  const { oldestSequence, nextSequence, totalBytes } = entry.progress;
  return {
    definition: entry.definition,
    storageStatus: {
      oldestSequenceNumber: oldestSequence,
      newestSequenceNumber: nextSequence - 1,
      totalBytes,
    },
    exportStatuses: engine.exports.statuses(entry.streamId),
  };
}
