import { BATCH_INTERVAL_MS_MIN, EXPORTERS_PER_STREAM_MAX } from "../core/limits.ts";
import {
  destinationKinds,
  ExportFormat,
  MAX_SIZE_DEFAULT,
  Persistence,
  StatusLevel,
  STREAM_SEGMENT_SIZE_DEFAULT,
  StrategyOnFull,
} from "../core/stream-definition.ts";
import type {
  BatchingExportConfig,
  ExportConfigBase,
  ExportDefinition,
  ExportStatus,
  HTTPConfig,
  IoTAnalyticsConfig,
  IoTSiteWiseConfig,
  KinesisConfig,
  MessageStreamInfo,
  S3ExportTaskExecutorConfig,
  StatusConfig,
  StorageStatus,
  StreamDefinition,
} from "../core/stream-definition.ts";
import type { CborReader } from "./cbor-reader.ts";
import type { CborWriter } from "./cbor-writer.ts";
import type { FieldRule, FieldRulesOf } from "./field-rules.ts";
import {
  checkRecord,
  DURATION_MS_MAX,
  INT32_MAX,
  INT64_MAX,
  invalid,
  NAME_PATTERN,
  readRecord,
  writeRecord,
} from "./field-rules.ts";

/*
 * MessageStreamDefinition and MessageStreamInfo (PROTOCOL 3.2 to 3.6). The tables keep the protocol's order of keys.
 */
const nameRule = {
  kind: "text",
  required: true,
  charactersMin: 1,
  charactersMax: 255,
  pattern: NAME_PATTERN,
} as const satisfies FieldRule;
const nonEmptyRule = { kind: "text", required: true, charactersMin: 1 } as const satisfies FieldRule;
const priorityRule = { kind: "integer", min: 1, max: 10 } as const satisfies FieldRule;
const disabledRule = { kind: "boolean", default: false } as const satisfies FieldRule;

/** The fields behind an exporter's own ones; the default of batchSize is the maximum of the kind (PROTOCOL 3.4). */
function batchingRules(batchSizeMax: number) {
  return {
    batchSize: { kind: "integer", min: 1, max: batchSizeMax, default: batchSizeMax },
    batchIntervalMillis: { kind: "integer", min: BATCH_INTERVAL_MS_MIN, max: DURATION_MS_MAX },
    priority: priorityRule,
    startSequenceNumber: { kind: "integer", min: 0, max: INT64_MAX, default: 0 },
    disabled: disabledRule,
  } as const satisfies Partial<FieldRulesOf<BatchingExportConfig>>;
}

const statusConfigRules: FieldRulesOf<StatusConfig> = {
  statusLevel: { kind: "choice", values: StatusLevel, default: StatusLevel.INFO },
  statusStreamName: { kind: "text", charactersMin: 1, charactersMax: 255, pattern: NAME_PATTERN },
};
const httpRules: FieldRulesOf<HTTPConfig> = {
  identifier: nameRule,
  uri: nonEmptyRule,
  ...batchingRules(500),
  exportFormat: { kind: "choice", values: ExportFormat, default: ExportFormat.RAW_NOT_BATCHED },
};
const iotAnalyticsRules: FieldRulesOf<IoTAnalyticsConfig> = {
  identifier: nameRule,
  iotChannel: nonEmptyRule,
  iotMsgIdPrefix: { kind: "text", charactersMax: 32 },
  ...batchingRules(100),
};
const kinesisRules: FieldRulesOf<KinesisConfig> = {
  identifier: nameRule,
  kinesisStreamName: nonEmptyRule,
  ...batchingRules(500),
};
const siteWiseRules: FieldRulesOf<IoTSiteWiseConfig> = { identifier: nameRule, ...batchingRules(10) };
const s3Rules: FieldRulesOf<S3ExportTaskExecutorConfig> = {
  identifier: nameRule,
  sizeThresholdForMultipartUploadBytes: {
    kind: "integer",
    min: 5_242_880,
    max: INT64_MAX,
    default: 5_242_880,
  },
  priority: priorityRule,
  disabled: disabledRule,
  statusConfig: { kind: "record", fields: statusConfigRules },
};
const exportDefinitionRules: FieldRulesOf<ExportDefinition> = {
  http: { kind: "list", fields: httpRules },
  iotAnalytics: { kind: "list", fields: iotAnalyticsRules },
  kinesis: { kind: "list", fields: kinesisRules },
  IotSitewise: { kind: "list", fields: siteWiseRules },
  s3TaskExecutor: { kind: "list", fields: s3Rules },
};
const definitionRules: FieldRulesOf<StreamDefinition> = {
  name: nameRule,
  // 4 GiB exactly arrives from the Java client's fat jar as 0, a defect of its CBOR library (PROTOCOL 9.3).
  maxSize: { kind: "integer", min: 1024, max: INT64_MAX, default: MAX_SIZE_DEFAULT, zeroMeans: 2 ** 32 },
  streamSegmentSize: { kind: "integer", min: 1024, max: INT32_MAX, default: STREAM_SEGMENT_SIZE_DEFAULT },
  timeToLiveMillis: { kind: "integer", min: 60_000, max: DURATION_MS_MAX },
  strategyOnFull: { kind: "choice", values: StrategyOnFull, required: true },
  persistence: { kind: "choice", values: Persistence, default: Persistence.File },
  flushOnWrite: { kind: "boolean", default: false },
  exportDefinition: { kind: "record", fields: exportDefinitionRules, default: "empty" },
};

