import { Persistence } from "../core/stream-definition.ts";
import { SYNC_BYTES_PER_WORKER_MAX } from "../core/limits.ts";
import {
  type LedgerDescription,
  type PowerCutLoss,
  type StorageDescription,
  type StreamDescription,
  type StreamStateName,
  describeLoss,
} from "../core/stream-description.ts";
import { StreamState } from "../stream/stream-channel.ts";
import type { EngineContext } from "./engine-context.ts";
import { exportedFacts, streamOutlook } from "./export-outlook.ts";
import { describeExporter } from "./exporter-description.ts";
import type { StreamEntry } from "./stream-entry.ts";

/** All that is known of a stream, from what the workers last told: never behind an acknowledgement. */
export function describeStream(engine: EngineContext, entry: StreamEntry): StreamDescription {
  const { definition, options, facts } = entry;
  const companion = engine.companions.of(definition.name);
  const redrives = entry.isExported ? engine.exports.redrives.states(entry.streamId) : [];
  const lastFault = entry.lifecycle === "fenced" ? entry.fault : facts.lastFault;
  return {
    definition,
    options,
    state: stateOf(entry),
    ...(lastFault === undefined ? {} : { lastFault }),
    epoch: engine.workerSettings.epoch,
    ...(facts.lastUncleanEnd === undefined ? {} : { lastUncleanEnd: facts.lastUncleanEnd }),
    storage: describeStorage(engine, entry),
    ledger: describeLedger(entry),
    ...describeOutlook(engine, entry),
    ...(companion === undefined ? {} : { setAside: { stream: companion.definition.name, redrives } }),
  };
}

/** What is told beside the accounts of how fast things go and what comes of it; and the exporters, accounts and all. */
function describeOutlook(
  engine: EngineContext,
  entry: StreamEntry,
): Pick<StreamDescription, "appendRate" | "forecast" | "exporters"> {
  const outlook = streamOutlook(engine, entry, exportedFacts(engine, entry));
  const statuses = entry.isExported ? engine.exports.statuses(entry.streamId) : [];
  return {
    appendRate: outlook.appended,
    forecast: { fullInMs: outlook.fullInMs ?? null },
    exporters: outlook.exporters.map((exporter, index) =>
      describeExporter(exporter, { lastExportTimeMs: statuses[index]!.lastExportTime }),
    ),
  };
}

export function stateOf({ lifecycle, progress, facts }: StreamEntry): StreamStateName {
  if (lifecycle === "fenced" || lifecycle === "recovering") return lifecycle;
  if (progress.state === StreamState.ReadOnly) return "read-only";
  if (progress.state === StreamState.Fenced) return "fenced";
  return facts.isDiskShort === true ? "disk-low" : "ok";
}

/** What a power cut takes of a stream at most; undefined where it is nothing, or everything. */
export function powerCutLossMax(
  { workerSettings }: Pick<EngineContext, "workerSettings">,
  { definition }: Pick<StreamEntry, "definition">,
): PowerCutLoss | undefined {
  if (definition.flushOnWrite || definition.persistence === Persistence.Memory) return undefined;
  const { syncIntervalMs, syncBytes } = workerSettings;
  return { syncIntervalMs, syncBytes, workerSyncBytes: SYNC_BYTES_PER_WORKER_MAX };
}

function describeStorage(engine: EngineContext, entry: StreamEntry): StorageDescription {
  const { oldestSequence, nextSequence, syncedEndSequence } = entry.progress;
  const { totalBytes, storedBytes, unsyncedBytes, writtenBytes, rewrittenBytes } = entry.progress;
  const { atRisk, rewriteFaults } = entry.facts;
  const loss = powerCutLossMax(engine, entry);
  return {
    oldestSequence,
    nextSequence,
    syncedEndSequence,
    totalBytes,
    storedBytes,
    unsyncedBytes,
    writtenBytes,
    rewrittenBytes,
    ...(rewriteFaults === undefined ? {} : { rewriteFaults }),
    ...(loss === undefined ? {} : { powerCutLossMax: loss }),
    ...(atRisk === undefined ? {} : { atRisk }),
  };
}

function describeLedger({ ledger, progress }: StreamEntry): LedgerDescription {
  const appended = { messages: progress.nextSequence, payloadBytes: progress.nextPayloadOffset };
  const { accounts, drops, damage } = ledger.snapshot;
  return {
    appended,
    stored: ledger.stored(appended),
    ...accounts,
    drops: drops.map(describeLoss),
    damage: damage.map(describeLoss),
  };
}
