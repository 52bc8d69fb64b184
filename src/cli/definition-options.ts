import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { InvalidArgumentError, Option } from "commander";
import { Persistence, StrategyOnFull, type KinesisConfig } from "../core/stream-definition.ts";
import type { StreamDefinitionInput } from "../client/index.ts";
import { UsageError } from "./command-context.ts";
import { integerOption } from "./option-values.ts";

export interface DefinitionFlags {
  readonly definition?: string;
  readonly maxSize?: number;
  readonly segmentSize?: number;
  readonly ttl?: number;
  readonly strategy?: "reject" | "overwrite";
  readonly persistence?: "file" | "memory";
  readonly flushOnWrite?: boolean;
  readonly kinesis?: readonly string[];
  readonly priority?: number;
  readonly batchSize?: number;
  readonly batchInterval?: number;
}

const bytes = integerOption({ min: 1, max: Number.MAX_SAFE_INTEGER });

/** Adds the options that describe a new stream. What a value may be beyond its kind is the engine's to say. */
export function withDefinitionOptions(command: Command): Command {
  return command
    .option(
      "--definition <file>",
      "definition as JSON, with the protocol's field names; the other options win over it",
    )
    .option("--max-size <bytes>", "most bytes the stream may hold (default: 268435456)", bytes)
    .option("--segment-size <bytes>", "size of a segment (default: 16777216)", bytes)
    .option(
      "--ttl <ms>",
      "how long a message is kept",
      integerOption({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    )
    .addOption(
      new Option(
        "--strategy <word>",
        "what a full stream does with new messages: reject, or overwrite the oldest (default: reject)",
      ).choices(["reject", "overwrite"]),
    )
    .addOption(
      new Option("--persistence <word>", "where messages are kept (default: file)").choices([
        "file",
        "memory",
      ]),
    )
    .option("--flush-on-write", "acknowledge only what is on the medium")
    .option("--kinesis <stream>", "export to this Kinesis stream; may be given several times", collect)
    .option("--priority <number>", "priority of these exports, 1 first", integerOption({ min: 1, max: 10 }))
    .option(
      "--batch-size <messages>",
      "most messages of one export request",
      integerOption({ min: 1, max: 500 }),
    )
    .option(
      "--batch-interval <ms>",
      "how long an export waits for a full batch",
      integerOption({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    );
}

function collect(value: string, before: readonly string[] = []): readonly string[] {
  if (value === "") throw new InvalidArgumentError("It must name a Kinesis stream.");
  return [...before, value];
}

/**
 * Puts the definition of a new stream together. Fields that are not given are left out: their defaults are the engine's.
 * @throws {UsageError} for options that do not go together, or a definition file that cannot be read
 */
export function buildDefinition(name: string, flags: DefinitionFlags): StreamDefinitionInput {
  const base = flags.definition === undefined ? {} : readDefinition(flags.definition);
  const kinesis = kinesisExporters(flags);
  const exportDefinition =
    kinesis.length === 0
      ? base.exportDefinition
      : { ...base.exportDefinition, kinesis: [...(base.exportDefinition?.kinesis ?? []), ...kinesis] };
  return {
    strategyOnFull: StrategyOnFull.RejectNewData,
    ...base,
    name,
    ...(flags.maxSize !== undefined && { maxSize: flags.maxSize }),
    ...(flags.segmentSize !== undefined && { streamSegmentSize: flags.segmentSize }),
    ...(flags.ttl !== undefined && { timeToLiveMillis: flags.ttl }),
    ...(flags.strategy !== undefined && { strategyOnFull: strategies[flags.strategy] }),
    ...(flags.persistence !== undefined && { persistence: persistences[flags.persistence] }),
    ...(flags.flushOnWrite !== undefined && { flushOnWrite: flags.flushOnWrite }),
    ...(exportDefinition !== undefined && { exportDefinition }),
  };
}

const strategies = {
  reject: StrategyOnFull.RejectNewData,
  overwrite: StrategyOnFull.OverwriteOldestData,
} as const;
const persistences = { file: Persistence.File, memory: Persistence.Memory } as const;

function kinesisExporters({
  kinesis = [],
  priority,
  batchSize,
  batchInterval,
}: DefinitionFlags): KinesisConfig[] {
  const isUsed = [priority, batchSize, batchInterval].some((value) => value !== undefined);
  if (isUsed && kinesis.length === 0) {
    throw new UsageError("--priority, --batch-size and --batch-interval go with --kinesis");
  }
  return kinesis.map((kinesisStreamName) => ({
    identifier: `kinesis-${kinesisStreamName}`,
    kinesisStreamName,
    ...(priority !== undefined && { priority }),
    ...(batchSize !== undefined && { batchSize }),
    ...(batchInterval !== undefined && { batchIntervalMillis: batchInterval }),
  }));
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
