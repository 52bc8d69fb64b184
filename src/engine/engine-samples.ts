import { SYNC_BYTES_PER_WORKER_MAX } from "../core/limits.ts";
import { describeLoss } from "../core/stream-description.ts";
import { type MessageTotals, ledgerAccounts } from "../core/stream-ledger.ts";
import type { ExportManager } from "../export/export-manager.ts";
import type { MetricSample } from "../observe/counters.ts";
import type { Engine } from "./engine.ts";
import { exportSamples } from "./export-samples.ts";
import { stateOf } from "./stream-description.ts";
import type { StreamEntry } from "./stream-entry.ts";

/** What `/metrics` tells of the streams, the workers and the exporters: read at the scrape, counted anyway. */
export function engineSamples(engine: Engine, exports: ExportManager): MetricSample[] {
  return [
    ...settingSamples(engine),
    ...[...engine.catalog.entries].flatMap(streamSamples),
    ...memorySamples(engine),
    ...workerSamples(engine),
    ...exportSamples(engine, exports),
    { name: "export_notices_dropped_total", value: exports.droppedNoticeCount },
  ];
}

function settingSamples({ workerSettings: { syncIntervalMs, syncBytes } }: Engine): MetricSample[] {
  return [
    { name: "sync_interval_seconds", value: syncIntervalMs / 1000 },
    { name: "sync_limit_bytes", value: syncBytes, labels: { scope: "stream" } },
    { name: "sync_limit_bytes", value: SYNC_BYTES_PER_WORKER_MAX, labels: { scope: "worker" } },
  ];
}

function streamSamples(entry: StreamEntry): MetricSample[] {
  const labels = { stream: entry.definition.name };
  const { oldestSequence, nextSequence, syncedEndSequence } = entry.progress;
  const { totalBytes, storedBytes, unsyncedBytes, writtenBytes, rewrittenBytes, syncCount } = entry.progress;
  return [
    { name: "stream_messages_appended_total", value: entry.appendedMessageCount, labels },
    { name: "stream_bytes_appended_total", value: entry.appendedBytes, labels },
    { name: "stream_messages_repeated_total", value: entry.repeatedMessageCount, labels },
    { name: "stream_appends_refused_total", value: entry.refusedCount, labels },
    { name: "stream_oldest_sequence", value: oldestSequence, labels },
    { name: "stream_newest_sequence", value: nextSequence - 1, labels },
    { name: "stream_synced_sequence", value: syncedEndSequence - 1, labels },
    { name: "stream_accepted_bytes", value: totalBytes, labels },
    { name: "stream_stored_bytes", value: storedBytes, labels },
    { name: "stream_unsynced_bytes", value: unsyncedBytes, labels },
    { name: "stream_written_bytes_total", value: writtenBytes, labels },
    { name: "stream_rewritten_bytes_total", value: rewrittenBytes, labels },
    { name: "stream_syncs_total", value: syncCount, labels },
    { name: "stream_rewrite_failures_total", value: entry.facts.rewriteFaults?.count ?? 0, labels },
    { name: "stream_torn_tail_bytes_total", value: entry.account.tornTailBytes, labels },
    { name: "stream_quarantined_total", value: entry.account.quarantinedCount, labels },
    ...damageSamples(entry, labels),
    { name: "stream_disk_short", value: entry.facts.isDiskShort === true ? 1 : 0, labels },
    { name: "stream_state", value: 1, labels: { ...labels, state: stateOf(entry) } },
    ...ledgerSamples(entry, labels),
  ];
}

/** What cannot be read behind the oldest message, as far as it is kept apart: alerts want to tell loss from rot. */
function damageSamples({ ledger }: StreamEntry, labels: Record<string, string>): MetricSample[] {
  const { damage } = ledger.snapshot;
  return ["corrupt", "missing", "lost"].map((reason) => {
    const own = damage.filter((loss) => describeLoss(loss).reason === reason);
    const value = own.reduce((sum, { fromSequence, toSequence }) => sum + toSequence - fromSequence, 0);
    return { name: "stream_damaged_messages", value, labels: { ...labels, reason } };
  });
}

/** The accounts of a stream add up to all that was ever appended. */
function ledgerSamples({ ledger, progress }: StreamEntry, labels: Record<string, string>): MetricSample[] {
  const { accounts } = ledger.snapshot;
  const stored = ledger.stored({ messages: progress.nextSequence, payloadBytes: progress.nextPayloadOffset });
  return [
    ...accountSamples({ ...labels, account: "stored" }, stored),
    ...ledgerAccounts.flatMap((account) => accountSamples({ ...labels, account }, accounts[account])),
  ];
}

function accountSamples(
  labels: Record<string, string>,
  { messages, payloadBytes }: MessageTotals,
): MetricSample[] {
  return [
    { name: "stream_ledger_messages", value: messages, labels },
    { name: "stream_ledger_payload_bytes", value: payloadBytes, labels },
  ];
}

function memorySamples({ workers }: Engine): MetricSample[] {
  const { usedBytes, bytesMax } = workers.memoryFigures;
  return [
    { name: "memory_streams_bytes", value: usedBytes },
    { name: "memory_streams_max_bytes", value: bytesMax },
  ];
}

function workerSamples(engine: Engine): MetricSample[] {
  return engine.workers.running.flatMap(({ workerIndex, proxy, restartCount }): MetricSample[] => {
    const worker = String(workerIndex);
    const down = { worker, direction: "down" };
    const { usedBytes, capacityBytes, stallCount, wakeUpCount } = proxy.downRingFigures;
    return [
      { name: "worker_restarts_total", value: restartCount, labels: { worker } },
      { name: "ring_used_bytes", value: usedBytes, labels: down },
      { name: "ring_capacity_bytes", value: capacityBytes, labels: down },
      { name: "ring_stalls_total", value: stallCount, labels: down },
      { name: "ring_wakeups_total", value: wakeUpCount, labels: down },
    ];
  });
}
