import { encodeDeleteMessageStreamResponse } from "../../wire/delete-message-stream.ts";
import { type NamedRequest, success } from "../../wire/reply.ts";
import { inTime } from "../answer-deadline.ts";
import { assertOpen } from "../catalog.ts";
import type { ClientState } from "../client-state.ts";
import type { EngineContext } from "../engine-context.ts";
import type { StreamEntry } from "../stream-entry.ts";

/** DeleteMessageStream (3): answered when the stream cannot come back. Its exporters stop first. */
export async function handleDeleteMessageStream(
  engine: EngineContext,
  client: ClientState,
  { requestId, name }: NamedRequest,
): Promise<void> {
  const entry = engine.catalog.get(name);
  const deletion = entry.turns.run(engine.clock, () => deleteStream(engine, entry));
  await inTime(engine.timers, `The deletion of stream "${name}"`, deletion);
  client.session.send(encodeDeleteMessageStreamResponse(success(requestId)));
}

async function deleteStream(engine: EngineContext, entry: StreamEntry): Promise<void> {
  assertOpen(entry);
  // The one that has the stream open: should it die before it is asked, its successor does not.
  const proxy = engine.workers.proxy(entry.workerIndex);
  entry.lifecycle = "deleting";
  try {
    if (entry.isExported) {
      // They are gone at once, and the wait is for what they had under way: progress that comes meanwhile is not for them.
      entry.isExported = false;
      await engine.exports.removeStream(entry.streamId);
    }
    await proxy.control({ kind: "destroy", slot: entry.slot });
  } catch (thrown) {
    engine.reopenAfterDeletion(entry);
    throw thrown;
  }
  entry.lifecycle = "gone";
  engine.catalog.remove(entry);
  engine.releaseSlot(entry);
  engine.workers.unplace(entry.workerIndex, entry.directory);
}
