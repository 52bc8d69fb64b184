import { type Command, InvalidArgumentError, Option } from "commander";
import type { DestinationKind } from "../core/stream-definition.ts";
import { integerOption } from "./option-values.ts";

/** What the options of `streams create` and `streams update` say of exporters. */
export interface ExporterFlags {
  readonly kinesis?: readonly string[];
  readonly http?: readonly string[];
  readonly iotAnalytics?: readonly string[];
  readonly sitewise?: boolean;
  readonly s3?: boolean;
  readonly toFiles?: readonly string[];
  readonly exporter?: string;
  readonly priority?: number;
  readonly batchSize?: number;
  readonly batchInterval?: number | "none";
  readonly startSequence?: number;
  readonly disabled?: boolean;
  readonly minShare?: number | "none";
  readonly maxKbit?: number | "none";
  readonly inFlight?: number | "none";
  readonly partitionKey?: string;
  readonly httpFormat?: "json" | "raw";
  readonly messageIdPrefix?: string;
  readonly multipartThreshold?: number;
  readonly statusStream?: string;
  readonly statusLevel?: StatusLevelWord;
  readonly fileFormat?: "jsonLines" | "raw";
  readonly gzip?: boolean;
  readonly rotateBytes?: number;
  readonly rotateMs?: number | "none";
  /** Of `update` only. */
  readonly removeExporter?: readonly string[];
}

export const statusLevelWords = ["error", "warn", "info", "debug", "trace"] as const;
export type StatusLevelWord = (typeof statusLevelWords)[number];

const requestKinds = ["kinesis", "http", "iotAnalytics", "IotSitewise"] as const;
const batchingKinds = [...requestKinds, "file"] as const;
const everyKind = [...batchingKinds, "s3TaskExecutor"] as const;

/** The options that say how an exporter sends, and which kinds take them. */
export const settingFlags = [
  { flag: "priority", option: "--priority", kinds: everyKind },
  { flag: "disabled", option: "--disabled", kinds: everyKind },
  { flag: "minShare", option: "--min-share", kinds: everyKind },
  { flag: "maxKbit", option: "--max-kbit", kinds: everyKind },
  { flag: "inFlight", option: "--in-flight", kinds: requestKinds },
  { flag: "batchSize", option: "--batch-size", kinds: batchingKinds },
  { flag: "batchInterval", option: "--batch-interval", kinds: batchingKinds },
  { flag: "startSequence", option: "--start-sequence", kinds: batchingKinds },
  { flag: "partitionKey", option: "--partition-key", kinds: ["kinesis"] },
  { flag: "httpFormat", option: "--http-format", kinds: ["http"] },
  { flag: "messageIdPrefix", option: "--message-id-prefix", kinds: ["iotAnalytics"] },
  { flag: "multipartThreshold", option: "--multipart-threshold", kinds: ["s3TaskExecutor"] },
  { flag: "statusStream", option: "--status-stream", kinds: ["s3TaskExecutor"] },
  { flag: "statusLevel", option: "--status-level", kinds: ["s3TaskExecutor"] },
  { flag: "fileFormat", option: "--file-format", kinds: ["file"] },
  { flag: "gzip", option: "--gzip", kinds: ["file"] },
  { flag: "rotateBytes", option: "--rotate-bytes", kinds: ["file"] },
  { flag: "rotateMs", option: "--rotate-ms", kinds: ["file"] },
] as const satisfies readonly {
  readonly flag: keyof ExporterFlags;
  readonly option: string;
  readonly kinds: readonly DestinationKind[];
}[];

const count = integerOption({ min: 1, max: Number.MAX_SAFE_INTEGER });
const countOrNone = (text: string): number | "none" => (text === "none" ? text : count(text));

/** Adds the options that name exporters and say how they send. What a value may be beyond its kind is the engine's to say. */
export function withExporterOptions(command: Command): Command {
  withDestinationOptions(
    command.optionsGroup("Exporters (those that take a value may be given several times):"),
  );
  withSendingOptions(command.optionsGroup("How these exporters send:"));
  return withKindOptions(command.optionsGroup("Of one kind of exporter:")).optionsGroup("Options:");
}

function withDestinationOptions(command: Command): void {
  command
    .option("--kinesis <stream>", "export to this Kinesis stream", collect)
    .option("--http <uri>", "export to this HTTP or HTTPS address", collect)
    .option("--iot-analytics <channel>", "export to this channel of IoT Analytics", collect)
    .option("--sitewise", "export to IoT SiteWise")
    .option("--s3", "carry out the messages as tasks that upload files to S3")
    .option("--to-files <directory>", "export to files in this directory of the engine's machine", collect)
    .option(
      "--exporter <identifier>",
      "name the one new exporter so, or change the one of that identifier; by default kinesis-<stream> and so on",
      nonEmpty,
    );
}

function withSendingOptions(command: Command): void {
  command
    .option(
      "--priority <number>",
      "1 goes first; without one it goes last",
      integerOption({ min: 1, max: 10 }),
    )
    .option("--batch-size <messages>", "most messages of one request", count)
    .option(
      "--batch-interval <ms>",
      "how long a message waits for a full batch, or none; below 60000 it is an option of Millrace's own",
      countOrNone,
    )
    .option(
      "--start-sequence <number>",
      "the first message to be exported",
      integerOption({ min: 0, max: Number.MAX_SAFE_INTEGER }),
    )
    .option("--min-share <percent>", "its share while better priorities have data, or none", countOrNone)
    .option("--max-kbit <kbit/s>", "most that it sends on average, or none", countOrNone)
    .option("--in-flight <requests>", "requests at the same time, or none for the default", countOrNone)
    .option("--disabled", "send nothing, as the protocol's definition says it (see also: exports pause)");
}

function withKindOptions(command: Command): Command {
  return command
    .option(
      "--partition-key <how>",
      "Kinesis: random, fixed:<key>, or pointer:<JSON pointer into the message>",
      nonEmpty,
    )
    .addOption(
      new Option(
        "--http-format <word>",
        "HTTP: json, a batch a request, or raw, a message a request",
      ).choices(["json", "raw"]),
    )
    .option("--message-id-prefix <text>", "IoT Analytics: how message ids begin")
    .option("--multipart-threshold <bytes>", "S3: files above it go in parts", count)
    .option("--status-stream <stream>", "S3: the stream that is told what became of tasks", nonEmpty)
    .addOption(new Option("--status-level <word>", "S3: how much it is told").choices([...statusLevelWords]))
    .addOption(
      new Option(
        "--file-format <word>",
        "files: jsonLines, a JSON object a line, or raw, a payload a line",
      ).choices(["jsonLines", "raw"]),
    )
    .option("--gzip", "files: compress them")
    .option("--rotate-bytes <bytes>", "files: a new one begins at this size, before compression", count)
    .option("--rotate-ms <ms>", "files: and when the first message in it is so old, or none", countOrNone);
}

/** Adds what takes back or removes. */
export function withExporterChangeOptions(command: Command): Command {
  return command
    .optionsGroup("To take back:")
    .option("--no-disabled", "let these exports go on")
    .option("--no-gzip", "files: do not compress new ones")
    .option(
      "--remove-exporter <identifier>",
      "end this export and forget its position; may be given several times",
      collect,
    )
    .optionsGroup("Options:");
}

function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, nonEmpty(value)];
}

function nonEmpty(value: string): string {
  if (value === "") throw new InvalidArgumentError("It must not be empty.");
  return value;
}