const countRule = { kind: "integer", min: 0, max: INT64_MAX, default: 0 } as const satisfies FieldRule;
const sequenceRule = {
  kind: "integer",
  min: -1,
  max: INT64_MAX,
  required: true,
} as const satisfies FieldRule;
const storageStatusRules: FieldRulesOf<StorageStatus> = {
  oldestSequenceNumber: sequenceRule,
  newestSequenceNumber: sequenceRule,
  totalBytes: countRule,
};
const exportStatusRules: FieldRulesOf<ExportStatus> = {
  exportConfigIdentifier: nameRule,
  lastExportedSequenceNumber: sequenceRule,
  lastExportTime: countRule,
  errorMessage: { kind: "text" },
  exportedBytesFromStream: countRule,
  exportedMessagesCount: countRule,
};
const streamInfoRules: FieldRulesOf<MessageStreamInfo> = {
  definition: { kind: "record", fields: definitionRules, required: true },
  storageStatus: { kind: "record", fields: storageStatusRules, required: true },
  exportStatuses: { kind: "list", fields: exportStatusRules },
};

/** What a caller must say of a stream; the rest has defaults. */
export type StreamDefinitionInput = Pick<StreamDefinition, "name" | "strategyOnFull"> &
  Partial<Omit<StreamDefinition, "exportDefinition">> & {
    readonly exportDefinition?: Partial<ExportDefinition>;
  };

/** Checks a definition against the whole data model and fills in its defaults. @throws {MillraceError} INVALID_REQUEST */
export type DefinitionCheck = (input: unknown) => StreamDefinition;

/**
 * Checks the definition of a new stream.
 * @throws {MillraceError} INVALID_REQUEST naming field, value and limit
 */
export function checkStreamDefinition(input: unknown): StreamDefinition {
  const definition = checkRecord(input, definitionRules, "definition") as unknown as StreamDefinition;
  checkExporters(definition);
  // Clients always send the 16 MiB default, so one that lowers maxSize alone would ask for segments above it (PROTOCOL 3.2).
  const streamSegmentSize = Math.min(definition.streamSegmentSize, definition.maxSize);
  return { ...definition, streamSegmentSize };
}

/**
 * Checks the definition that a stream is to have from now on: as a new one's, but a segment size that is named must fit
 * (PROTOCOL 5). @throws {MillraceError} INVALID_REQUEST naming field, value and limit
 */
export function checkUpdatedDefinition(input: unknown): StreamDefinition {
  const definition = checkStreamDefinition(input);
  const named = (input as { readonly streamSegmentSize?: number | bigint | null }).streamSegmentSize;
  if (named !== undefined && named !== null && named > definition.maxSize) {
    throw invalid(
      `definition.streamSegmentSize is ${named}, above definition.maxSize, which is ${definition.maxSize}; a client that ` +
        `sets none sends ${STREAM_SEGMENT_SIZE_DEFAULT}`,
    );
  }
  return definition;
}

function checkExporters(definition: StreamDefinition): void {
  const identifiers = new Set<string>();
  for (const kind of destinationKinds) {
    const configs: readonly ExportConfigBase[] = definition.exportDefinition[kind];
    for (const { identifier } of configs) {
      if (identifiers.has(identifier)) {
        throw invalid(`definition.exportDefinition has the identifier "${identifier}" twice`);
      }
      identifiers.add(identifier);
    }
  }
  if (identifiers.size > EXPORTERS_PER_STREAM_MAX) {
    throw invalid(
      `definition.exportDefinition has ${identifiers.size} entries, the maximum is ${EXPORTERS_PER_STREAM_MAX}`,
    );
  }
  for (const { identifier, statusConfig } of definition.exportDefinition.s3TaskExecutor) {
    if (statusConfig?.statusStreamName === definition.name) {
      throw invalid(`the status stream of "${identifier}" is the stream itself, "${definition.name}"`);
    }
  }
}

/** Reads a map and checks it. @throws {MillraceError} MALFORMED_CBOR, INVALID_REQUEST */
export function readStreamDefinition(reader: CborReader, check: DefinitionCheck): StreamDefinition {
  return check(readRecord(reader, definitionRules, "definition"));
}

export function writeStreamDefinition(writer: CborWriter, definition: StreamDefinition): void {
  writeRecord(writer, definition, definitionRules);
}

/** @throws {MillraceError} MALFORMED_CBOR, INVALID_REQUEST */
export function readMessageStreamInfo(reader: CborReader): MessageStreamInfo {
  const info = checkRecord(
    readRecord(reader, streamInfoRules, "messageStreamInfo"),
    streamInfoRules,
    "messageStreamInfo",
  );
  return info as unknown as MessageStreamInfo;
}

export function writeMessageStreamInfo(writer: CborWriter, info: MessageStreamInfo): void {
  writeRecord(writer, info, streamInfoRules);
}
