import { readFileSync } from "node:fs";
import type { LiveTarget } from "../../bench/live/live-target.ts";
import { Command, InvalidArgumentError } from "commander";
import { endpointUrl } from "../client/endpoint-url.ts";
import { MillraceError, systemCode } from "../core/errors.ts";
import { randomHex, systemRandom } from "../core/random.ts";
import { UsageError, writeLine, type CommandContext } from "./command-context.ts";
import { findEngine, withEngineOptions, type EngineAddress, type EngineFlags } from "./engine-address.ts";
import { watchInterruption, Interruption } from "./interruption.ts";
import { integerOption } from "./option-values.ts";

const SECONDS_DEFAULT = 5;
const SECONDS_MIN = 0.05;
const SECONDS_MAX = 3600;
const RATE_MAX = 5_000_000;
const RUN_ID_BYTES = 4;
const PID_MAX = 2 ** 22;
const VERSION_DEADLINE_MS = 2000;

interface BenchFlags extends EngineFlags {
  readonly tokenFile?: string;
  readonly seconds: number;
  readonly rate?: number;
  readonly case: string;
  readonly dataSet: string;
  readonly out?: string;
  readonly wide?: boolean;
  readonly enginePid?: number;
}

/** `millrace bench`: how fast a running engine is for a client on this machine. */
export function benchCommand(context: CommandContext): Command {
  const command = new Command("bench")
    .description("Measure a running engine: appends, awaited and at a fixed rate, replay, and push")
    .option("--token-file <file>", "file whose text is the token to present")
    .option("--seconds <n>", "measured time of each case", secondsOption, SECONDS_DEFAULT)
    .option(
      "--rate <n>",
      "messages a second of the case with a fixed rate",
      integerOption({ min: 1, max: RATE_MAX }),
    )
    .option("--case <text>", "only cases whose name contains the text", "")
    .option(
      "--data-set <what>",
      "inference, tensors, sensors, or a file whose lines are messages",
      "inference",
    )
    .option("--out <file>", "write the result there, as JSON")
    .option("--wide", "every figure in the table, however wide it gets")
    .option(
      "--engine-pid <pid>",
      "the engine's process on this machine: measure its CPU time and memory too",
      integerOption({ min: 1, max: PID_MAX }),
    )
    .addHelpText(
      "after",
      "\nEach case makes a stream millrace-bench-<id> of at most 256 MiB and deletes it afterwards, also when it is interrupted." +
        "\nWith --json each line is the record of a case.",
    );
  return withEngineOptions(command).action(async (flags: BenchFlags) => bench(context, flags));
}

function secondsOption(text: string): number {
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (value >= SECONDS_MIN && value <= SECONDS_MAX) return value;
  throw new InvalidArgumentError(`It must be a number from ${SECONDS_MIN} to ${SECONDS_MAX}.`);
}

async function bench(context: CommandContext, flags: BenchFlags): Promise<void> {
  const { readToken } = await import("../net/token-store.ts");
  const address = await findEngine(context.machine, flags, readToken);
  const token = flags.tokenFile === undefined ? address.token : readText(flags.tokenFile, "token").trim();
  const authorities =
    address.authoritiesPath === undefined ? undefined : readText(address.authoritiesPath, "authorities");
  const { enginePid } = flags;
  if (enginePid !== undefined) checkProcess(enginePid);
  const live = await import("../../bench/live/live-target.ts");
  const url = endpointUrl(address.url);
  const target = await live.LiveTarget.connect({
    url,
    runId: randomHex(systemRandom, RUN_ID_BYTES),
    ...(token !== undefined && { token }),
    ...(authorities !== undefined && { authorities }),
    ...(enginePid !== undefined && { enginePid }),
  }).catch((cause: unknown) => {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new MillraceError("CONNECT_FAILED", `Cannot connect to ${address.url}: ${reason}`, { cause });
  });
  const controller = new AbortController();
  const interruption = watchInterruption(controller);
  controller.signal.addEventListener("abort", () => target.interrupt(controller.signal.reason as Error));
  try {
    await report(context, flags, { target, address: { ...address, token } });
  } catch (error) {
    const { reason } = controller.signal as { reason: unknown };
    if (!(reason instanceof Interruption) || error !== reason) throw error;
    await writeLine(context.stderr, `millrace: ${reason.message}; the stream is deleted`);
    process.exitCode = reason.exitCode;
  } finally {
    interruption.stop();
    await target.close();
  }
}

