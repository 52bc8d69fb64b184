// `npm run bench -- <name>`: measures, prints a table or JSON lines.
import { mkdirSync } from "node:fs";
import path from "node:path";
import type { Bench, BenchOptions, BenchRecord } from "./bench.ts";
import { BenchRefusal } from "./bench-refusal.ts";
import { BenchUsageError } from "./bench-usage-error.ts";
import { removeLeftovers } from "./clean-up.ts";
import { chooseDataSet, DATA_SET_DEFAULT, seededDataSets } from "./data-set-choice.ts";
import { defaultStoreRoot, describeEnvironment, type BenchEnvironment } from "./environment.ts";
import { writeMeasuredWindows } from "./measured-windows.ts";
import { checkOutputs, prepareStoreRoot } from "./place-checks.ts";
import { defaultResultPath, RESULT_FORMAT, writeResult, type BenchResult } from "./result-file.ts";
import { TABLE_WIDTH, TablePrinter } from "./table-printer.ts";
import type { BenchTool } from "./tool/bench-tool.ts";
import { parseToolArgs } from "./tool/tool-args.ts";

interface BenchEntry {
  readonly summary: string;
  /** Of one part, without an engine. */
  readonly isMicro?: true;
  load(): Promise<Bench>;
}

const benches: Readonly<Record<string, BenchEntry>> = {
  ingest: {
    summary: "append over WebSocket to an engine process: batches, single messages, yardsticks, memory",
    load: async () => (await import("./scenario/ingest.ts")).ingestBench,
  },
  open: {
    summary: "append at a fixed rate that waits for no answer, an exporter beside it",
    load: async () => (await import("./scenario/open.ts")).openBench,
  },
  replay: {
    summary: "read a filled stream from disk: by subscription, by the client, from several readers",
    load: async () => (await import("./scenario/replay.ts")).replayBench,
  },
  tail: {
    summary: "from append to push by subscription at a fixed rate, for 1, 8 and 64 subscribers",
    load: async () => (await import("./scenario/tail.ts")).tailBench,
  },
  mixed: {
    summary: "append and replay beside each other, in turns with each alone",
    load: async () => (await import("./scenario/mixed.ts")).mixedBench,
  },
  streams: {
    summary: "one connection appends to 1, 100 and 1,000 streams in turn: rate, memory of each stream",
    load: async () => (await import("./scenario/streams.ts")).streamsBench,
  },
  connections: {
    summary: "1 to 1,000 connections that share one budget in flight: rate, answers, memory of each",
    load: async () => (await import("./scenario/connections.ts")).connectionsBench,
  },
  memory: {
    summary: "resident memory over time: idle, appends at full rate, a replay, an exporter, and after all",
    load: async () => (await import("./scenario/memory.ts")).memoryBench,
  },
  flush: {
    summary: "flushOnWrite: awaited and in batches, by producers beside each other, and the disk's own syncs",
    load: async () => (await import("./scenario/flush.ts")).flushBench,
  },
  awaited: {
    summary: "the official Node.js client, an append after another, with the native addon and without",
    load: async () => (await import("./scenario/awaited.ts")).awaitedBench,
  },
  compressed: {
    summary: "batches compressed by the producer, on three kinds of data: what both sides cost together",
    load: async () => (await import("./scenario/compressed.ts")).compressedBench,
  },
  recovery: {
    summary: "start on a store: 10 GB in 1000 segments, and 1000 idle streams",
    load: async () => (await import("./scenario/recovery.ts")).recoveryBench,
  },
  attack: {
    summary: "a good producer's rate while others attack the port",
    load: async () => (await import("./scenario/attack.ts")).attackBench,
  },
  seal: {
    summary: "bytes on disk and bytes written, small blocks rewritten in full-size ones",
    load: async () => (await import("./scenario/seal.ts")).sealBench,
  },
  export: {
    summary: "one Kinesis exporter from a filled stream to a local endpoint, beside the SDK alone",
    load: async () => (await import("./scenario/export.ts")).exportBench,
  },
  peers: {
    summary: "the same messages to NATS JetStream and Redis streams, by their C clients",
    load: async () => (await import("./scenario/peers.ts")).peersBench,
  },
  python: {
    summary: "the Python client: appends to an engine process and their latency, a subscription",
    load: async () => (await import("./scenario/python.ts")).pythonBench,
  },
  ring: {
    summary: "records through a ring in one thread",
    isMicro: true,
    load: async () => (await import("./micro/ring.ts")).ringBench,
  },
  wire: {
    summary: "codecs of the append path",
    isMicro: true,
    load: async () => (await import("./micro/wire.ts")).wireBench,
  },
  log: {
    summary: "LZ4 frames and blocks of the store",
    isMicro: true,
    load: async () => (await import("./micro/log.ts")).logBench,
  },
  framing: {
    summary: "the check of every appended batch",
    isMicro: true,
    load: async () => (await import("./micro/framing.ts")).framingBench,
  },
};

