import { newStreamDirectory } from "../../stream/store-directory.ts";
import { emptyProgress } from "../../stream/stream-channel.ts";
import {
  decodeCreateMessageStream,
  encodeCreateMessageStreamResponse,
} from "../../wire/create-message-stream.ts";
import { success } from "../../wire/reply.ts";
import type { ClientState } from "../client-state.ts";
import type { EngineContext } from "../engine-context.ts";
import { newStreamEntry } from "../stream-entry.ts";

/** CreateMessageStream (2): answered when the definition is durable. */
export async function handleCreateMessageStream(
  engine: EngineContext,
  client: ClientState,
  frame: Uint8Array,
): Promise<void> {
  const { requestId, definition } = decodeCreateMessageStream(frame);
  engine.catalog.assertFree(definition.name);
  const workerIndex = engine.workers.place();
  const place = newStreamDirectory(engine.random, engine.storeDirectory);
  const slot = engine.workers.nextSlot(workerIndex);
  const entry = newStreamEntry({ ...place, definition, workerIndex, slot }, "opening");
  engine.catalog.add(entry);
  engine.registerSlot(entry);
  try {
    const { streamId, directory } = entry;
    const open = {
      kind: "open",
      slot,
      streamId,
      directory,
      definition,
      create: true,
      memory: [],
      knownEndSequence: 0,
    } as const;
    const { progress } = await engine.workers.proxy(workerIndex).control(open);
    entry.progress = progress ?? emptyProgress;
    entry.lifecycle = "open";
    engine.startExports(entry);
  } catch (thrown) {
    entry.lifecycle = "gone";
    engine.catalog.remove(entry);
    engine.workers.unplace(workerIndex);
    throw thrown;
  }
  client.session.send(encodeCreateMessageStreamResponse(success(requestId)));
}
