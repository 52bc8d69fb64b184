import type { ExportManager } from "../export/export-manager.ts";
import type { MetricSample } from "../observe/counters.ts";
import type { Engine } from "./engine.ts";

/** What `/metrics` tells of the streams, the workers and the exporters: read at the scrape, counted anyway. */
export function engineSamples(engine: Engine, exports: ExportManager): MetricSample[] {
  return [...streamSamples(engine), ...workerSamples(engine), ...exportSamples(exports)];
}

function streamSamples(engine: Engine): MetricSample[] {
  return [...engine.catalog.entries].flatMap((entry): MetricSample[] => {
    const labels = { stream: entry.definition.name };
    const { oldestSequence, nextSequence, totalBytes, storedBytes } = entry.progress;
    return [
      { name: "stream_messages_appended_total", value: entry.appendedMessageCount, labels },
      { name: "stream_bytes_appended_total", value: entry.appendedBytes, labels },
      { name: "stream_appends_refused_total", value: entry.refusedCount, labels },
      { name: "stream_oldest_sequence", value: oldestSequence, labels },
      { name: "stream_newest_sequence", value: nextSequence - 1, labels },
      { name: "stream_accepted_bytes", value: totalBytes, labels },
      { name: "stream_stored_bytes", value: storedBytes, labels },
    ];
  });
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

function exportSamples(exports: ExportManager): MetricSample[] {
  return exports.snapshot().flatMap((ledger): MetricSample[] => {
    const labels = { stream: ledger.streamName, exporter: ledger.identifier };
    return [
      { name: "export_messages_total", value: ledger.exportedMessages, labels },
      { name: "export_bytes_total", value: ledger.exportedBytes, labels },
      { name: "export_pending_messages", value: ledger.pendingMessages, labels },
      { name: "export_set_aside_messages", value: ledger.setAsideMessages, labels },
    ];
  });
}
