import type { ExporterOptions, ExporterOptionsChange, FileExportInput } from "../core/exporter-options.ts";
import { BATCH_INTERVAL_MS_MIN } from "../core/limits.ts";
import {
  ExportFormat,
  StatusLevel,
  type DestinationKind,
  type ExportDefinition,
} from "../core/stream-definition.ts";
import type { StreamOptions, StreamOptionsChange } from "../core/stream-options.ts";
import { UsageError } from "./command-context.ts";
import { settingFlags, statusLevelWords, type ExporterFlags } from "./exporter-flags.ts";

/** The exporters that a stream has or is given. */
export interface PresentExporters {
  readonly exportDefinition: Partial<ExportDefinition> | undefined;
  readonly options: Pick<StreamOptions, "exporters" | "files">;
}

/** Those that it is to have: the definition's, undefined where nobody names any, and what of Millrace's own options changes. */
export interface ChangedExporters {
  readonly exportDefinition: Partial<ExportDefinition> | undefined;
  readonly options: Pick<StreamOptionsChange, "exporters" | "files">;
}

/** An exporter's configuration with the field names of its kind; the engine checks them. */
type Config = Readonly<Record<string, unknown>> & { readonly identifier: string };

interface Destination {
  readonly kind: DestinationKind;
  readonly valuesIn: (flags: ExporterFlags) => readonly (string | undefined)[];
  /** Which field of the configuration has the value; undefined for kinds that name no destination. */
  readonly field: string | undefined;
  readonly identifierOf: (value: string) => string;
}

const once = (isNamed: boolean | undefined): readonly undefined[] => (isNamed === true ? [undefined] : []);

const destinations: readonly Destination[] = [
  {
    kind: "kinesis",
    valuesIn: ({ kinesis = [] }) => kinesis,
    field: "kinesisStreamName",
    identifierOf: (stream) => `kinesis-${stream}`,
  },
  {
    kind: "http",
    valuesIn: ({ http = [] }) => http,
    field: "uri",
    identifierOf: (uri) => `http-${addressOf(uri)}`,
  },
  {
    kind: "iotAnalytics",
    valuesIn: ({ iotAnalytics = [] }) => iotAnalytics,
    field: "iotChannel",
    identifierOf: (channel) => `iot-analytics-${channel}`,
  },
  {
    kind: "IotSitewise",
    valuesIn: ({ sitewise }) => once(sitewise),
    field: undefined,
    identifierOf: () => "sitewise",
  },
  {
    kind: "s3TaskExecutor",
    valuesIn: ({ s3 }) => once(s3),
    field: undefined,
    identifierOf: () => "s3",
  },
  {
    kind: "file",
    valuesIn: ({ toFiles = [] }) => toFiles,
    field: "directory",
    identifierOf: (directory) => `files-${directory.replace(/^\/+|\/+$/g, "")}`,
  },
];

const destinationWords = "--kinesis, --http, --iot-analytics, --sitewise, --s3, --to-files or --exporter";
const IDENTIFIER_CHARACTERS_MAX = 255;

/** Host and path: what stands around them may hold a secret, and identifiers are shown everywhere. */
function addressOf(uri: string): string {
  if (!URL.canParse(uri)) return uri;
  const { host, pathname } = new URL(uri);
  return `${host}${pathname}`.replace(/\/+$/, "");
}

/**
 * What the flags make of a stream's exporters.
 * @throws {UsageError} for options that do not go together, and for exporters that are not there or cannot be told apart
 */
export function changeExporters(present: PresentExporters, flags: ExporterFlags): ChangedExporters {
  const set = new ExporterSet(present);
  const removed = new Set(flags.removeExporter);
  for (const identifier of removed) set.remove(identifier);
  if (flags.exporter !== undefined) refuseRemoved(removed, flags.exporter);
  const named = namedSettings(flags);
  const wished = destinations.flatMap((row) => row.valuesIn(flags).map((value) => ({ row, value })));
  if (flags.exporter !== undefined && wished.length > 1) {
    throw new UsageError(
      `--exporter names one exporter, and ${wished.length} destinations are given with it`,
    );
  }
  const targets =
    wished.length === 0 && flags.exporter !== undefined
      ? [set.existing(flags.exporter)]
      : wished.map(({ row, value }) => set.target(row, value, flags.exporter));
  if (targets.length === 0 && named.length > 0) {
    throw new UsageError(`${named[0]!.option} needs to know of which exporter: ${destinationWords}`);
  }
  for (const { kind, config } of targets) {
    refuseRemoved(removed, config.identifier);
    const stranger = named.find(({ kinds }) => !(kinds as readonly string[]).includes(kind));
    if (stranger !== undefined)
      throw new UsageError(`${stranger.option} does not go with exporter "${config.identifier}"`);
    set.put(kind, { ...config, ...configFields(kind, config, flags) });
    set.choose(config.identifier, optionChanges(kind, set.optionsOf(config.identifier), flags));
  }
  return set.result();
}

