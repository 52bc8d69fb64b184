import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { Option } from "commander";
import { isJsonObject } from "../core/json-object.ts";
import { Persistence, StrategyOnFull, type StreamDefinition } from "../core/stream-definition.ts";
import type { StreamOptions, StreamOptionsChange } from "../core/stream-options.ts";
import type { StreamDefinitionInput } from "../client/index.ts";
import { UsageError } from "./command-context.ts";
import { changeExporters } from "./exporter-changes.ts";
import { withExporterChangeOptions, withExporterOptions, type ExporterFlags } from "./exporter-flags.ts";
import { integerOption } from "./option-values.ts";

/** What the options of `streams create` and `streams update` say. */
export interface DefinitionFlags extends ExporterFlags {
  readonly definition?: string;
  readonly maxSize?: number;
  readonly segmentSize?: number;
  readonly ttl?: number | "none";
  readonly strategy?: "reject" | "overwrite";
  readonly persistence?: "file" | "memory";
  readonly flushOnWrite?: boolean;
  readonly freeExported?: boolean;
}

/** What a stream is to be: the protocol's definition, and those of Millrace's own options that change. */
export interface StreamWish {
  readonly definition: StreamDefinitionInput;
  /** Undefined where nobody names any. */
  readonly options: StreamOptionsChange | undefined;
}

const count = integerOption({ min: 1, max: Number.MAX_SAFE_INTEGER });

/** Adds the options that describe a new stream. What a value may be beyond its kind is the engine's to say. */
export function withDefinitionOptions(command: Command): Command {
  return withFieldOptions(command, (value) => ` (default: ${value})`);
}

function withFieldOptions(command: Command, byDefault: (value: string) => string): Command {
  return withExporterOptions(
    command
      .optionsGroup("The stream:")
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
  const withFields = withFieldOptions(command, () => "")
    .optionsGroup("To take back:")
    .option("--no-flush-on-write", "acknowledge what is in the kernel")
    .option("--no-free-exported", "keep what was exported until it is overwritten or expires");
  return withExporterChangeOptions(withFields);
}

function timeToLive(text: string): number | "none" {
  return text === "none" ? text : count(text);
}

/**
 * Puts a new stream together. Fields that are not given are left out: their defaults are the engine's.
 * @throws {UsageError} for options that do not go together, or a definition file that cannot be read
 */
export function buildStream(name: string, flags: DefinitionFlags): StreamWish {
  const present = { strategyOnFull: StrategyOnFull.RejectNewData };
  return withFlags(name, { definition: present, options: {} }, flags);
}

/** `present` with what the flags change. @throws {UsageError} as `buildStream` */
export function changeStream(
  { definition, options }: { readonly definition: StreamDefinition; readonly options: StreamOptions },
  flags: DefinitionFlags,
): StreamWish {
  return withFlags(definition.name, { definition, options }, flags);
}

type Base = Omit<StreamDefinitionInput, "name">;

function withFlags(
  name: string,
  present: { readonly definition: Base; readonly options: Partial<StreamOptions> },
  flags: DefinitionFlags,
): StreamWish {
  const file = flags.definition === undefined ? {} : readDefinition(flags.definition);
  const base: Base = { ...present.definition, ...file };
  const { freeExported } = flags;
  const exporters = changeExporters(
    { exportDefinition: base.exportDefinition, options: present.options },
    flags,
  );
  const options = { ...(freeExported !== undefined && { freeExported }), ...exporters.options };
  return {
    definition: {
      ...withFields(base, { flags, file, presentSegmentSize: present.definition.streamSegmentSize }),
      name,
      ...(exporters.exportDefinition !== undefined && { exportDefinition: exporters.exportDefinition }),
    },
    options: Object.keys(options).length === 0 ? undefined : options,
  };
}

/** The fields; the exporters stay as they are. */
function withFields(
  { timeToLiveMillis, ...base }: Base,
  given: {
    readonly flags: DefinitionFlags;
    readonly file: Partial<StreamDefinitionInput>;
    readonly presentSegmentSize: number | undefined;
  },
): Base {
  const { flags, file, presentSegmentSize } = given;
  const ttl = flags.ttl ?? timeToLiveMillis ?? "none";
  const maxSize = flags.maxSize ?? base.maxSize;
  const streamSegmentSize =
    flags.segmentSize ?? file.streamSegmentSize ?? segmentSizeWithin(presentSegmentSize, maxSize);
  return {
    ...base,
    ...(maxSize !== undefined && { maxSize }),
    ...(streamSegmentSize !== undefined && { streamSegmentSize }),
    ...(ttl !== "none" && { timeToLiveMillis: ttl }),
    ...(flags.strategy !== undefined && { strategyOnFull: strategies[flags.strategy] }),
    ...(flags.persistence !== undefined && { persistence: persistences[flags.persistence] }),
    ...(flags.flushOnWrite !== undefined && { flushOnWrite: flags.flushOnWrite }),
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

/** The engine checks the fields; here it only has to be an object. */
function readDefinition(file: string): Partial<StreamDefinitionInput> {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw new UsageError(`--definition ${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!isJsonObject(value)) {
    throw new UsageError(`--definition ${file}: not a JSON object`);
  }
  return value;
}
