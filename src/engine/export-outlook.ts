import { Persistence } from "../core/stream-definition.ts";
import type { MessageRate } from "../core/stream-description.ts";
import {
  forecastDrained,
  forecastFull,
  forecastLoss,
  type ForecastExporter,
  type ForecastStream,
} from "../export/export-forecast.ts";
import type { ExporterLedger } from "../export/exporter-ledger.ts";
import type { ExporterState } from "../export/exporter-state.ts";
import type { EngineContext } from "./engine-context.ts";
import type { StreamEntry } from "./stream-entry.ts";

/** What is told of an exporter at this moment. Milliseconds from now; undefined is never. */
export interface ExporterOutlook {
  readonly ledger: ExporterLedger;
  readonly state: ExporterState;
  /** Undefined while nothing is pending, or nobody knows. */
  readonly oldestPendingAgeMs: number | undefined;
  readonly lossInMs: number | undefined;
  readonly drainedInMs: number | undefined;
}

export interface StreamOutlook {
  readonly appended: MessageRate;
  readonly fullInMs: number | undefined;
  /** In the order of the definition. */
  readonly exporters: readonly ExporterOutlook[];
}

/** What the exports know of a stream. */
export interface ExportedFacts {
  readonly ledgers: readonly ExporterLedger[];
  readonly states: readonly ExporterState[];
}

/** How a stream and its exporters stand, and what comes of that at the present rates. */
export function streamOutlook(
  engine: EngineContext,
  entry: StreamEntry,
  { ledgers, states }: ExportedFacts,
): StreamOutlook {
  const stream = forecastStream(engine, entry);
  const exporters = ledgers.map((ledger, index) => {
    const state = states[index]!;
    const oldestPendingAgeMs = oldestAgeMs(engine, entry, ledger, state);
    return { ledger, state, oldestPendingAgeMs };
  });
  const forecasts = exporters.map(forecastExporter);
  return {
    appended: stream.appended,
    fullInMs: forecastFull(stream, forecasts),
    exporters: exporters.map((exporter, index) => ({
      ...exporter,
      lossInMs: forecastLoss(stream, forecasts[index]!),
      drainedInMs: forecastDrained(stream, forecasts[index]!),
    })),
  };
}

/** What is known of the exporters of one stream; nothing before it was opened first. */
export function exportedFacts(
  { exports }: Pick<EngineContext, "exports">,
  entry: StreamEntry,
): ExportedFacts {
  if (!entry.isExported) return { ledgers: [], states: [] };
  return { ledgers: exports.ledgers(entry.streamId), states: exports.states(entry.streamId) };
}

function forecastStream(engine: EngineContext, entry: StreamEntry): ForecastStream {
  const { definition, options, progress, facts, ledger, traffic } = entry;
  const stored = ledger.stored({ messages: progress.nextSequence, payloadBytes: progress.nextPayloadOffset });
  const isFile = definition.persistence === Persistence.File;
  return {
    maxSizeBytes: definition.maxSize,
    segmentBytes: definition.streamSegmentSize,
    totalBytes: progress.totalBytes,
    messageBytes: stored.messages > 0 ? progress.totalBytes / stored.messages : 0,
    strategyOnFull: definition.strategyOnFull,
    timeToLiveMs: definition.timeToLiveMillis,
    freeExported: options.freeExported,
    appended: traffic.appended(engine.clock.monotonicMs()),
    diskFullInMs:
      facts.isDiskShort === true ? 0 : isFile ? engine.disk.fullInMs(engine.catalog.entries) : undefined,
  };
}

function forecastExporter({
  ledger: { disabled, pending, errorMessage },
  state,
  oldestPendingAgeMs,
}: Pick<ExporterOutlook, "ledger" | "state" | "oldestPendingAgeMs">): ForecastExporter {
  const { messagesPerSecond, bytesPerSecond, batchIntervalMs } = state;
  return {
    disabled,
    canSend: state.state !== "disabled" && state.state !== "paused",
    isFailing: errorMessage !== "" || state.state === "backoff" || state.state === "stuck",
    pending,
    oldestPendingAgeMs,
    batchIntervalMs,
    exported: { messagesPerSecond, bytesPerSecond },
  };
}

/** Of messages that this process saw arrive by its own clock; of those that were there before by when they were taken. */
function oldestAgeMs(
  { clock, workers }: EngineContext,
  { ingestLooks, lifecycle, workerIndex, slot }: StreamEntry,
  { pending }: ExporterLedger,
  { exporterId, nextSequence, oldestPendingAgeMs }: ExporterState,
): number | undefined {
  if (pending.messages === 0 || oldestPendingAgeMs !== Infinity) return oldestPendingAgeMs;
  if (lifecycle !== "open") return undefined;
  const question = { proxy: () => workers.proxy(workerIndex), slot, exporterId, sequence: nextSequence };
  return ingestLooks.ageMs(clock, question);
}
