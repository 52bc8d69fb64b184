import { STREAM_START } from "../core/stream-ledger.ts";
import type { StoredDefinition } from "../stream/definition-file.ts";
import { newStreamDirectory } from "../stream/store-directory.ts";
import { inTime } from "./answer-deadline.ts";
import type { EngineContext } from "./engine-context.ts";
import { checkExporterDirectories } from "./exporter-directory-check.ts";
import { checkExporterUris } from "./exporter-uri-check.ts";
import { type StreamEntry, newStreamEntry } from "./stream-entry.ts";

/**
 * Makes a stream. Resolves when definition and options are durable; either both are, or there is no stream.
 * @throws {MillraceError} STREAM_EXISTS, STREAM_LIMIT, INVALID_REQUEST for a uri with a password and for a directory that no setting allows, and others
 */
export async function createStream(
  engine: EngineContext,
  { definition, options }: StoredDefinition,
): Promise<void> {
  checkExporterUris(definition);
  await checkExporterDirectories(engine, { stream: definition.name, next: options });
  engine.catalog.assertFree(definition.name);
  const workerIndex = engine.workers.place();
  const place = newStreamDirectory(engine.random, engine.storeDirectory);
  const slot = engine.workers.nextSlot(workerIndex);
  const entry = newStreamEntry({ ...place, definition, options, workerIndex, slot }, "opening");
  engine.catalog.add(entry);
  engine.registerSlot(entry);
  await inTime(engine.timers, `The creation of stream "${definition.name}"`, openNew(engine, entry));
}

async function openNew(engine: EngineContext, entry: StreamEntry): Promise<void> {
  const { streamId, directory, definition, options, slot, workerIndex } = entry;
  try {
    const open = {
      kind: "open",
      slot,
      streamId,
      directory,
      definition,
      options,
      create: true,
      memory: [],
      knownEnd: STREAM_START,
    } as const;
    entry.account.opened(await engine.workers.proxy(workerIndex).control(open));
    entry.lifecycle = "open";
    engine.startExports(entry);
  } catch (thrown) {
    entry.lifecycle = "gone";
    engine.catalog.remove(entry);
    engine.releaseSlot(entry);
    engine.workers.unplace(workerIndex, directory);
    throw thrown;
  }
}
