import { createHash } from "node:crypto";
import type { ExportMapRule } from "../core/export-map.ts";
import type { ExporterOptions } from "../core/exporter-options.ts";
import { EXPORT_IN_FLIGHT_DEFAULT, HTTP_RAW_RECORDS_MAX } from "../core/limits.ts";
import {
  type BatchingExportConfig,
  destinationKinds,
  type DestinationKind,
  type ExportConfigBase,
  type ExportDefinition,
  ExportFormat,
  type StreamDefinition,
  StatusLevel,
} from "../core/stream-definition.ts";
import type { StreamOptions } from "../core/stream-options.ts";
import { mapAnalytics } from "./mapped-destination.ts";

/** Where an exporter sends to. A plain object: it crosses to the export workers with each task. */
export type DestinationSettings =
  | {
      readonly kind: "kinesis";
      readonly kinesisStreamName: string;
      /** As the exporter's options say it (core/exporter-options.ts). */
      readonly partitionKey: string;
    }
  | { readonly kind: "iotAnalytics"; readonly iotChannel: string; readonly iotMsgIdPrefix: string }
  | { readonly kind: "http"; readonly uri: string; readonly exportFormat: ExportFormat }
  | { readonly kind: "IotSitewise" }
  | {
      readonly kind: "s3TaskExecutor";
      readonly multipartThresholdBytes: number;
      readonly statusLevel: StatusLevel;
      /** Undefined where nobody wants to hear of the tasks. */
      readonly statusStreamName: string | undefined;
    }
  | {
      readonly kind: "file";
      readonly directory: string;
      readonly format: "jsonLines" | "raw";
      readonly gzip: boolean;
      readonly rotateBytes: number;
      readonly rotateMs: number | undefined;
    };

/** One export configuration of a stream with every default filled in. */
export interface ExporterSettings {
  /** Made from the identifier, safe as a file name, the same after every restart. */
  readonly exporterId: string;
  readonly identifier: string;
  /** 1 goes first; PRIORITY_LAST where the configuration names none. */
  readonly priority: number;
  readonly disabled: boolean;
  /** By command: see ExporterOptions. */
  readonly paused: boolean;
  readonly batchSize: number;
  readonly batchIntervalMs?: number;
  readonly startSequence: number;
  readonly minSharePercent: number;
  readonly kbitPerSecondMax: number | undefined;
  readonly inFlightMax: number;
  /** As configured; `destination` is of another where the settings map it to one. */
  readonly kind: DestinationKind;
  /** Something to be known of it that is no error. */
  readonly notice?: string;
  /** It sends what a companion stream holds of an exporter of another stream. */
  readonly isRedrive?: true;
  readonly destination: DestinationSettings;
  /** Exporters of one endpoint share its backoff. */
  readonly endpoint: string;
}

export const PRIORITY_LAST = 11;

/** Batch size when a configuration names none: the largest that the kind takes (PROTOCOL 3.4). */
const batchSizeDefaults: Record<DestinationKind, number> = {
  http: 500,
  iotAnalytics: 100,
  kinesis: 500,
  IotSitewise: 10,
  s3TaskExecutor: 1,
  file: 500,
};

const EXPORTER_ID_BYTES = 16;

/** What an exporter of a protocol kind sends to; a row a kind. */
const destinationOf: {
  readonly [K in keyof ExportDefinition]: (
    config: ExportDefinition[K][number],
    options: ExporterOptions,
  ) => DestinationSettings;
} = {
  kinesis: ({ kinesisStreamName }, { partitionKey = "random" }) => ({
    kind: "kinesis",
    kinesisStreamName,
    partitionKey,
  }),
  iotAnalytics: ({ iotChannel, iotMsgIdPrefix = "" }) => ({
    kind: "iotAnalytics",
    iotChannel,
    iotMsgIdPrefix,
  }),
  http: ({ uri, exportFormat = ExportFormat.RAW_NOT_BATCHED }) => ({ kind: "http", uri, exportFormat }),
  IotSitewise: () => ({ kind: "IotSitewise" }),
  s3TaskExecutor: ({ sizeThresholdForMultipartUploadBytes = S3_THRESHOLD_BYTES_DEFAULT, statusConfig }) => ({
    kind: "s3TaskExecutor",
    multipartThresholdBytes: sizeThresholdForMultipartUploadBytes,
    statusLevel: statusConfig?.statusLevel ?? StatusLevel.INFO,
    statusStreamName: statusConfig?.statusStreamName,
  }),
};

