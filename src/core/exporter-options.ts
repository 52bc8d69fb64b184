import {
  asRecord,
  changeFields,
  type FieldChecks,
  integerWithin,
  invalidOption,
  oneOf,
  shown,
  textMatching,
  trueOrFalse,
} from "./option-fields.ts";
import {
  EXPORT_BANDWIDTH_KBIT_PER_S_MAX,
  EXPORT_IN_FLIGHT_MAX,
  EXPORTERS_PER_STREAM_MAX,
  FILE_EXPORT_ROTATE_BYTES_DEFAULT,
  FILE_EXPORT_ROTATE_BYTES_MIN,
} from "./limits.ts";
import type { BatchingExportConfig } from "./stream-definition.ts";

/** Millrace's own settings of an exporter, beside the protocol's configuration of it. */
export interface ExporterOptions {
  /** Held by command, whatever the configuration's `disabled` says; the position stays. */
  readonly paused?: boolean;
  /** Percent of what all exporters send that this one gets although better ones have data. */
  readonly minSharePercent?: number;
  /** Of request bodies, on average. */
  readonly kbitPerSecondMax?: number;
  /** Requests at the same time: above 1 the order between them is not kept. */
  readonly inFlightMax?: number;
  /** How long a message waits for a full batch; wins over the configuration's, which is a minute at least. */
  readonly batchIntervalMillis?: number;
  /** Kinesis: `random`, `fixed:<key>`, or `pointer:<JSON pointer into the message>`. */
  readonly partitionKey?: string;
}

const exporterChecks: FieldChecks<ExporterOptions> = {
  paused: trueOrFalse,
  minSharePercent: integerWithin(1, 100),
  kbitPerSecondMax: integerWithin(1, EXPORT_BANDWIDTH_KBIT_PER_S_MAX),
  inFlightMax: integerWithin(1, EXPORT_IN_FLIGHT_MAX),
  batchIntervalMillis: integerWithin(1, Number.MAX_SAFE_INTEGER),
  partitionKey: textMatching(
    /^(?:random|fixed:.{1,256}|pointer:(?:\/.{0,255})?)$/su,
    "random, fixed:<key> or pointer:<JSON pointer>",
  ),
};

export type ExporterOptionsByIdentifier = Readonly<Record<string, ExporterOptions>>;

/** What a client may say of an exporter's options: null takes one back. */
export type ExporterOptionsChange = {
  readonly [K in keyof ExporterOptions]?: Exclude<ExporterOptions[K], undefined> | null;
};

/**
 * `base` with what `changes` names, exporter by exporter; null instead of an exporter's options takes back all of them.
 * @throws {MillraceError} INVALID_REQUEST
 */
export function changeExporterOptions(
  base: ExporterOptionsByIdentifier,
  changes: unknown,
): ExporterOptionsByIdentifier {
  const next = new Map(Object.entries(base));
  for (const [identifier, change] of Object.entries(asRecord(changes, "exporter options"))) {
    const what = `options of exporter ${JSON.stringify(identifier.slice(0, 80))}`;
    const options =
      change === null
        ? {}
        : changeFields(next.get(identifier) ?? {}, change, { checks: exporterChecks, what });
    if (Object.keys(options).length === 0) next.delete(identifier);
    else next.set(identifier, options);
  }
  return Object.fromEntries(next);
}

/** An exporter that writes messages to local files. The protocol knows none, so it stands among a stream's options. */
export interface FileExportConfig extends BatchingExportConfig {
  /** Absolute, and within one of MILLRACE_EXPORT_FILE_DIRS. */
  readonly directory: string;
  /** `jsonLines`: one JSON object a message, its payload in base64; `raw`: payloads, each followed by a line feed. */
  readonly format: "jsonLines" | "raw";
  readonly gzip: boolean;
  /** A new file begins when the present one has so many bytes before compression. */
  readonly rotateBytes: number;
  /** And when its first message is so old. */
  readonly rotateMillis?: number;
}

/** What a client must say of one; the rest has defaults. */
export type FileExportInput = Pick<FileExportConfig, "identifier" | "directory"> & Partial<FileExportConfig>;

const fileChecks: FieldChecks<FileExportConfig> = {
  identifier: textMatching(
    /^[A-Za-z0-9_ ,.-]{1,255}$/,
    "1 to 255 characters of A-Z a-z 0-9 _ , . - and space",
  ),
  priority: integerWithin(1, 10),
  disabled: trueOrFalse,
  batchSize: integerWithin(1, 10_000),
  batchIntervalMillis: integerWithin(1, Number.MAX_SAFE_INTEGER),
  startSequenceNumber: integerWithin(0, Number.MAX_SAFE_INTEGER),
  directory: textMatching(/^\/[^\0]{0,4095}$/, "an absolute path"),
  format: oneOf(["jsonLines", "raw"]),
  gzip: trueOrFalse,
  rotateBytes: integerWithin(FILE_EXPORT_ROTATE_BYTES_MIN, Number.MAX_SAFE_INTEGER),
  rotateMillis: integerWithin(1000, Number.MAX_SAFE_INTEGER),
};

const fileDefaults = {
  format: "jsonLines",
  gzip: false,
  rotateBytes: FILE_EXPORT_ROTATE_BYTES_DEFAULT,
} as const;

/** Checks the whole list, and fills in what is left out. @throws {MillraceError} INVALID_REQUEST */
export function checkFileExports(value: unknown): readonly FileExportConfig[] {
  if (!Array.isArray(value)) throw invalidOption(`file exports: they are ${shown(value)}, must be a list`);
  if (value.length > EXPORTERS_PER_STREAM_MAX) {
    throw invalidOption(`file exports: they are ${value.length}, the maximum is ${EXPORTERS_PER_STREAM_MAX}`);
  }
  return value.map((one: unknown, index) => {
    const what = `file export ${index}`;
    const config = changeFields<FileExportConfig>(fileDefaults, one, { checks: fileChecks, what });
    for (const name of ["identifier", "directory", "format", "gzip", "rotateBytes"] as const) {
      if (config[name] === undefined) throw invalidOption(`${what}: ${name} is missing`);
    }
    return config as FileExportConfig;
  });
}
