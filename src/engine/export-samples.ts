import type { ExportManager } from "../export/export-manager.ts";
import type { MetricSample } from "../observe/counters.ts";
import type { EngineContext } from "./engine-context.ts";
import { type ExporterOutlook, streamOutlook } from "./export-outlook.ts";
import type { StreamEntry } from "./stream-entry.ts";

/** How streams fill and their exporters stand; every exporter's account. */
export function exportSamples(engine: EngineContext, exports: ExportManager): MetricSample[] {
  const states = exports.allStates();
  return [...engine.catalog.entries].flatMap((entry) => {
    const ledgers = entry.isExported ? exports.ledgers(entry.streamId) : [];
    const facts = { ledgers, states: states.get(entry.streamId) ?? [] };
    const { appended, fullInMs, exporters } = streamOutlook(engine, entry, facts);
    const labels = { stream: entry.definition.name };
    return [
      { name: "stream_append_messages_per_second", value: appended.messagesPerSecond, labels },
      { name: "stream_append_bytes_per_second", value: appended.bytesPerSecond, labels },
      { name: "stream_full_in_seconds", value: secondsUntil(fullInMs), labels },
      ...exporters.flatMap((exporter) => exporterSamples(entry, exporter)),
    ] satisfies MetricSample[];
  });
}

function exporterSamples({ definition: { name } }: StreamEntry, exporter: ExporterOutlook): MetricSample[] {
  const labels = { stream: name, exporter: exporter.ledger.identifier };
  return [
    ...accountSamples(exporter, labels),
    ...stateSamples(exporter, labels),
    { name: "export_loss_in_seconds", value: secondsUntil(exporter.lossInMs), labels },
    { name: "export_drained_in_seconds", value: secondsUntil(exporter.drainedInMs), labels },
  ];
}

function accountSamples(
  { ledger }: ExporterOutlook,
  labels: Readonly<Record<string, string>>,
): MetricSample[] {
  const accounts = { ...ledger.accounts, rewound: ledger.rewound };
  return [
    ...Object.entries(accounts).flatMap(([account, { messages, payloadBytes }]): MetricSample[] => [
      { name: "export_messages_total", value: messages, labels: { ...labels, account } },
      { name: "export_bytes_total", value: payloadBytes, labels: { ...labels, account } },
    ]),
    { name: "export_pending_messages", value: ledger.pending.messages, labels },
    { name: "export_pending_bytes", value: ledger.pending.payloadBytes, labels },
    { name: "export_ahead_of_log_messages", value: ledger.aheadOfLogMessages, labels },
    { name: "export_durable_sequence", value: ledger.durablePosition - 1, labels },
  ];
}

/** What is not known, or has not happened, has no sample. */
function stateSamples(
  { ledger, state, oldestPendingAgeMs }: ExporterOutlook,
  labels: Readonly<Record<string, string>>,
): MetricSample[] {
  const { lastSuccessTimeMs, lastError, nextTryTimeMs } = state;
  // Without a backlog nothing waits, which an alert wants to see as 0.
  const ageMs = ledger.pending.messages === 0 ? 0 : oldestPendingAgeMs;
  const times = [
    ["export_oldest_pending_age_seconds", ageMs],
    ["export_last_success_timestamp_seconds", lastSuccessTimeMs],
    ["export_last_error_timestamp_seconds", lastError?.timeMs],
    ["export_next_try_timestamp_seconds", nextTryTimeMs],
  ] as const;
  return [
    { name: "export_state", value: 1, labels: { ...labels, state: state.state } },
    { name: "export_messages_per_second", value: state.messagesPerSecond, labels },
    { name: "export_bytes_per_second", value: state.bytesPerSecond, labels },
    ...times.flatMap(([name, ms]) => (ms === undefined ? [] : [{ name, value: ms / 1000, labels }])),
  ];
}

/** Infinity for never, so that an alert on less than an hour needs no second condition. */
function secondsUntil(ms: number | undefined): number {
  return ms === undefined ? Infinity : ms / 1000;
}