const S3_THRESHOLD_BYTES_DEFAULT = 5 * 1024 * 1024;

/** The exporters of a stream, in the order in which describe lists them: those of the definition, then those to files. */
export function exporterSettingsOf(
  definition: Pick<StreamDefinition, "exportDefinition">,
  { exporters: optionsOf = {}, files = [] }: Pick<StreamOptions, "exporters" | "files">,
  exportMap: readonly ExportMapRule[] = [],
): ExporterSettings[] {
  const ofKind = <K extends keyof ExportDefinition>(kind: K): ExporterSettings[] =>
    definition.exportDefinition[kind].map((config: ExportDefinition[K][number]) => {
      const options = optionsOf[config.identifier] ?? {};
      const destination = destinationOf[kind](config, options);
      const { partitionKey = "random" } = options;
      const mapped =
        destination.kind === "iotAnalytics"
          ? mapAnalytics(destination.iotChannel, { exportMap, partitionKey })
          : {};
      return exporterSettings(config, options, { kind, destination, ...mapped });
    });
  return [
    ...destinationKinds.flatMap((kind) => ofKind(kind)),
    ...files.map((config) => {
      const { directory, format, gzip, rotateBytes, rotateMillis: rotateMs } = config;
      const destination = { kind: "file", directory, format, gzip, rotateBytes, rotateMs } as const;
      return exporterSettings(config, optionsOf[config.identifier] ?? {}, { kind: "file", destination });
    }),
  ];
}

function exporterSettings(
  config: ExportConfigBase & BatchingExportConfig,
  options: ExporterOptions,
  { kind, destination, notice }: Pick<ExporterSettings, "kind" | "destination" | "notice">,
): ExporterSettings {
  const batchIntervalMs = options.batchIntervalMillis ?? config.batchIntervalMillis;
  const isLocal = destination.kind === "file";
  return {
    exporterId: exporterIdOf(kind, config.identifier),
    identifier: config.identifier,
    priority: config.priority ?? PRIORITY_LAST,
    disabled: config.disabled ?? false,
    paused: options.paused ?? false,
    batchSize: Math.min(config.batchSize ?? batchSizeDefaults[kind], batchSizeMax(destination)),
    ...(batchIntervalMs === undefined ? {} : { batchIntervalMs }),
    startSequence: config.startSequenceNumber ?? 0,
    // Of a bandwidth that files do not use.
    minSharePercent: isLocal ? 0 : (options.minSharePercent ?? 0),
    kbitPerSecondMax: isLocal ? undefined : options.kbitPerSecondMax,
    inFlightMax: oneByOneKinds.has(destination.kind) ? 1 : (options.inFlightMax ?? EXPORT_IN_FLIGHT_DEFAULT),
    kind,
    ...(notice === undefined ? {} : { notice }),
    destination,
    endpoint: endpointOf(destination),
  };
}

/** A file grows at one end, and the upload of a task is kept in one file until it has ended. */
const oneByOneKinds: ReadonlySet<DestinationKind> = new Set(["file", "s3TaskExecutor"]);

/** Messages that go one by one make no batches: beyond a turn's worth there is nothing to wait for. */
function batchSizeMax(destination: DestinationSettings): number {
  const isRaw = destination.kind === "http" && destination.exportFormat === ExportFormat.RAW_NOT_BATCHED;
  return isRaw ? HTTP_RAW_RECORDS_MAX : Infinity;
}

/** The SDKs take one endpoint per service from their own configuration; the others name theirs. */
function endpointOf(destination: DestinationSettings): string {
  switch (destination.kind) {
    case "http":
      return `http ${URL.canParse(destination.uri) ? new URL(destination.uri).origin : destination.uri}`;
    case "file":
      return `file ${destination.directory}`;
    default:
      return destination.kind;
  }
}

/** An identifier is chosen by a client, so it never becomes a file name itself. */
function exporterIdOf(kind: DestinationKind, identifier: string): string {
  const digest = createHash("sha256").update(`${kind}\0${identifier}`).digest();
  return digest.subarray(0, EXPORTER_ID_BYTES).toString("hex");
}