/** One that is taken out and put back in one change would keep its position, which whoever removes it wants to be forgotten. */
function refuseRemoved(removed: ReadonlySet<string>, identifier: string): void {
  if (removed.has(identifier))
    throw new UsageError(`exporter "${identifier}" cannot be removed and given by one command`);
}

function namedSettings(flags: ExporterFlags) {
  return settingFlags.filter(({ flag }) => flags[flag] !== undefined);
}

/** The fields of a configuration that the flags set; undefined takes one out. */
function configFields(
  kind: DestinationKind,
  config: Config,
  flags: ExporterFlags,
): Readonly<Record<string, unknown>> {
  const fields = new Map<string, unknown>();
  const set = (field: string, value: unknown): void => {
    if (value !== undefined) fields.set(field, value);
  };
  const setOrNone = (field: string, value: number | "none" | undefined): void => {
    if (value !== undefined) fields.set(field, value === "none" ? undefined : value);
  };
  set("priority", flags.priority);
  set("disabled", flags.disabled);
  set("batchSize", flags.batchSize);
  set("startSequenceNumber", flags.startSequence);
  if (isOfDefinition(kind, flags.batchInterval)) setOrNone("batchIntervalMillis", flags.batchInterval);
  set("exportFormat", flags.httpFormat && httpFormats[flags.httpFormat]);
  set("iotMsgIdPrefix", flags.messageIdPrefix);
  set("sizeThresholdForMultipartUploadBytes", flags.multipartThreshold);
  set("format", flags.fileFormat);
  set("gzip", flags.gzip);
  set("rotateBytes", flags.rotateBytes);
  setOrNone("rotateMillis", flags.rotateMs);
  const { statusStream, statusLevel } = flags;
  if (statusStream !== undefined || statusLevel !== undefined) {
    const present = config["statusConfig"] as object | undefined;
    set("statusConfig", {
      ...present,
      ...(statusStream !== undefined && { statusStreamName: statusStream }),
      ...(statusLevel !== undefined && { statusLevel: statusLevels[statusLevelWords.indexOf(statusLevel)] }),
    });
  }
  return Object.fromEntries(fields);
}

const httpFormats = { json: ExportFormat.JSON_BATCHED, raw: ExportFormat.RAW_NOT_BATCHED } as const;
const statusLevels = [
  StatusLevel.ERROR,
  StatusLevel.WARN,
  StatusLevel.INFO,
  StatusLevel.DEBUG,
  StatusLevel.TRACE,
] as const;

/** Whether the exporter's configuration takes the interval: the protocol's only from its minimum on. */
function isOfDefinition(kind: DestinationKind, interval: number | "none" | undefined): boolean {
  return kind === "file" || interval === "none" || (interval ?? 0) >= BATCH_INTERVAL_MS_MIN;
}

function optionChanges(
  kind: DestinationKind,
  present: ExporterOptions,
  { minShare, maxKbit, inFlight, partitionKey, batchInterval }: ExporterFlags,
): ExporterOptionsChange {
  const ownInterval =
    batchInterval === undefined || kind === "file"
      ? undefined
      : isOfDefinition(kind, batchInterval)
        ? // It would win over what is asked for now.
          present.batchIntervalMillis === undefined
          ? undefined
          : null
        : (batchInterval as number);
  return {
    ...(minShare !== undefined && { minSharePercent: orNull(minShare) }),
    ...(maxKbit !== undefined && { kbitPerSecondMax: orNull(maxKbit) }),
    ...(inFlight !== undefined && { inFlightMax: orNull(inFlight) }),
    ...(partitionKey !== undefined && { partitionKey }),
    ...(ownInterval !== undefined && { batchIntervalMillis: ownInterval }),
  };
}

