import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { Command } from "commander";
import { loadSettings } from "../../config/load-settings.ts";
import { systemClock } from "../../core/clock.ts";
import { MillraceError, systemCode } from "../../core/errors.ts";
import { randomHex, systemRandom } from "../../core/random.ts";
import { systemTimers } from "../../core/timers.ts";
import { fileStorage } from "../../log/file-storage.ts";
import { UsageError, writeLine, type CommandContext } from "../command-context.ts";
import { ChildProcesses } from "../demo-child.ts";
import { lookAtDirectory } from "../doctor/directory-facts.ts";
import { probeSyncs, PROBE_BYTES_MAX } from "../doctor/sync-probe.ts";
import { causeOf, Interruption, watchInterruption } from "../interruption.ts";
import { integerOption } from "../option-values.ts";
import { ProgressBar } from "../progress-bar.ts";
import { loadStoreSettings, withStoreOptions, type StoreFlags } from "../store-options.ts";
import { formatBytes } from "../table.ts";
import { ROUNDS_TO_BE_SURE } from "./tune-choice.ts";
import { measure } from "./tune-plan.ts";
import {
  formatReport,
  reportToJson,
  reportToToml,
  type TunedSettings,
  type TuneReport,
} from "./tune-report.ts";
import { ROUND_BYTES_MAX } from "./tune-round.ts";

const SECONDS_DEFAULT = 90;
const SECONDS_MIN = 5;
const SECONDS_MAX = 3600;
const ROUNDS_DEFAULT = ROUNDS_TO_BE_SURE;
const ROUNDS_MAX = 15;
/** Of the time, what the syncs of the disk get. */
const PROBE_SHARE = 0.1;
/** A machine with no more is one for the small profile: 1 GB, of which the kernel keeps some or a board adds some. */
const SMALL_MEMORY_BYTES = 1.25 * 2 ** 30;
/** Streams for each core: a worker has several, as an engine in use does. */
const STREAMS_PER_CORE = 2;
const STREAMS_MAX = 16;
/** Beside the segments of a round: what is rewritten, the files of a probe, and room that is not ours to take. */
const FREE_BYTES_MIN = 2 * ROUND_BYTES_MAX + PROBE_BYTES_MAX;
/** A directory that only this command makes, and that a later one removes if this process ends without doing so. */
const DIRECTORY_NAME = /^tune-(\d+)-[0-9a-f]{16}\.tmp$/;

interface TuneFlags extends StoreFlags {
  readonly seconds: number;
  readonly rounds: number;
  readonly write?: string;
}

/** `millrace tune`. */
export function tuneCommand(context: CommandContext): Command {
  const command = new Command("tune")
    .description("Measure this machine and tell which settings suit it")
    .option(
      "--seconds <n>",
      "how long to measure; longer where starting engines takes most of it",
      integerOption({ min: SECONDS_MIN, max: SECONDS_MAX }),
      SECONDS_DEFAULT,
    )
    .option(
      "--rounds <n>",
      "measurements of each candidate; with fewer than three nothing is sure",
      integerOption({ min: 1, max: ROUNDS_MAX }),
      ROUNDS_DEFAULT,
    )
    .option("--write <file>", "write the settings to a new TOML file, for serve --config")
    .addHelpText(
      "after",
      `
Starts engines of its own on a temporary store on the disk of the engine's store, up to ${formatBytes(FREE_BYTES_MIN)} of it, drives them
with producers of this process, and removes everything. Where a difference is within the noise the default stays.
Run it while nothing else is busy: an engine that runs takes part of the machine.`,
    );
  return withStoreOptions(command).action((flags: TuneFlags) => tune(context, flags));
}

async function tune(context: CommandContext, flags: TuneFlags): Promise<void> {
  if (flags.write !== undefined && existsSync(flags.write))
    throw new UsageError(`--write: ${flags.write} is there already, and is not written over`);
  if (flags.write !== undefined) checkTarget(flags.write);
  const { storeDirectory } = await loadStoreSettings(context.machine, flags);
  const umask = process.umask(0o077);
  const controller = new AbortController();
  const interruption = watchInterruption(controller);
  const progress = new ProgressBar(context.stderr, systemClock);
  try {
    const { seconds, rounds } = flags;
    const report = await examine(context, { controller, progress, storeDirectory, seconds, rounds });
    progress.clear();
    await writeLine(
      context.stdout,
      flags.json === true ? JSON.stringify(reportToJson(report)) : formatReport(report),
    );
    if (flags.write === undefined) return;
    // Nothing of the store is written any more: the file is as open as its user's others.
    process.umask(umask);
    // Last, so that what was measured is told whatever becomes of the file.
    writeSettings(flags.write, reportToToml(report));
    await writeLine(context.stderr, `millrace: wrote ${flags.write}`);
  } catch (error) {
    progress.clear();
    const cause = await causeOf(error, controller);
    if (!(cause instanceof Interruption)) throw cause;
    process.exitCode = cause.exitCode;
  } finally {
    interruption.stop();
  }
}

