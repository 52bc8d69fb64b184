/** What `millrace/client` exports: the only barrel of the project, because this is what other programs import. */
export { MillraceError } from "../core/errors.ts";
export type { ErrorCode } from "../core/errors.ts";
export { ExportFormat, Persistence, StatusLevel, StrategyOnFull } from "../core/stream-definition.ts";
export type {
  ExportDefinition,
  ExportStatus,
  HTTPConfig,
  IoTAnalyticsConfig,
  IoTSiteWiseConfig,
  KinesisConfig,
  Message,
  MessageStreamInfo,
  ReadMessagesOptions,
  S3ExportTaskExecutorConfig,
  StatusConfig,
  StorageStatus,
  StreamDefinition,
} from "../core/stream-definition.ts";
export type {
  ExporterDescription,
  LedgerDescription,
  LossDescription,
  PowerCutLoss,
  StorageDescription,
  StreamDescription,
  StreamStateName,
} from "../core/stream-description.ts";
export type { MessageTotals } from "../core/stream-ledger.ts";
export type {
  ExporterOptions,
  ExporterOptionsChange,
  FileExportConfig,
  FileExportInput,
} from "../core/exporter-options.ts";
export type { StreamOptions, StreamOptionsChange } from "../core/stream-options.ts";
export type { StreamDefinitionInput } from "../wire/stream-definition-codec.ts";
export { GapReason } from "../wire/messages-layout.ts";
export { MillraceClient } from "./millrace-client.ts";
export type { RedriveResult } from "../core/export-command.ts";
export type { ClientOptions } from "./client-options.ts";
export { Producer } from "./producer.ts";
export type { Compression, ProducerCounters, ProducerOptions, Rejection } from "./producer-options.ts";
export { Subscription } from "./subscription.ts";
export type { ReceivedMessage, SubscribeOptions, SubscriptionGap } from "./subscription.ts";
