import {
  decodeDeleteMessageStream,
  encodeDeleteMessageStreamResponse,
} from "../../wire/delete-message-stream.ts";
import { success } from "../../wire/reply.ts";
import type { ClientState } from "../client-state.ts";
import type { EngineContext } from "../engine-context.ts";

/** DeleteMessageStream (3): answered when the stream cannot come back. Its exporters stop first. */
export async function handleDeleteMessageStream(
  engine: EngineContext,
  client: ClientState,
  frame: Uint8Array,
): Promise<void> {
  const { requestId, name } = decodeDeleteMessageStream(frame);
  const entry = engine.catalog.get(name);
  // The one that has the stream open: should it die before it is asked, its successor does not.
  const proxy = engine.workers.proxy(entry.workerIndex);
  entry.lifecycle = "deleting";
  try {
    if (entry.isExported) await engine.exports.removeStream(entry.streamId);
    entry.isExported = false;
    await proxy.control({ kind: "destroy", slot: entry.slot });
  } catch (thrown) {
    engine.reopenAfterDeletion(entry);
    throw thrown;
  }
  entry.lifecycle = "gone";
  engine.catalog.remove(entry);
  engine.workers.unplace(entry.workerIndex);
  client.session.send(encodeDeleteMessageStreamResponse(success(requestId)));
}
