import { Persistence, StrategyOnFull } from "../core/stream-definition.ts";
import type { StorageDescription, StreamDescription } from "../core/stream-description.ts";
import { formatAccounts, formatLosses } from "./account-report.ts";
import { formatExporters, formatRate } from "./exports-report.ts";
import {
  countOf,
  formatBytes,
  formatDuration,
  formatFields,
  formatSpan,
  formatTable,
  formatTime,
} from "./table.ts";

/** One line a stream. */
export function formatStreams(streams: readonly StreamDescription[]): string {
  const rows = streams.map((stream) => [
    stream.definition.name,
    stream.ledger.stored.messages,
    formatBytes(stream.storage.totalBytes),
    persistenceName(stream),
    stream.exporters.length,
    stream.state,
  ]);
  return formatTable(["name", "messages", "size", "persistence", "exporters", "state"], rows);
}

/** Definition, storage, account and exporters of one stream. */
export function formatStream(stream: StreamDescription): string {
  const parts = [formatFields(fieldsOf(stream)), formatAccounts(stream)];
  const losses = formatLosses(stream);
  if (losses !== "") parts.push(losses);
  if (stream.exporters.length > 0) parts.push(formatExporters(stream.exporters));
  return parts.join("\n\n");
}

function fieldsOf(stream: StreamDescription): [string, string | number][] {
  const { definition, options, storage, setAside, lastUncleanEnd } = stream;
  const { oldestSequence, nextSequence, syncedEndSequence } = storage;
  const isEmpty = oldestSequence === nextSequence;
  const fields: [string, string | number][] = [
    ["name", definition.name],
    ["state", stateText(stream)],
    ["persistence", persistenceName(stream)],
    ["flush on write", definition.flushOnWrite ? "yes" : "no"],
    [
      "when full",
      definition.strategyOnFull === StrategyOnFull.RejectNewData ? "reject new" : "overwrite oldest",
    ],
    ["maximum size", formatBytes(definition.maxSize)],
    ["segment size", formatBytes(definition.streamSegmentSize)],
    [
      "time to live",
      definition.timeToLiveMillis === undefined ? "none" : formatDuration(definition.timeToLiveMillis),
    ],
    ["free exported", options.freeExported ? "yes" : "no"],
    [
      "sequence numbers",
      isEmpty ? `none, the next is ${nextSequence}` : `${oldestSequence} to ${nextSequence - 1}`,
    ],
    ["size", `${formatBytes(storage.totalBytes)}, stored in ${formatBytes(storage.storedBytes)}`],
    ["written", writtenText(storage)],
    ["a power cut takes", powerCutText(stream)],
    ["appended of late", appendedText(stream)],
  ];
  if (syncedEndSequence < nextSequence)
    fields.push([
      "not synced",
      `${countOf(nextSequence - syncedEndSequence, "message")}, ${formatBytes(storage.unsyncedBytes)}`,
    ]);
  if (setAside !== undefined) fields.push(["set aside in", setAside.stream]);
  if (options.companionOf !== undefined) fields.push(["set aside from", options.companionOf]);
  const { rewriteFaults } = storage;
  if (rewriteFaults !== undefined)
    fields.push(["failed rewrites", `${rewriteFaults.count}, the last: ${rewriteFaults.last}`]);
  if (storage.atRisk !== undefined) fields.push(["at risk", atRiskText(storage.atRisk)]);
  if (lastUncleanEnd !== undefined) {
    const { sequence, timeMs } = lastUncleanEnd;
    fields.push(["last unclean end", `at ${sequence}, found ${formatTime(timeMs)}`]);
  }
  return fields;
}

function stateText({ state, lastFault }: StreamDescription): string {
  if (lastFault === undefined) return state;
  return state === "ok" ? `ok (the last fault was: ${lastFault})` : `${state}: ${lastFault}`;
}

function appendedText({ appendRate, forecast: { fullInMs } }: StreamDescription): string {
  const { messagesPerSecond, bytesPerSecond } = appendRate;
  const rate = `${countOf(formatRate(messagesPerSecond), "message")} and ${formatBytes(bytesPerSecond)} a second`;
  if (fullInMs === null) return rate;
  return `${rate}; ${fullInMs === 0 ? "full now" : `at this rate full in ${formatSpan(fullInMs)}`}`;
}

/** Since the stream was opened. */
function writtenText({ writtenBytes, rewrittenBytes }: StorageDescription): string {
  const again = rewrittenBytes === 0 ? "" : `, and ${formatBytes(rewrittenBytes)} again in full-size blocks`;
  return formatBytes(writtenBytes) + again;
}

function powerCutText({ definition, storage: { powerCutLossMax } }: StreamDescription): string {
  if (definition.persistence === Persistence.Memory) return "everything; so does any end of the engine";
  if (powerCutLossMax === undefined) return "nothing";
  const { syncIntervalMs, syncBytes } = powerCutLossMax;
  return `at most the newest ${formatDuration(syncIntervalMs)} or ${formatBytes(syncBytes)}, and what comes while a sync runs`;
}

function atRiskText({ fromSequence, toSequence }: NonNullable<StorageDescription["atRisk"]>): string {
  return `${fromSequence} to ${toSequence - 1}, which only memory holds`;
}

function persistenceName({ definition }: StreamDescription): string {
  return definition.persistence === Persistence.File ? "File" : "Memory";
}