async function examine(
  { machine }: CommandContext,
  given: {
    controller: AbortController;
    progress: ProgressBar;
    storeDirectory: string;
    seconds: number;
    rounds: number;
  },
): Promise<TuneReport> {
  const { controller, progress, seconds, rounds } = given;
  const { signal } = controller;
  const directory = makeDirectory(path.resolve(given.storeDirectory));
  const processes = new ChildProcesses(controller);
  try {
    const probeDirectory = path.join(directory, "probe");
    mkdirSync(probeDirectory);
    const syncs = await probeSyncs({
      storage: fileStorage,
      directory: probeDirectory,
      seconds: seconds * PROBE_SHARE,
      clock: systemClock,
      random: systemRandom,
      timers: systemTimers,
      signal,
      onProgress: (share) => progress.share(share * PROBE_SHARE, "syncs of the disk"),
    });
    rmSync(probeDirectory, { recursive: true, force: true });
    const isSmall = machine.memoryBytes <= SMALL_MEMORY_BYTES;
    const env = withoutSettings(machine.env);
    const { settings: defaults } = loadSettings({
      ...machine,
      env,
      ...(isSmall && { flags: { profile: "small" } }),
    });
    const streamCount = Math.min(STREAMS_MAX, STREAMS_PER_CORE * machine.cores);
    const figures = await measure({
      context: { processes, signal, clock: systemClock, directory, env, streamCount },
      cores: machine.cores,
      defaults,
      rounds,
      seconds: seconds * (1 - PROBE_SHARE),
      onProgress: (share, label) => progress.share(PROBE_SHARE + share * (1 - PROBE_SHARE), label),
    });
    const { workers, blockBytes } = figures;
    const settings: TunedSettings = {
      ...(isSmall && { profile: "small" }),
      ...(workers.choice.value !== workers.defaultValue && { workers: workers.choice.value }),
      ...(blockBytes.choice.value !== blockBytes.defaultValue && { blockBytes: blockBytes.choice.value }),
    };
    const place = {
      cores: machine.cores,
      memoryBytes: machine.memoryBytes,
      directory: path.dirname(directory),
    };
    return { machine: place, syncs, figures, settings };
  } finally {
    await processes.killAll();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** On the disk of the store: in it, or above it while it is not there. */
function makeDirectory(storeDirectory: string): string {
  const { state, nearest } = lookAtDirectory(storeDirectory);
  if (state === "other") throw new MillraceError("STORE_UNUSABLE", `${storeDirectory} is no directory`);
  const { bavail, bsize } = statfsSync(nearest);
  if (bavail * bsize < FREE_BYTES_MIN) {
    const [free, needed] = [formatBytes(bavail * bsize), formatBytes(FREE_BYTES_MIN)];
    throw new MillraceError("STORE_UNUSABLE", `Cannot measure in ${nearest}: ${free} free, ${needed} needed`);
  }
  const directory = path.join(nearest, `tune-${process.pid}-${randomHex(systemRandom, 8)}.tmp`);
  try {
    for (const name of readdirSync(nearest)) {
      const pid = DIRECTORY_NAME.exec(name)?.[1];
      if (pid !== undefined && !isRunning(Number(pid)))
        rmSync(path.join(nearest, name), { recursive: true, force: true });
    }
    mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    const code = systemCode(error) ?? String(error);
    throw new MillraceError("STORE_UNUSABLE", `Cannot write to ${nearest}: ${code}`, { cause: error });
  }
  return directory;
}

/** Another user's process is one that runs, too. */
function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) === "EPERM";
  }
}

/** No setting of the engine that is in use, such as its socket, is one of those that are measured. */
function withoutSettings(env: CommandContext["machine"]["env"]): Record<string, string | undefined> {
  const isSetting = (name: string): boolean =>
    /^(MILLRACE_|STREAM_MANAGER_)/.test(name) || name === "LOG_LEVEL";
  return Object.fromEntries(Object.entries(env).filter(([name]) => !isSetting(name)));
}

/** Before anything is measured. @throws {MillraceError} INVALID_SETTING */
function checkTarget(file: string): void {
  const directory = path.dirname(path.resolve(file));
  try {
    if (!statSync(directory).isDirectory()) throw new Error(`${directory} is no directory`);
    accessSync(directory, constants.W_OK);
  } catch (error) {
    throw cannotWrite(file, error);
  }
}

function writeSettings(file: string, text: string): void {
  try {
    writeFileSync(file, text, { flag: "wx", mode: 0o644 });
  } catch (error) {
    throw cannotWrite(file, error);
  }
}

function cannotWrite(file: string, cause: unknown): MillraceError {
  const reason = systemCode(cause) ?? (cause instanceof Error ? cause.message : String(cause));
  return new MillraceError("INVALID_SETTING", `Cannot write ${file}: ${reason}`, { cause });
}
