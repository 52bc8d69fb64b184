import { mkdirSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { Command } from "commander";
import { systemClock } from "../../core/clock.ts";
import { asMillraceError, MillraceError, systemCode } from "../../core/errors.ts";
import { randomHex, systemRandom } from "../../core/random.ts";
import { systemTimers } from "../../core/timers.ts";
import { fileStorage } from "../../log/file-storage.ts";
import { loadNativeBindings } from "../../native/native-bindings.ts";
import { isStoreLocked, lockStore } from "../../net/store-lock.ts";
import { assertStoreFormat } from "../../stream/store-format.ts";
import { writeLine, type CommandContext } from "../command-context.ts";
import { Interruption, watchInterruption } from "../interruption.ts";
import { integerOption } from "../option-values.ts";
import { ProgressBar } from "../progress-bar.ts";
import { loadStoreSettings, withStoreOptions, type StoreFlags } from "../store-options.ts";
import { judgeAccess } from "./access.ts";
import { lookAtDirectory, openFilesMax, type DirectoryFacts } from "./directory-facts.ts";
import { diagnosisToJson, formatDiagnosis, isFit } from "./doctor-report.ts";
import { probeSyncs, type SyncFigures } from "./sync-probe.ts";
import { hasRoomToProbe, judge, type DoctorFacts, type Remark } from "./verdict.ts";

const SECONDS_DEFAULT = 4;
const SECONDS_MAX = 600;
/** A directory that only a doctor makes, and that the next one removes if this one cannot. */
const PROBE_NAME = /^doctor-[0-9a-f]{16}\.tmp$/;

interface DoctorFlags extends StoreFlags {
  readonly seconds: number;
}

/** `millrace doctor`. */
export function doctorCommand(context: CommandContext): Command {
  const command = new Command("doctor")
    .description("Tell whether a directory is fit to hold a store, and how fast it is")
    .option(
      "--seconds <n>",
      "how long to measure",
      integerOption({ min: 1, max: SECONDS_MAX }),
      SECONDS_DEFAULT,
    )
    .addHelpText(
      "after",
      "\nWrites at most 56 MiB to a temporary directory in it, or above it while it is not there, and removes that again.",
    );
  return withStoreOptions(command).action((flags: DoctorFlags) => doctor(context, flags));
}

async function doctor(context: CommandContext, flags: DoctorFlags): Promise<void> {
  const settings = await loadStoreSettings(context.machine, flags);
  // What it makes is for this user alone.
  process.umask(0o077);
  const place = lookAtDirectory(path.resolve(settings.storeDirectory));
  const format = judgeFormat(place);
  const controller = new AbortController();
  const interruption = watchInterruption(controller);
  const progress = new ProgressBar(context.stderr, systemClock);
  let probe: ProbeOutcome;
  try {
    // Nothing is touched in a store that is not for this version.
    probe =
      format.length > 0
        ? {}
        : await examine(place, { seconds: flags.seconds, signal: controller.signal, progress });
  } catch (error) {
    if (!(error instanceof Interruption)) throw error;
    process.exitCode = error.exitCode;
    return;
  } finally {
    progress.clear();
    interruption.stop();
  }
  const facts: DoctorFacts = {
    place,
    user: { id: process.geteuid?.() ?? 0, group: process.getegid?.() ?? 0 },
    engine: await engineState(place),
    figures: probe.figures,
    probeFailure: probe.failure,
    openFilesMax: openFilesMax(),
    nativeBindings: lookAtNativeBindings(settings.nativeBindings),
    streamCount: countStreams(place.directory),
    access: [...format, ...judgeAccess(settings, systemClock)],
    settings: {
      streamsMax: settings.streamsMax,
      connectionsMax: settings.connectionsMax,
      diskFreeMinBytes: settings.diskFreeMinBytes,
    },
  };
  const remarks = judge(facts);
  const isJson = flags.json === true;
  const text = isJson ? JSON.stringify(diagnosisToJson(facts, remarks)) : formatDiagnosis(facts, remarks);
  await writeLine(context.stdout, text);
  if (isFit(remarks)) return;
  throw new MillraceError("STORE_UNUSABLE", `${place.directory} is not fit: ${remarks[0]?.text ?? ""}`);
}

/** What keeps this version from using the store that is there. */
function judgeFormat({ state, directory }: DirectoryFacts): Remark[] {
  if (state !== "there") return [];
  try {
    assertStoreFormat(fileStorage, directory);
    return [];
  } catch (thrown) {
    return [{ kind: "unfit", text: asMillraceError(thrown).message }];
  }
}

interface ProbeOutcome {
  readonly figures?: SyncFigures;
  readonly failure?: string;
}

/** Tries out in a directory of its own what an engine does. What fails there is an answer; only an interruption is thrown. */
async function examine(
  place: DirectoryFacts,
  options: { readonly seconds: number; readonly signal: AbortSignal; readonly progress: ProgressBar },
): Promise<ProbeOutcome> {
  // Too little room is a remark of its own.
  if (place.state === "other" || !hasRoomToProbe(place)) return {};
  const directory = path.join(place.nearest, `doctor-${randomHex(systemRandom, 8)}.tmp`);
  try {
    removeLeftovers(place.nearest);
    mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    const what = place.state === "there" ? "nothing can be written to" : "it cannot be made in";
    return { failure: `${what} ${place.nearest}: ${systemCode(error) ?? String(error)}` };
  }
  try {
    const lock = await lockStore({ directory, random: systemRandom });
    await lock.release();
    const figures = await probeSyncs({
      storage: fileStorage,
      directory,
      seconds: options.seconds,
      clock: systemClock,
      random: systemRandom,
      timers: systemTimers,
      signal: options.signal,
      onProgress: (share) => options.progress.share(share, "measuring syncs"),
    });
    return { figures };
  } catch (error) {
    if (error instanceof Interruption) throw error;
    return { failure: error instanceof Error ? error.message : String(error) };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Of a doctor that was killed. */
function removeLeftovers(directory: string): void {
  for (const name of readdirSync(directory)) {
    if (PROBE_NAME.test(name)) rmSync(path.join(directory, name), { recursive: true, force: true });
  }
}

async function engineState(place: DirectoryFacts): Promise<DoctorFacts["engine"]> {
  if (place.state !== "there") return "none";
  try {
    return (await isStoreLocked(place.directory)) ? "runs" : "none";
  } catch {
    return "unknown";
  }
}

/** What an engine would find, as it is the same program. */
function lookAtNativeBindings(areWanted: boolean): DoctorFacts["nativeBindings"] {
  if (!areWanted) return { areUsed: false, reason: "turned off by a setting" };
  const state = loadNativeBindings();
  if (state.bindings !== undefined) return { areUsed: true, path: state.path };
  return { areUsed: false, path: state.path, reason: state.reason };
}

function countStreams(directory: string): number {
  try {
    return readdirSync(path.join(directory, "streams")).length;
  } catch {
    // There is no store yet.
    return 0;
  }
}