function orNull(value: number | "none"): number | null {
  return value === "none" ? null : value;
}

/** A stream's exporters of all kinds while they are changed. */
class ExporterSet {
  readonly #present: PresentExporters;
  readonly #configs = new Map<DestinationKind, Config[]>();
  readonly #touched = new Set<DestinationKind>();
  readonly #options: Record<string, ExporterOptionsChange> = {};

  constructor(present: PresentExporters) {
    this.#present = present;
    for (const [kind, configs] of Object.entries(present.exportDefinition ?? {}))
      this.#configs.set(kind as DestinationKind, configs.map(asConfig));
    this.#configs.set("file", (present.options.files ?? []).map(asConfig));
  }

  optionsOf(identifier: string): ExporterOptions {
    return this.#present.options.exporters?.[identifier] ?? {};
  }

  existing(identifier: string): { readonly kind: DestinationKind; readonly config: Config } {
    const found = this.#find(identifier);
    if (found === undefined) throw new UsageError(`the stream has no exporter "${identifier}"`);
    return found;
  }

  /** The exporter that a destination flag is about: one that is there, or a new one. */
  target(
    row: Destination,
    value: string | undefined,
    identifier: string | undefined,
  ): { readonly kind: DestinationKind; readonly config: Config } {
    const { kind, field } = row;
    const destination = field === undefined ? {} : { [field]: value };
    if (identifier !== undefined) {
      const found = this.#find(identifier);
      if (found !== undefined && found.kind !== kind)
        throw new UsageError(`exporter "${identifier}" is of another kind: ${found.kind}`);
      return { kind, config: { ...found?.config, identifier, ...destination } };
    }
    const ofKind = this.#configs.get(kind) ?? [];
    const matching = field === undefined ? ofKind : ofKind.filter((config) => config[field] === value);
    if (matching.length > 1) {
      const names = matching.map((config) => `"${config.identifier}"`).join(", ");
      throw new UsageError(`--exporter must say which one is meant: ${names}`);
    }
    const [only] = matching;
    if (only !== undefined) return { kind, config: only };
    const name = row
      .identifierOf(value ?? "")
      .replace(/[^\w ,.-]/g, "-")
      .slice(0, IDENTIFIER_CHARACTERS_MAX);
    if (this.#find(name) !== undefined)
      throw new UsageError(`the new exporter would be "${name}", which there is: name it with --exporter`);
    return { kind, config: { identifier: name, ...destination } };
  }

  put(kind: DestinationKind, config: Config): void {
    const configs = this.#configs.get(kind) ?? [];
    const at = configs.findIndex(({ identifier }) => identifier === config.identifier);
    const known = Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined));
    const next = { ...known, identifier: config.identifier };
    this.#configs.set(kind, at < 0 ? [...configs, next] : configs.with(at, next));
    this.#touched.add(kind);
  }

  choose(identifier: string, change: ExporterOptionsChange): void {
    if (Object.keys(change).length > 0) this.#options[identifier] = change;
  }

  remove(identifier: string): void {
    const { kind } = this.existing(identifier);
    const left = this.#configs.get(kind)!.filter((config) => config.identifier !== identifier);
    this.#configs.set(kind, left);
    this.#touched.add(kind);
  }

  result(): ChangedExporters {
    const changed = [...this.#configs].filter(([kind]) => kind !== "file" && this.#touched.has(kind));
    const { exportDefinition } = this.#present;
    const files = this.#configs.get("file") as unknown as readonly FileExportInput[];
    return {
      exportDefinition:
        changed.length === 0
          ? exportDefinition
          : { ...exportDefinition, ...(Object.fromEntries(changed) as Partial<ExportDefinition>) },
      options: {
        ...(Object.keys(this.#options).length > 0 && { exporters: this.#options }),
        ...(this.#touched.has("file") && { files }),
      },
    };
  }

  #find(identifier: string): { readonly kind: DestinationKind; readonly config: Config } | undefined {
    for (const [kind, configs] of this.#configs) {
      const config = configs.find((one) => one.identifier === identifier);
      if (config !== undefined) return { kind, config };
    }
    return undefined;
  }
}

function asConfig(config: object): Config {
  return config as Config;
}
