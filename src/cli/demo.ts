import { Command } from "commander";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { systemClock } from "../core/clock.ts";
import { randomHex, systemRandom } from "../core/random.ts";
import { writeLine, type CommandContext } from "./command-context.ts";
import { causeOf, Interruption, unlessAborted, watchInterruption } from "./interruption.ts";
import { Progress } from "./demo-progress.ts";
import { DemoRun } from "./demo-run.ts";
import { formatSummary, summarize } from "./demo-summary.ts";
import { integerOption } from "./option-values.ts";

const SECONDS_DEFAULT = 10;
const SECONDS_MAX = 24 * 60 * 60;
const RATE_DEFAULT = 2000;
const RATE_MAX = 1_000_000;
const RUN_BYTES = 4;

interface DemoFlags {
  readonly seconds: number;
  readonly rate: number;
  readonly json?: boolean;
}

/** `millrace demo`: the whole way of real readings, from the sensors of this machine to Kinesis and back, compared message by message. */
export function demoCommand(context: CommandContext): Command {
  return new Command("demo")
    .description(
      "Run the engine, a Kinesis emulator and a producer of real readings, and show that all arrives",
    )
    .option(
      "--seconds <n>",
      "how long the producer runs",
      integerOption({ min: 1, max: SECONDS_MAX }),
      SECONDS_DEFAULT,
    )
    .option(
      "--rate <n>",
      "readings per second, each with an inference",
      integerOption({ min: 1, max: RATE_MAX }),
      RATE_DEFAULT,
    )
    .option("--json", "print the summary as one JSON object; the progress goes to standard error")
    .addHelpText(
      "after",
      "\nWith AWS_ENDPOINT_URL_KINESIS set, the demo uploads to the streams DemoReadings and DemoInferences there.",
    )
    .action(async (flags: DemoFlags) => demo(context, flags));
}

async function demo(context: CommandContext, { seconds, rate, json }: DemoFlags): Promise<void> {
  const controller = new AbortController();
  const interruption = watchInterruption(controller);
  const progress = new Progress(json === true ? context.stderr : context.stdout, systemClock);
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-demo-"));
  const run = new DemoRun({
    seconds,
    ratePerSecond: rate,
    run: randomHex(systemRandom, RUN_BYTES),
    directory,
    env: context.machine.env,
    controller,
    progress,
    clock: systemClock,
  });
  try {
    const summary = summarize(await unlessAborted(controller.signal, run.start()));
    progress.clear();
    const text = json === true ? JSON.stringify(summary) : `\n${formatSummary(summary)}`;
    await writeLine(context.stdout, text);
    if (!summary.isComplete) process.exitCode = 1;
  } catch (error) {
    progress.clear();
    const cause = await causeOf(error, controller);
    if (!(cause instanceof Interruption)) throw cause;
    progress.note(cause.message);
    process.exitCode = cause.exitCode;
  } finally {
    await run.close();
    rmSync(directory, { recursive: true, force: true });
    interruption.stop();
  }
}