/** What works with results, or runs benches by itself. Each takes the words behind its name. */
const tools: Readonly<Record<string, { readonly summary: string; load(): Promise<BenchTool> }>> = {
  compare: {
    summary: "two results, or two sides of several: ratios with intervals, and a verdict",
    load: async () => (await import("./tool/compare.ts")).compare,
  },
  report: {
    summary: "one page of HTML of one result or several: tables, plots, rounds",
    load: async () => (await import("./tool/report.ts")).report,
  },
  sweep: {
    summary: "a bench under every combination of some settings, in random order",
    load: async () => (await import("./tool/sweep.ts")).sweep,
  },
  profile: {
    summary: "a bench with a CPU profile of every thread: which is busy, and with what",
    load: async () => (await import("./tool/profile.ts")).profile,
  },
};

function listed(entries: Readonly<Record<string, { readonly summary: string }>>): string {
  const width = Math.max(...Object.keys({ ...benches, ...tools }).map((name) => name.length)) + 2;
  return Object.entries(entries)
    .map(([name, { summary }]) => `  ${name.padEnd(width)}${summary}`)
    .join("\n");
}

const usage = `Usage: npm run bench -- <name> [options]

Benches:
${listed(benches)}

With results, and over runs; each has a --help of its own:
${listed(tools)}

Options of a bench:
  --json            one JSON object a line instead of a table
  --wide            every figure in the table, however wide it gets
  --case <text>     only cases whose name contains the text
  --seconds <n>     measured time of each case, 0.05 to 3600
  --rate <n>        messages a second of a bench with a fixed rate, 1 to 5000000
  --data-set <what> ${Object.keys(seededDataSets).join(", ")}, or a file whose lines are the messages
  --out <file>      where the result goes as JSON; else to .cache/bench/results
  --report <file>   a page of HTML of the result too
  --store <dir>     where stores are made; not in memory (tmpfs)
  --profile <dir>   server processes write CPU profiles there
  --help            this text
`;

const SECONDS_MIN = 0.05;
const SECONDS_MAX = 3600;
const RATE_MAX = 5_000_000;
/** As a shell tells of a program that SIGPIPE ended. */
const PIPE_CLOSED_EXIT_CODE = 141;

async function main(args: readonly string[]): Promise<void> {
  const [first] = args;
  if (first !== undefined && Object.hasOwn(tools, first)) {
    const tool = await tools[first]!.load();
    await tool(args.slice(1), { benches });
    return;
  }
  await runBench(args);
}

