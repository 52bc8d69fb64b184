import type { ExporterDescription, MessageRate, StreamDescription } from "../core/stream-description.ts";
import type { MessageTotals } from "../core/stream-ledger.ts";
import { countOf, formatBytes, formatSpan, formatTable, formatTime, wrapText } from "./table.ts";

const COLUMNS = 100;

/** One exporter as `exports status --json` prints it: null is never, or unknown. */
export interface ExporterStatus {
  readonly stream: string;
  readonly exporter: string;
  readonly kind: string;
  readonly state: string;
  /** 1 goes first; null is last. */
  readonly priority: number | null;
  /** The next message that it settles. */
  readonly position: number;
  readonly pending: MessageTotals;
  readonly oldestPendingAgeMs: number | null;
  readonly exportRate: MessageRate;
  readonly appendRate: MessageRate;
  readonly lastSuccessTimeMs: number | null;
  /** Of the last attempt; empty when it succeeded. */
  readonly errorMessage: string;
  readonly lastError: ExporterDescription["lastError"] | null;
  readonly nextTryTimeMs: number | null;
  readonly drainedInMs: number | null;
  readonly lossInMs: number | null;
  readonly streamFullInMs: number | null;
}

export function exporterStatuses(streams: readonly StreamDescription[]): ExporterStatus[] {
  return streams.flatMap(({ definition, appendRate, forecast, exporters }) =>
    exporters.map((exporter) => ({
      stream: definition.name,
      exporter: exporter.identifier,
      kind: exporter.kind,
      state: exporter.state,
      priority: exporter.priority,
      position: exporter.position,
      pending: exporter.pending,
      oldestPendingAgeMs: exporter.oldestPendingAgeMs ?? null,
      exportRate: exporter.exportRate,
      appendRate,
      lastSuccessTimeMs: exporter.lastSuccessTimeMs ?? null,
      errorMessage: exporter.errorMessage,
      lastError: exporter.lastError ?? null,
      nextTryTimeMs: exporter.nextTryTimeMs ?? null,
      drainedInMs: exporter.forecast.drainedInMs,
      lossInMs: exporter.forecast.lossInMs,
      streamFullInMs: forecast.fullInMs,
    })),
  );
}

/** A table a stream. */
export function formatExports(streams: readonly StreamDescription[]): string {
  const parts = streams.filter(({ exporters }) => exporters.length > 0).map(formatStreamExports);
  if (parts.length > 0) return parts.join("\n\n");
  const [only] = streams;
  return streams.length === 1 && only !== undefined
    ? `stream ${only.definition.name} has no exporters`
    : "no stream has exporters";
}

function formatStreamExports({ definition, appendRate, forecast, exporters }: StreamDescription): string {
  const { fullInMs } = forecast;
  const full = fullInMs === null ? "" : fullInMs === 0 ? ", full" : `, full in ${formatSpan(fullInMs)}`;
  const appended = `${countOf(formatRate(appendRate.messagesPerSecond), "message")}, ${formatBytes(appendRate.bytesPerSecond)} appended a second`;
  return `${definition.name}: ${appended}${full}\n${formatExporters(exporters)}`;
}

/** What each exporter does and has before it, and below the table what it met last. */
export function formatExporters(exporters: readonly ExporterDescription[]): string {
  const rows = exporters.map((exporter) => [
    exporter.identifier,
    exporter.state,
    exporter.pending.messages,
    formatBytes(exporter.pending.payloadBytes),
    exporter.pending.messages === 0 ? "-" : formatAge(exporter.oldestPendingAgeMs),
    formatRate(exporter.exportRate.messagesPerSecond),
    formatForecast(exporter.forecast.drainedInMs),
    formatForecast(exporter.forecast.lossInMs),
  ]);
  const head = ["exporter", "state", "pending", "bytes", "oldest", "sent/s", "drained in", "loses in"];
  const table = formatTable(head, rows, { right: [2, 3, 4, 5, 6, 7] });
  return [table, ...exporters.map(formatDetails)].join("\n");
}

function formatDetails(exporter: ExporterDescription): string {
  const { identifier, kind, priority, position, errorMessage } = exporter;
  const { lastSuccessTimeMs, nextTryTimeMs, lastError, notice, fallbackMessages = 0 } = exporter;
  const facts = [
    `${kind}, priority ${priority ?? "last"}`,
    `at ${position}`,
    lastSuccessTimeMs === undefined ? "no success yet" : `last success ${formatTime(lastSuccessTimeMs)}`,
    ...(nextTryTimeMs === undefined ? [] : [`next try ${formatTime(nextTryTimeMs)}`]),
  ];
  const lines = [`${identifier}: ${facts.join(", ")}`];
  if (notice !== undefined) lines.push(notice);
  if (fallbackMessages > 0) lines.push(`${countOf(fallbackMessages, "message")} got a random partition key`);
  if (errorMessage !== "") lines.push(`failing: ${errorMessage}`);
  else if (lastError !== undefined)
    lines.push(`last error ${formatTime(lastError.timeMs)}: ${lastError.text}`);
  return lines.map((line) => wrapText(line, { columns: COLUMNS, indent: "  " })).join("\n");
}

function formatAge(ageMs: number | undefined): string {
  return ageMs === undefined ? "unknown" : formatSpan(ageMs);
}

function formatForecast(ms: number | null): string {
  return ms === null ? "never" : ms === 0 ? "now" : formatSpan(ms);
}

/** In a second. */
export function formatRate(perSecond: number): string {
  return perSecond >= 10 ? String(Math.round(perSecond)) : String(Number(perSecond.toFixed(1)));
}
