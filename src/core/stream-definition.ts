/**
 * The data model of the stream manager (PROTOCOL 3), under its own field names, because describe gives them back as they
 * came. `wire/` decodes and checks it; everyone else may rely on a checked definition with every default filled in.
 */
export const StrategyOnFull = { RejectNewData: 0, OverwriteOldestData: 1 } as const;
export type StrategyOnFull = (typeof StrategyOnFull)[keyof typeof StrategyOnFull];

export const Persistence = { File: 0, Memory: 1 } as const;
export type Persistence = (typeof Persistence)[keyof typeof Persistence];

export const ExportFormat = { RAW_NOT_BATCHED: 0, JSON_BATCHED: 1 } as const;
export type ExportFormat = (typeof ExportFormat)[keyof typeof ExportFormat];

export const StatusLevel = { ERROR: 0, WARN: 1, INFO: 2, DEBUG: 3, TRACE: 4 } as const;
export type StatusLevel = (typeof StatusLevel)[keyof typeof StatusLevel];

/** Fields that every exporter has. Priority 1 goes first; absent is last. */
export interface ExportConfigBase {
  readonly identifier: string;
  readonly priority?: number;
  readonly disabled?: boolean;
}

export interface BatchingExportConfig extends ExportConfigBase {
  readonly batchSize?: number;
  readonly batchIntervalMillis?: number;
  readonly startSequenceNumber?: number;
}

export interface KinesisConfig extends BatchingExportConfig {
  readonly kinesisStreamName: string;
}

export interface IoTAnalyticsConfig extends BatchingExportConfig {
  readonly iotChannel: string;
  readonly iotMsgIdPrefix?: string;
}

export interface HTTPConfig extends BatchingExportConfig {
  readonly uri: string;
  readonly exportFormat?: ExportFormat;
}

export type IoTSiteWiseConfig = BatchingExportConfig;

export interface StatusConfig {
  readonly statusLevel?: StatusLevel;
  readonly statusStreamName?: string;
}

export interface S3ExportTaskExecutorConfig extends ExportConfigBase {
  readonly sizeThresholdForMultipartUploadBytes?: number;
  readonly statusConfig?: StatusConfig;
}

export interface ExportDefinition {
  readonly http: readonly HTTPConfig[];
  readonly iotAnalytics: readonly IoTAnalyticsConfig[];
  readonly kinesis: readonly KinesisConfig[];
  readonly IotSitewise: readonly IoTSiteWiseConfig[];
  readonly s3TaskExecutor: readonly S3ExportTaskExecutorConfig[];
}

/** A checked definition, defaults filled in. Sizes are bytes and may exceed 2^53 (then a float64's nearest value). */
export interface StreamDefinition {
  readonly name: string;
  readonly maxSize: number;
  readonly streamSegmentSize: number;
  readonly timeToLiveMillis?: number;
  readonly strategyOnFull: StrategyOnFull;
  readonly persistence: Persistence;
  readonly flushOnWrite: boolean;
  readonly exportDefinition: ExportDefinition;
}

export const MAX_SIZE_DEFAULT = 256 * 1024 * 1024;
export const STREAM_SEGMENT_SIZE_DEFAULT = 16 * 1024 * 1024;

export const emptyExportDefinition: ExportDefinition = {
  http: [],
  iotAnalytics: [],
  kinesis: [],
  IotSitewise: [],
  s3TaskExecutor: [],
};

/** The kinds that the protocol knows, and `file`, which stands among a stream's options. */
export type DestinationKind = keyof ExportDefinition | "file";
/** The stable order in which describe lists exporters (PROTOCOL 3.6). */
export const destinationKinds = ["http", "iotAnalytics", "kinesis", "IotSitewise", "s3TaskExecutor"] as const;

/** Describe's answer (PROTOCOL 3.6). */
export interface StorageStatus {
  readonly oldestSequenceNumber: number;
  readonly newestSequenceNumber: number;
  readonly totalBytes: number;
}

export interface ExportStatus {
  readonly exportConfigIdentifier: string;
  readonly lastExportedSequenceNumber: number;
  readonly lastExportTime: number;
  readonly errorMessage: string;
  readonly exportedBytesFromStream: number;
  readonly exportedMessagesCount: number;
}

export interface MessageStreamInfo {
  readonly definition: StreamDefinition;
  readonly storageStatus: StorageStatus;
  readonly exportStatuses: readonly ExportStatus[];
}

/** One message as ReadMessages returns it. `ingestTime` is Unix milliseconds. */
export interface Message {
  readonly streamName: string;
  readonly sequenceNumber: number;
  readonly ingestTime: number;
  readonly payload: Uint8Array;
}

export interface ReadMessagesOptions {
  readonly desiredStartSequenceNumber?: number;
  readonly minMessageCount?: number;
  readonly maxMessageCount?: number;
  readonly readTimeoutMillis?: number;
}
