import { assert } from "../core/assert.ts";
import { Persistence, type StreamDefinition } from "../core/stream-definition.ts";
import { STREAM_START, type StreamLoss } from "../core/stream-ledger.ts";
import type { StreamOptions } from "../core/stream-options.ts";
import type { SharedFile } from "../log/shared-memory-storage.ts";
import { ArrivalMarks } from "./arrival-marks.ts";
import type { ExportedStream } from "./exported-stream.ts";
import type { Exporter } from "./exporter.ts";
import type { ExporterState } from "./exporter-state.ts";
import type { ExportProgress } from "./live-account.ts";
import type { Schedule } from "./scheduler.ts";

/** A stream that exporters may read. */
export interface ExportSource {
  readonly streamId: string;
  readonly name: string;
  readonly directory: string;
  readonly definition: StreamDefinition;
  readonly options: StreamOptions;
  /** What is gone from the front of the stream; never behind the progress that `onProgress` told last. */
  readonly drops: () => readonly StreamLoss[];
  /** The files of a `Memory` stream as they are now; a batch takes the few that it needs. */
  readonly memory?: () => readonly SharedFile[];
}

/** What the manager knows of it. */
export interface SourceState {
  readonly stream: ExportedStream;
  readonly memory: (() => readonly SharedFile[]) | undefined;
  /** The name of the stream of which it holds what was set aside. */
  readonly companionOf: string | undefined;
  exporters: Exporter[];
  arrivals: ArrivalMarks | undefined;
}

/** Nothing is known yet of how far it reaches. */
export function newSource({
  streamId,
  name,
  directory,
  definition,
  options: { companionOf },
  drops,
  memory,
}: ExportSource): SourceState {
  const isMemory = definition.persistence === Persistence.Memory;
  assert(isMemory === (memory !== undefined), "a Memory stream, and no other, gives its chunks");
  const places = { oldest: STREAM_START, syncedEnd: STREAM_START, next: STREAM_START };
  const stream = { streamId, name, directory, isMemory, drops, ...places };
  return { stream, memory, companionOf, exporters: [], arrivals: undefined };
}

/** The stream reaches as far as `progress` says. */
export function noteProgress(source: SourceState, progress: ExportProgress, nowMs: number): void {
  const { stream, exporters } = source;
  const { oldestSequence, syncedEndSequence, nextSequence } = progress;
  stream.oldest = { sequence: oldestSequence, payloadOffset: progress.oldestPayloadOffset };
  stream.syncedEnd = { sequence: syncedEndSequence, payloadOffset: progress.syncedEndPayloadOffset };
  stream.next = { sequence: nextSequence, payloadOffset: progress.nextPayloadOffset };
  for (const exporter of exporters) exporter.noteProgress();
  if (source.arrivals === undefined) source.arrivals = new ArrivalMarks(syncedEndSequence);
  else source.arrivals.add(syncedEndSequence, nowMs);
}

/** Below it no enabled exporter of the stream needs a message again, whatever happens; undefined where there is none. */
export function durablePositionOf({ exporters }: SourceState): number | undefined {
  const enabled = exporters.filter(({ settings }) => !settings.disabled);
  return enabled.length === 0 ? undefined : Math.min(...enabled.map((one) => one.durablePosition));
}

/** How the stream's exporters stand, in the order of the definition. */
export function statesOf(
  { exporters, arrivals }: SourceState,
  { held }: Schedule,
  now: { readonly nowMs: number; readonly wallMs: number },
): ExporterState[] {
  return exporters.map((exporter) => exporter.state(held.get(exporter.key), { ...now, arrivals }));
}

/** Those of the identifier; all where it is left out. */
export function exportersNamed({ exporters }: SourceState, identifier?: string): Exporter[] {
  return exporters.filter(({ settings }) => identifier === undefined || settings.identifier === identifier);
}
