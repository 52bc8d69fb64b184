import type { Command } from "commander";
import { loadSettings } from "../config/load-settings.ts";
import type { Settings } from "../config/schema.ts";
import type { Machine } from "../config/setting-row.ts";
import { readSettingsFile } from "../config/settings-file.ts";

/** The options of every command that looks at a store itself. */
export interface StoreFlags {
  readonly storeDirectory?: string;
  readonly config?: string;
  readonly json?: boolean;
}

/** Adds `--store-directory`, `--config` and `--json`. */
export function withStoreOptions(command: Command): Command {
  return command
    .option("--store-directory <directory>", "the store (default: from the settings)")
    .option("--config <file>", "the engine's settings file, for its store")
    .option("--json", "print JSON");
}

/** The engine's own settings, so that without an option the store is the engine's. @throws {MillraceError} INVALID_SETTING */
export async function loadStoreSettings(machine: Machine, flags: StoreFlags): Promise<Settings> {
  const { storeDirectory, config } = flags;
  const file = config === undefined ? undefined : await readSettingsFile(config);
  const given = storeDirectory === undefined ? {} : { storeDirectory };
  return loadSettings({ ...machine, flags: given, ...(file && { file }) }).settings;
}