/** Runs the cases and tells of each as soon as it is measured. */
async function report(
  { stdout }: CommandContext,
  flags: BenchFlags,
  { target, address }: { readonly target: LiveTarget; readonly address: EngineAddress },
): Promise<void> {
  const { LIVE_RATE_DEFAULT, liveCases, liveSettings, runLive } =
    await import("../../bench/live/live-bench.ts");
  await checkOut(flags.out);
  const { chooseDataSet } = await import("../../bench/data-set-choice.ts");
  const { describeEnvironment } = await import("../../bench/environment.ts");
  const { RESULT_FORMAT, writeResult } = await import("../../bench/result-file.ts");
  const { TablePrinter, TABLE_WIDTH } = await import("../../bench/table-printer.ts");
  const { seconds, rate = LIVE_RATE_DEFAULT, case: caseFilter, dataSet } = flags;
  if (!liveCases(rate).some(({ name }) => name.includes(caseFilter))) {
    const names = liveCases(rate).map(({ name }) => `"${name}"`);
    throw new UsageError(`no case contains "${caseFilter}"; there are: ${names.join(", ")}`);
  }
  const engine = { engine: address.url, engine_version: await engineVersion(address) };
  const settings = { seconds, rate, ...liveSettings, ...engine };
  const environment = describeEnvironment({ storeRoot: undefined, dataSet, settings });
  const lines: string[] = [];
  const table = new TablePrinter({
    writeLine: (line) => lines.push(line),
    width: flags.wide === true ? Infinity : TABLE_WIDTH,
  });
  const flush = async (): Promise<void> => {
    for (const line of lines.splice(0)) await writeLine(stdout, line);
  };
  if (flags.json !== true) table.printEnvironment(environment);
  await flush();
  const records = [];
  for await (const record of runLive(target, {
    caseFilter,
    seconds,
    rate,
    createDataSet: chooseDataSet(dataSet),
  })) {
    records.push(record);
    if (flags.out !== undefined)
      writeResult(flags.out, { format: RESULT_FORMAT, bench: "live", environment, records });
    if (flags.json === true) lines.push(JSON.stringify({ ...record, environment }));
    else table.print(record);
    await flush();
  }
  if (flags.json !== true) table.finish();
  await flush();
}

/** Before minutes are spent on measuring. */
async function checkOut(out: string | undefined): Promise<void> {
  const { checkOutputs } = await import("../../bench/place-checks.ts");
  const { BenchUsageError } = await import("../../bench/bench-usage-error.ts");
  try {
    checkOutputs({ out });
  } catch (cause) {
    throw cause instanceof BenchUsageError ? new UsageError(cause.message) : cause;
  }
}

/** As its metrics tell it, where they can be read. */
async function engineVersion({ url, token }: EngineAddress): Promise<string> {
  if (url.startsWith("ws+unix:")) return "unknown";
  const page = new URL("/metrics", url);
  page.protocol = page.protocol === "wss:" ? "https:" : "http:";
  try {
    const answer = await fetch(page, {
      signal: AbortSignal.timeout(VERSION_DEADLINE_MS),
      headers: token === undefined ? {} : { Authorization: `Bearer ${token}` },
    });
    return /^millrace_build_info\{version="([^"]+)"\}/m.exec(await answer.text())?.[1] ?? "unknown";
  } catch {
    return "unknown";
  }
}

function checkProcess(pid: number): void {
  try {
    readFileSync(`/proc/${pid}/stat`);
  } catch (cause) {
    throw new UsageError(
      `--engine-pid: process ${pid} cannot be looked at: ${systemCode(cause) ?? "failed"}`,
    );
  }
}

function readText(file: string, what: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    const text = `Cannot read the ${what} ${file}: ${systemCode(cause) ?? "failed"}`;
    throw new MillraceError("INVALID_SETTING", text, { cause });
  }
}
