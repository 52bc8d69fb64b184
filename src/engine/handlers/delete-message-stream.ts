import {
  decodeDeleteMessageStream,
  encodeDeleteMessageStreamResponse,
} from "../../wire/delete-message-stream.ts";
import { asMillraceError } from "../../core/errors.ts";
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
  entry.lifecycle = "deleting";
  try {
    if (entry.isExported) await engine.exports.removeStream(entry.streamId);
    entry.isExported = false;
    await engine.workers.proxy(entry.workerIndex).control({ kind: "destroy", slot: entry.slot });
  } catch (thrown) {
    // Not gone: it goes on as it was, or, where its worker ended meanwhile, as the next worker finds it.
    const { code } = asMillraceError(thrown);
    if (code === "UNKNOWN_OUTCOME" || code === "SERVER_BUSY") {
      entry.lifecycle = "recovering";
    } else {
      entry.lifecycle = "open";
      engine.startExports(entry);
    }
    throw thrown;
  }
  entry.lifecycle = "gone";
  engine.catalog.remove(entry);
  engine.workers.unplace(entry.workerIndex);
  client.session.send(encodeDeleteMessageStreamResponse(success(requestId)));
}
