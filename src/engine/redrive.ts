import { MillraceError } from "../core/errors.ts";
import type { RedriveResult } from "../core/export-command.ts";
import { decodeEntry, isEntryOf } from "../export/set-aside-entry.ts";
import type { RedriveTarget } from "../export/redrives.ts";
import type { EngineContext } from "./engine-context.ts";
import { readInternally } from "./internal-read.ts";
import type { StreamEntry } from "./stream-entry.ts";

/**
 * Sends the messages of a stream that were set aside again, to where their exporters send now: of the one with the identifier,
 * or of all. Resolves when it has begun; how far it is shows in the stream's description (`setAside.redrives`). What was accepted
 * by an earlier redrive is not sent again; what is refused again is set aside again, with one attempt more. `streamName` may be
 * the companion's too.
 * @throws {MillraceError} STREAM_NOT_FOUND, STREAM_FENCED, SERVER_BUSY of either stream, also where it is removed meanwhile.
 * INVALID_REQUEST for an identifier that the stream's definition does not have, and for an exporter that is disabled or paused.
 * SERVER_BUSY while requests are out that an exporter of the same identifier sent again before it was removed
 */
export async function redriveSetAside(
  engine: EngineContext,
  streamName: string,
  identifier?: string,
): Promise<RedriveResult> {
  const { catalog, companions, exports } = engine;
  const asked = catalog.get(streamName);
  const source = asked.options.companionOf === undefined ? asked : catalog.get(asked.options.companionOf);
  const { name } = source.definition;
  const ledgers = exports.ledgers(source.streamId);
  const chosen = ledgers.filter((ledger) => identifier === undefined || ledger.identifier === identifier);
  if (identifier !== undefined && chosen.length === 0) throw refused(name, noExporter(identifier));
  const companionName = companions.of(name)?.definition.name;
  if (companionName === undefined) return { companion: undefined, exporters: [], left: [] };
  const companion = catalog.get(companionName);
  const { streamId: companionId } = companion;
  const redrives = chosen.map(({ identifier }) => {
    const target = { companionId, sourceId: source.streamId, identifier };
    if (exports.redrives.isEnding(target)) throw busy(name, identifier);
    const [from, kind] = [exports.redrives.position(target), exports.redrives.kindOf(target)];
    return { target, identifier, kind, from, messages: 0 };
  });
  const endSequence = companion.progress.syncedEndSequence;
  let left: RedriveResult["left"];
  try {
    left = await countEntries(engine, companion, { redrives, endSequence });
  } finally {
    // Whatever came of it, a stream that is gone is the reason to tell.
    for (const entry of [source, companion]) checkIsThere(engine, entry);
  }
  const begun = redrives.filter(({ messages }) => messages > 0);
  for (const redrive of begun) checkCanSend(engine, source, redrive);
  for (const { target } of begun) exports.redrives.start(target);
  return {
    companion: companionName,
    exporters: begun.map(({ identifier, messages }) => ({ identifier, messages })),
    left: left.filter((one) => identifier === undefined || one.identifier === identifier),
  };
}

interface CountedRedrive {
  readonly target: RedriveTarget;
  readonly identifier: string;
  readonly kind: string;
  readonly from: number;
  messages: number;
}

async function countEntries(
  engine: EngineContext,
  companion: StreamEntry,
  { redrives, endSequence }: { redrives: readonly CountedRedrive[]; endSequence: number },
): Promise<RedriveResult["left"]> {
  const left = new Map<string, { identifier: string; messages: number; why: string }>();
  const fromSequence = Math.min(endSequence, ...redrives.map(({ from }) => from));
  for await (const { sequenceNumber, payload } of readInternally(engine, companion, {
    fromSequence,
    endSequence,
  })) {
    const entry = decodeEntry(payload);
    // Somebody appended something else.
    if (entry === undefined) continue;
    const redrive = redrives.find((one) => isEntryOf(entry, one));
    if (redrive !== undefined && sequenceNumber < redrive.from) continue;
    if (redrive !== undefined && entry.payload !== undefined) {
      redrive.messages += 1;
      continue;
    }
    const why =
      redrive === undefined ? "the stream has no such exporter any more" : "their payload was omitted";
    const key = `${entry.exporter}/${why}`;
    const counted = left.get(key) ?? { identifier: entry.exporter, messages: 0, why };
    counted.messages += 1;
    left.set(key, counted);
  }
  return [...left.values()];
}

/** @throws {MillraceError} STREAM_NOT_FOUND, SERVER_BUSY, STREAM_FENCED */
function checkIsThere({ catalog }: EngineContext, entry: StreamEntry): void {
  const { name } = entry.definition;
  if (catalog.get(name) === entry) return;
  throw new MillraceError("STREAM_NOT_FOUND", `Stream "${name}" was deleted and made anew`);
}

/** The exporter may have been removed or configured anew since its messages were counted. */
function checkCanSend(
  { exports }: EngineContext,
  { streamId, definition, options }: StreamEntry,
  { identifier, kind, target }: CountedRedrive,
): void {
  const exporter = exports.ledgers(streamId).find((one) => one.identifier === identifier);
  if (exporter === undefined) throw refused(definition.name, noExporter(identifier));
  if (exports.redrives.isEnding(target)) throw busy(definition.name, identifier);
  if (exports.redrives.kindOf(target) !== kind)
    throw refused(definition.name, `exporter "${identifier}" is of another kind by now`);
  if (exporter.disabled) throw refused(definition.name, `exporter "${identifier}" is disabled`);
  if (options.exporters?.[identifier]?.paused === true) {
    throw refused(definition.name, `exporter "${identifier}" is paused`);
  }
}

function noExporter(identifier: string): string {
  return `it has no exporter "${identifier}"`;
}

function busy(streamName: string, identifier: string): MillraceError {
  const why = `requests of a former exporter "${identifier}" are out that sent it: retry`;
  return new MillraceError("SERVER_BUSY", `${textOfRefusal(streamName)}: ${why}`);
}

function textOfRefusal(streamName: string): string {
  return `Cannot send again what was set aside of stream "${streamName}"`;
}

function refused(streamName: string, why: string): MillraceError {
  return new MillraceError("INVALID_REQUEST", `${textOfRefusal(streamName)}: ${why}`);
}
