import { asMillraceError, MillraceError } from "../core/errors.ts";
import {
  type BatchingExportConfig,
  type StreamDefinition,
  destinationKinds,
} from "../core/stream-definition.ts";
import type { StoredDefinition } from "../stream/definition-file.ts";
import { assertOpen } from "./catalog.ts";
import type { EngineContext } from "./engine-context.ts";
import { checkExporterDirectories } from "./exporter-directory-check.ts";
import { checkExporterUris } from "./exporter-uri-check.ts";
import { tellRelease } from "./export-release.ts";
import type { StreamEntry } from "./stream-entry.ts";

/**
 * Gives a stream another definition or other options, when earlier changes of it are done. Resolves when they are durable and
 * hold: in the worker, then for the exporters. `next` is asked for them when the turn has come.
 * @throws {MillraceError} UPDATE_NOT_ALLOWED, UPDATE_FAILED, STORAGE_READ_ONLY and others: the stream is as it was.
 * UNKNOWN_OUTCOME: it may not be
 */
export function changeStream(
  engine: EngineContext,
  entry: StreamEntry,
  next: (present: StoredDefinition) => StoredDefinition,
): Promise<void> {
  return entry.turns.run(engine.clock, async () => {
    assertOpen(entry);
    const change = next(entry);
    checkChange(entry, change.definition);
    checkExporterUris(change.definition, entry.definition);
    const { name: stream } = change.definition;
    await checkExporterDirectories(engine, { stream, next: change.options, before: entry.options });
    // Asking again for what is there already must not wear out a flash memory.
    if (entry.isDefinitionInDoubt !== true && isSame(entry, change)) return;
    const { slot, workerIndex } = entry;
    const { definition, options } = change;
    const proxy = engine.workers.proxy(workerIndex);
    // Nothing is freed between the new definition and what its exporters have passed.
    entry.release.isHeld = true;
    try {
      await proxy.control({ kind: "update", slot, definition, options });
      engine.adoptChange(entry, change);
    } catch (thrown) {
      if (asMillraceError(thrown).code === "UNKNOWN_OUTCOME") entry.isDefinitionInDoubt = true;
      throw thrown;
    } finally {
      entry.release.isHeld = false;
      void tellRelease(engine, entry);
    }
  });
}

function isSame(entry: StoredDefinition, { definition, options }: StoredDefinition): boolean {
  return JSON.stringify([entry.definition, entry.options]) === JSON.stringify([definition, options]);
}

/**
 * What an update may not do (PROTOCOL 5). That maxSize holds what is there is for the worker to say, which knows it exactly.
 * @throws {MillraceError} UPDATE_NOT_ALLOWED, UPDATE_FAILED
 */
function checkChange(
  { definition, progress }: Pick<StreamEntry, "definition" | "progress">,
  next: StreamDefinition,
): void {
  const what = `Cannot update stream "${definition.name}"`;
  if (next.persistence !== definition.persistence) {
    throw new MillraceError("UPDATE_NOT_ALLOWED", `${what}: its persistence cannot change`);
  }
  const newestSequence = progress.nextSequence - 1;
  const before = startsOf(definition);
  for (const [exporter, start] of startsOf(next)) {
    const isMoved = before.has(exporter) && before.get(exporter) !== start;
    // 0 is the beginning of any stream, of an empty one too.
    if (!isMoved || start === 0 || start < newestSequence) continue;
    const limit = `must be less than the newest sequence number, ${newestSequence}`;
    const identifier = exporter.slice(exporter.indexOf("/") + 1);
    throw new MillraceError(
      "UPDATE_FAILED",
      `${what}: startSequenceNumber ${start} of "${identifier}" ${limit}`,
    );
  }
}

/** The start of every exporter that has one, by kind and identifier. */
function startsOf({ exportDefinition }: StreamDefinition): Map<string, number> {
  const starts = new Map<string, number>();
  for (const kind of destinationKinds) {
    const configs: readonly BatchingExportConfig[] = exportDefinition[kind];
    for (const { identifier, startSequenceNumber } of configs) {
      starts.set(`${kind}/${identifier}`, startSequenceNumber ?? 0);
    }
  }
  return starts;
}
