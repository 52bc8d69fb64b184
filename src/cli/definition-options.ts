import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { InvalidArgumentError, Option } from "commander";
import {
  Persistence,
  StrategyOnFull,
  type ExportDefinition,
  type KinesisConfig,
  type StreamDefinition,
} from "../core/stream-definition.ts";
import type { StreamOptions } from "../core/stream-options.ts";
import type { StreamDefinitionInput } from "../client/index.ts";
import { UsageError } from "./command-context.ts";
import { integerOption } from "./option-values.ts";

export interface DefinitionFlags {
  readonly definition?: string;
  readonly maxSize?: number;
  readonly segmentSize?: number;
  readonly ttl?: number | "none";
  readonly strategy?: "reject" | "overwrite";
  readonly persistence?: "file" | "memory";
  readonly flushOnWrite?: boolean;
  readonly freeExported?: boolean;
  readonly kinesis?: readonly string[];
  readonly priority?: number;
  readonly batchSize?: number;
  readonly batchInterval?: number;
  readonly startSequence?: number;
  readonly disabled?: boolean;
}

/** What `update` takes besides. */
export interface ChangeFlags extends DefinitionFlags {
  readonly removeExporter?: readonly string[];
}

const count = integerOption({ min: 1, max: Number.MAX_SAFE_INTEGER });

/** Adds the options that describe a new stream. What a value may be beyond its kind is the engine's to say. */
export function withDefinitionOptions(command: Command): Command {
  return withFieldOptions(command, (value) => ` (default: ${value})`);
}

function withFieldOptions(command: Command, byDefault: (value: string) => string): Command {
  return withExporterOptions(
    command
      .option(
        "--definition <file>",
        "definition as JSON, with the protocol's field names; the other options win over it",
      )
      .option("--max-size <bytes>", `most bytes the stream may hold${byDefault("268435456")}`, count)
      .option("--segment-size <bytes>", `size of a segment${byDefault("16777216")}`, count)
      .option("--ttl <ms>", `how long a message is kept, or none${byDefault("none")}`, timeToLive)
      .addOption(
        new Option(
          "--strategy <word>",
          `what a full stream does with new messages: reject, or overwrite the oldest${byDefault("reject")}`,
        ).choices(["reject", "overwrite"]),
      )
      .addOption(
        new Option("--persistence <word>", `where messages are kept${byDefault("file")}`).choices([
          "file",
          "memory",
        ]),
      )
      .option("--flush-on-write", "acknowledge only what is on the medium")
      .option(
        "--free-exported",
        "delete what every enabled exporter has passed, so that a full stream drains",
      ),
  );
}

/** Adds the options that change a stream: those that describe one, and how to take back what they say. */
export function withChangeOptions(command: Command): Command {
  return withFieldOptions(command, () => "")
    .option("--no-flush-on-write", "acknowledge what is in the kernel")
    .option("--no-free-exported", "keep what was exported until it is overwritten or expires")
    .option("--no-disabled", "let these exports go on")
    .option(
      "--remove-exporter <identifier>",
      "end this export and forget its position; may be given several times",
      collect,
    );
}

function withExporterOptions(command: Command): Command {
  return command
    .option("--kinesis <stream>", "export to this Kinesis stream; may be given several times", collect)
    .option("--priority <number>", "priority of these exports, 1 first", integerOption({ min: 1, max: 10 }))
    .option(
      "--batch-size <messages>",
      "most messages of one export request",
      integerOption({ min: 1, max: 500 }),
    )
    .option("--batch-interval <ms>", "how long an export waits for a full batch", count)
    .option(
      "--start-sequence <number>",
      "the first message to be exported",
      integerOption({ min: 0, max: Number.MAX_SAFE_INTEGER }),
    )
    .option("--disabled", "let these exports pause");
}

function collect(value: string, before: readonly string[] = []): readonly string[] {
  if (value === "") throw new InvalidArgumentError("It must not be empty.");
  return [...before, value];
}

function timeToLive(text: string): number | "none" {
  return text === "none" ? text : count(text);
}

/**
 * Puts the definition of a new stream together. Fields that are not given are left out: their defaults are the engine's.
 * @throws {UsageError} for options that do not go together, or a definition file that cannot be read
 */
export function buildDefinition(name: string, flags: DefinitionFlags): StreamDefinitionInput {
  return withFlags(name, { strategyOnFull: StrategyOnFull.RejectNewData }, flags);
}

