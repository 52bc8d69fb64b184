import {
  destinationKinds,
  Persistence,
  StrategyOnFull,
  type ExportConfigBase,
  type ExportStatus,
  type MessageStreamInfo,
} from "../core/stream-definition.ts";
import { formatBytes, formatFields, formatTable } from "./table.ts";

/** Messages that a stream holds; the newest number of an empty stream is one less than the oldest. */
export function messageCount({ storageStatus }: MessageStreamInfo): number {
  return storageStatus.newestSequenceNumber - storageStatus.oldestSequenceNumber + 1;
}

/** One line a stream. */
export function formatStreams(infos: readonly MessageStreamInfo[]): string {
  const rows = infos.map((info) => [
    info.definition.name,
    messageCount(info),
    formatBytes(info.storageStatus.totalBytes),
    persistenceName(info),
    exportersOf(info).length,
  ]);
  return formatTable(["name", "messages", "size", "persistence", "exporters"], rows);
}

/** Definition, storage and exporters of one stream. */
export function formatStream(info: MessageStreamInfo): string {
  const { definition, storageStatus } = info;
  const isEmpty = messageCount(info) === 0;
  const { oldestSequenceNumber: oldest, newestSequenceNumber: newest } = storageStatus;
  const fields = formatFields([
    ["name", definition.name],
    ["persistence", persistenceName(info)],
    ["flush on write", definition.flushOnWrite ? "yes" : "no"],
    [
      "when full",
      definition.strategyOnFull === StrategyOnFull.RejectNewData ? "reject new" : "overwrite oldest",
    ],
    ["maximum size", formatBytes(definition.maxSize)],
    ["segment size", formatBytes(definition.streamSegmentSize)],
    [
      "time to live",
      definition.timeToLiveMillis === undefined ? "none" : `${definition.timeToLiveMillis} ms`,
    ],
    ["messages", messageCount(info)],
    ["sequence numbers", isEmpty ? `none, the next is ${oldest}` : `${oldest} to ${newest}`],
    ["size", formatBytes(storageStatus.totalBytes)],
  ]);
  const exporters = exportersOf(info);
  return exporters.length === 0
    ? `${fields}\nexporters         none`
    : `${fields}\n\n${formatExporters(info, exporters)}`;
}

interface Exporter {
  readonly kind: string;
  readonly config: ExportConfigBase;
}

function exportersOf({ definition }: MessageStreamInfo): Exporter[] {
  return destinationKinds.flatMap((kind) => {
    const configs: readonly ExportConfigBase[] = definition.exportDefinition[kind];
    return configs.map((config) => ({ kind, config }));
  });
}

function formatExporters({ exportStatuses }: MessageStreamInfo, exporters: readonly Exporter[]): string {
  const statuses = new Map(exportStatuses.map((status) => [status.exportConfigIdentifier, status]));
  const rows = exporters.map(({ kind, config }) => {
    const status = statuses.get(config.identifier);
    return [
      config.identifier,
      kind,
      config.disabled === true ? "disabled" : (config.priority?.toString() ?? "last"),
      ...statusCells(status),
    ];
  });
  return formatTable(
    ["exporter", "destination", "priority", "exported", "bytes", "last attempt", "error"],
    rows,
  );
}

function statusCells(status: ExportStatus | undefined): (string | number)[] {
  if (status === undefined) return [0, formatBytes(0), "never", ""];
  const { exportedMessagesCount, exportedBytesFromStream, lastExportTime, errorMessage } = status;
  const time = lastExportTime > 0 ? new Date(lastExportTime).toISOString() : "never";
  return [exportedMessagesCount, formatBytes(exportedBytesFromStream), time, errorMessage];
}

function persistenceName({ definition }: MessageStreamInfo): string {
  return definition.persistence === Persistence.File ? "File" : "Memory";
}