async function runBench(args: readonly string[]): Promise<void> {
  const { values, positionals } = readArguments(args);
  const [name, ...rest] = positionals;
  if (values.help || name === undefined) {
    process.stdout.write(usage);
    return;
  }
  const entry = Object.hasOwn(benches, name) ? benches[name] : undefined;
  if (entry === undefined || rest.length > 0) {
    const known = [...Object.keys(benches), ...Object.keys(tools)].join(", ");
    throw new BenchUsageError(`no bench "${positionals.join(" ")}"; there are: ${known}`);
  }
  const bench = await entry.load();
  const seconds = values.seconds === undefined ? bench.secondsDefault : Number(values.seconds);
  if (!(seconds >= SECONDS_MIN && seconds <= SECONDS_MAX)) {
    throw new BenchUsageError(
      `--seconds is "${values.seconds ?? ""}", must be ${SECONDS_MIN} to ${SECONDS_MAX}`,
    );
  }
  const rate = values.rate === undefined ? undefined : Number(values.rate);
  if (rate !== undefined && !(rate >= 1 && rate <= RATE_MAX)) {
    throw new BenchUsageError(`--rate is "${values.rate ?? ""}", must be 1 to ${RATE_MAX}`);
  }
  for (const option of ["rate", "data-set"] as const) {
    if (values[option] !== undefined && !(bench.takes ?? []).includes(option))
      throw new BenchUsageError(`the bench ${name} takes no --${option}`);
  }
  const dataSet = values["data-set"] ?? DATA_SET_DEFAULT;
  checkDataSet(dataSet);
  checkOutputs(values);
  const storeRoot = values.store ?? defaultStoreRoot();
  prepareStoreRoot(storeRoot);
  removeLeftovers(storeRoot);
  const options: BenchOptions = {
    caseFilter: values.case ?? "",
    seconds,
    storeRoot,
    profileDirectory: values.profile,
    createDataSet: chooseDataSet(dataSet),
    ...(rate === undefined ? {} : { rate }),
  };
  const settings = {
    seconds,
    ...bench.settings,
    ...(rate === undefined ? {} : { rate }),
    ...(values.profile === undefined ? {} : { profile: "on" }),
  };
  const environment = describeEnvironment({ storeRoot, dataSet, settings });
  const { json, wide, out: outPath = defaultResultPath(name, environment), report: reportPath } = values;
  const result = await measure(bench, options, { environment, json, wide, outPath });
  if (options.profileDirectory !== undefined) {
    mkdirSync(options.profileDirectory, { recursive: true });
    writeMeasuredWindows(options.profileDirectory);
  }
  if (reportPath === undefined) return;
  const { writeReport } = await import("./tool/report.ts");
  writeReport(reportPath, [{ title: path.basename(outPath, ".json"), result }]);
  if (!json) process.stdout.write(`page: ${path.relative(process.cwd(), reportPath)}\n`);
}

/** Before minutes are spent on measuring. */
function checkDataSet(choice: string): void {
  try {
    chooseDataSet(choice)(1);
  } catch (cause) {
    throw new BenchUsageError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

function readArguments(args: readonly string[]) {
  return parseToolArgs(args, {
    json: { type: "boolean", default: false },
    wide: { type: "boolean", default: false },
    case: { type: "string" },
    seconds: { type: "string" },
    rate: { type: "string" },
    "data-set": { type: "string" },
    out: { type: "string" },
    report: { type: "string" },
    store: { type: "string" },
    profile: { type: "string" },
    help: { type: "boolean", default: false },
  });
}

interface Output {
  readonly environment: BenchEnvironment;
  readonly json: boolean;
  readonly wide: boolean;
  readonly outPath: string;
}

/** Runs the bench, prints each record and writes the result. */
async function measure(
  bench: Bench,
  options: BenchOptions,
  { environment, json, wide, outPath }: Output,
): Promise<BenchResult> {
  const writeLine = (line: string): boolean => process.stdout.write(`${line}\n`);
  const table = new TablePrinter({ writeLine, width: wide ? Infinity : TABLE_WIDTH });
  if (!json) table.printEnvironment(environment);
  const records: BenchRecord[] = [];
  const result: BenchResult = { format: RESULT_FORMAT, bench: bench.name, environment, records };
  for await (const record of bench.run(options)) {
    records.push(record);
    // After each record: what took minutes to measure is there when the next case fails.
    writeResult(outPath, result);
    if (json) process.stdout.write(`${JSON.stringify({ ...record, environment })}\n`);
    else table.print(record);
  }
  if (records.length === 0) {
    throw new BenchUsageError(`no case of "${bench.name}" contains "${options.caseFilter}"`);
  }
  if (!json) table.finish();
  if (!json) process.stdout.write(`\nresult: ${path.relative(process.cwd(), outPath)}\n`);
  return result;
}

// A reader that has enough, such as `head`, ends the run as a signal would.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") process.stderr.write(`bench: ${error.message}\n`);
  process.exit(error.code === "EPIPE" ? PIPE_CLOSED_EXIT_CODE : 1);
});

try {
  await main(process.argv.slice(2));
} catch (error) {
  const isUsage = error instanceof BenchUsageError;
  process.stderr.write(
    isUsage || error instanceof BenchRefusal ? `bench: ${error.message}\n` : `bench: ${describe(error)}\n`,
  );
  process.exitCode = isUsage ? 2 : 1;
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
