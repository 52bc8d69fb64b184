import { createHash } from "node:crypto";
import {
  destinationKinds,
  type BatchingExportConfig,
  type DestinationKind,
  type ExportConfigBase,
  type StreamDefinition,
} from "../core/stream-definition.ts";

/** Where an exporter sends to. A plain object: it crosses to the export workers with each task. */
export type DestinationSettings =
  | { readonly kind: "kinesis"; readonly kinesisStreamName: string }
  | { readonly kind: Exclude<DestinationKind, "kinesis"> };

/** One export configuration of a stream with every default filled in. */
export interface ExporterSettings {
  /** Made from the identifier, safe as a file name, the same after every restart. */
  readonly exporterId: string;
  readonly identifier: string;
  /** 1 goes first; PRIORITY_LAST where the configuration names none. */
  readonly priority: number;
  readonly disabled: boolean;
  readonly batchSize: number;
  readonly batchIntervalMs?: number;
  readonly startSequence: number;
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
};

const EXPORTER_ID_BYTES = 16;

/** Whether this version can send to a destination of the kind. */
export function isAvailable(kind: DestinationKind): boolean {
  return kind === "kinesis";
}

/** The exporters of a definition, in the order in which describe lists them. */
export function exporterSettingsOf(definition: StreamDefinition): ExporterSettings[] {
  return destinationKinds.flatMap((kind) =>
    definition.exportDefinition[kind].map((config) => exporterSettings(kind, config)),
  );
}

function exporterSettings(
  kind: DestinationKind,
  config: ExportConfigBase & Partial<BatchingExportConfig> & { readonly kinesisStreamName?: string },
): ExporterSettings {
  const destination: DestinationSettings =
    kind === "kinesis" ? { kind, kinesisStreamName: config.kinesisStreamName ?? "" } : { kind };
  return {
    exporterId: exporterIdOf(kind, config.identifier),
    identifier: config.identifier,
    priority: config.priority ?? PRIORITY_LAST,
    disabled: config.disabled ?? false,
    batchSize: config.batchSize ?? batchSizeDefaults[kind],
    ...(config.batchIntervalMillis === undefined ? {} : { batchIntervalMs: config.batchIntervalMillis }),
    startSequence: config.startSequenceNumber ?? 0,
    destination,
    // The SDK takes one endpoint per service from its own configuration, so a kind is an endpoint.
    endpoint: kind,
  };
}

/** An identifier is chosen by a client, so it never becomes a file name itself. */
function exporterIdOf(kind: DestinationKind, identifier: string): string {
  const digest = createHash("sha256").update(`${kind}\0${identifier}`).digest();
  return digest.subarray(0, EXPORTER_ID_BYTES).toString("hex");
}