/** `present` with what the flags change. @throws {UsageError} as `buildDefinition`, and when there is nothing to change */
export function changeDefinition(present: StreamDefinition, flags: ChangeFlags): StreamDefinitionInput {
  return withFlags(present.name, present, flags);
}

/** The options of ours that the flags name; undefined if they name none. */
export function namedOptions({ freeExported }: DefinitionFlags): Partial<StreamOptions> | undefined {
  return freeExported === undefined ? undefined : { freeExported };
}

type Base = Omit<StreamDefinitionInput, "name">;

function withFlags(name: string, present: Base, flags: ChangeFlags): StreamDefinitionInput {
  const file = flags.definition === undefined ? {} : readDefinition(flags.definition);
  const { timeToLiveMillis, ...base }: Base = { ...present, ...file };
  const ttl = flags.ttl ?? timeToLiveMillis ?? "none";
  const exportDefinition = changeExporters(base.exportDefinition, flags);
  const maxSize = flags.maxSize ?? base.maxSize;
  const streamSegmentSize =
    flags.segmentSize ?? file.streamSegmentSize ?? segmentSizeWithin(present.streamSegmentSize, maxSize);
  return {
    ...base,
    name,
    ...(maxSize !== undefined && { maxSize }),
    ...(streamSegmentSize !== undefined && { streamSegmentSize }),
    ...(ttl !== "none" && { timeToLiveMillis: ttl }),
    ...(flags.strategy !== undefined && { strategyOnFull: strategies[flags.strategy] }),
    ...(flags.persistence !== undefined && { persistence: persistences[flags.persistence] }),
    ...(flags.flushOnWrite !== undefined && { flushOnWrite: flags.flushOnWrite }),
    ...(exportDefinition !== undefined && { exportDefinition }),
  };
}

/** What nobody names follows: a segment size above maxSize would be refused, for a size that was not asked for. */
function segmentSizeWithin(present: number | undefined, maxSize: number | undefined): number | undefined {
  return present === undefined || maxSize === undefined ? present : Math.min(present, maxSize);
}

const strategies = {
  reject: StrategyOnFull.RejectNewData,
  overwrite: StrategyOnFull.OverwriteOldestData,
} as const;
const persistences = { file: Persistence.File, memory: Persistence.Memory } as const;

type Exporters = Partial<ExportDefinition>;

function changeExporters(present: Exporters | undefined, flags: ChangeFlags): Exporters | undefined {
  const { kinesis = [], removeExporter = [] } = flags;
  const fields = exporterFields(flags);
  if (Object.keys(fields).length > 0 && kinesis.length === 0) {
    throw new UsageError(
      "--priority, --batch-size, --batch-interval, --start-sequence and --disabled go with --kinesis",
    );
  }
  const kept = removeExporters(present, removeExporter);
  if (kinesis.length === 0) return kept;
  const configs: KinesisConfig[] = [...(kept?.kinesis ?? [])];
  for (const kinesisStreamName of kinesis) {
    const at = configs.findIndex((config) => config.kinesisStreamName === kinesisStreamName);
    if (at >= 0) configs[at] = { ...configs[at]!, ...fields };
    else configs.push({ identifier: `kinesis-${kinesisStreamName}`, kinesisStreamName, ...fields });
  }
  return { ...kept, kinesis: configs };
}

function exporterFields(flags: DefinitionFlags): Partial<KinesisConfig> {
  const { priority, batchSize, batchInterval, startSequence, disabled } = flags;
  return {
    ...(priority !== undefined && { priority }),
    ...(batchSize !== undefined && { batchSize }),
    ...(batchInterval !== undefined && { batchIntervalMillis: batchInterval }),
    ...(startSequence !== undefined && { startSequenceNumber: startSequence }),
    ...(disabled !== undefined && { disabled }),
  };
}

function removeExporters(
  present: Exporters | undefined,
  identifiers: readonly string[],
): Exporters | undefined {
  if (identifiers.length === 0) return present;
  const missing = new Set(identifiers);
  const kept = Object.entries(present ?? {}).map(([kind, configs]) => {
    const left = configs.filter(({ identifier }) => !identifiers.includes(identifier));
    for (const { identifier } of configs) missing.delete(identifier);
    return [kind, left] as const;
  });
  for (const identifier of missing) throw new UsageError(`the stream has no exporter "${identifier}"`);
  return Object.fromEntries(kept);
}

/** The engine checks the fields; here it only has to be an object. */
function readDefinition(file: string): Partial<StreamDefinitionInput> {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw new UsageError(`--definition ${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UsageError(`--definition ${file}: not a JSON object`);
  }
  return value;
}
