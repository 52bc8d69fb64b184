import path from "node:path";
import { Command } from "commander";
import type { Settings } from "../../config/schema.ts";
import { systemClock } from "../../core/clock.ts";
import { MillraceError } from "../../core/errors.ts";
import { systemRandom } from "../../core/random.ts";
import { exportedEnd } from "../../export/cursor-file.ts";
import { fileStorage } from "../../log/file-storage.ts";
import { OverlayStorage } from "../../log/overlay-storage.ts";
import type { Storage } from "../../log/storage.ts";
import { isStoreLocked, lockStore } from "../../net/store-lock.ts";
import { assertStoreFormat } from "../../stream/store-format.ts";
import { repairStore, type StoreRepair } from "../../stream/store-repair.ts";
import { writeLine, type CommandContext } from "../command-context.ts";
import { ProgressBar } from "../progress-bar.ts";
import { loadStoreSettings, withStoreOptions, type StoreFlags } from "../store-options.ts";
import { failureText, formatRepair, repairToJson, type RepairRun } from "./repair-report.ts";
import { assertIsStore } from "./verify.ts";

interface RepairFlags extends StoreFlags {
  readonly dryRun?: boolean;
}

/** `millrace store repair`. */
export function repairCommand(context: CommandContext, { version }: { readonly version: string }): Command {
  const command = new Command("repair")
    .description("Do what the start of an engine does to a store, without an engine, and say what that was")
    .option("--dry-run", "change nothing, and say what would be done")
    .addHelpText(
      "after",
      `
An engine repairs its store itself at every start. It must not run meanwhile: the store is locked for as long as this takes. As with
every start and stop the newest segment of a stream gets padding and a mark that all before it is durable.`,
    );
  return withStoreOptions(command).action((flags: RepairFlags) => repair(context, { ...flags, version }));
}

async function repair(
  context: CommandContext,
  { version, ...flags }: RepairFlags & { readonly version: string },
): Promise<void> {
  const settings = await loadStoreSettings(context.machine, flags);
  const storeDirectory = path.resolve(settings.storeDirectory);
  assertIsStore(storeDirectory);
  assertStoreFormat(fileStorage, storeDirectory);
  const isDryRun = flags.dryRun === true;
  const progress = new ProgressBar(context.stderr, systemClock);
  const work = { settings, storeDirectory, version, progress };
  const run: RepairRun = {
    storeDirectory,
    isDryRun,
    repair: isDryRun ? await tryOut(work) : await repairLocked(work),
  };
  const text = flags.json === true ? JSON.stringify(repairToJson(run)) : formatRepair(run);
  await writeLine(context.stdout, text);
  const failure = failureText(run);
  if (failure !== undefined) throw new MillraceError("STREAM_FENCED", failure);
}

interface RepairWork {
  readonly settings: Settings;
  readonly storeDirectory: string;
  readonly version: string;
  readonly progress: ProgressBar;
}

/** Not even the lock is taken: its socket would be a change. */
async function tryOut(work: RepairWork): Promise<StoreRepair> {
  const { storeDirectory } = work;
  if (await isStoreLocked(storeDirectory)) throw inUse(storeDirectory);
  return run(work, new OverlayStorage({ base: fileStorage, root: storeDirectory }));
}

async function repairLocked(work: RepairWork): Promise<StoreRepair> {
  const { storeDirectory } = work;
  // Whatever is made from here on is for this user alone, also where no mode is given: the lock's socket.
  process.umask(0o077);
  const lock = await lockStore({ directory: storeDirectory, random: systemRandom }).catch(
    (error: unknown) => {
      throw error instanceof MillraceError && error.code === "STORE_LOCKED" ? inUse(storeDirectory) : error;
    },
  );
  try {
    return run(work, fileStorage);
  } finally {
    await lock.release();
  }
}

function inUse(storeDirectory: string): MillraceError {
  const text = `Cannot repair store ${storeDirectory}: an engine runs on it; stop it first (its next start repairs the store too)`;
  return new MillraceError("STORE_LOCKED", text);
}

function run({ settings, storeDirectory, version, progress }: RepairWork, storage: Storage): StoreRepair {
  const walk = repairStore({
    storage,
    storeDirectory,
    version,
    clock: systemClock,
    random: systemRandom,
    settings: { ...settings, storeDirectory },
    exportedEnd,
  });
  try {
    let step = walk.next();
    while (step.done !== true) {
      const { doneStreams, totalStreams, label } = step.value;
      progress.share(doneStreams / totalStreams, `${doneStreams} of ${totalStreams} streams  ${label}`);
      step = walk.next();
    }
    return step.value;
  } finally {
    progress.clear();
  }
}
