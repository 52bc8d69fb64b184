import { Command } from "commander";
import { loadSettings, type LoadedSettings } from "../config/load-settings.ts";
import { rowOf, settingKeys, type SettingKey, type Settings } from "../config/schema.ts";
import { readSettingsFile } from "../config/settings-file.ts";
import { writeLine, type CommandContext } from "./command-context.ts";
import { formatTable } from "./table.ts";

interface SettingsFlags {
  readonly config?: string;
  readonly changed?: boolean;
  readonly json?: boolean;
}

/** `millrace settings`: what an engine would run with that is started like this, and where each value comes from. */
export function settingsCommand(context: CommandContext): Command {
  return new Command("settings")
    .description("Show the settings that an engine would start with here, and where each value comes from")
    .option("--config <file>", "TOML file of settings, as for serve")
    .option("--changed", "only those that are not at their default")
    .option("--json", "print one JSON object")
    .action(async (flags: SettingsFlags) => showSettings(context, flags));
}

async function showSettings(
  { machine, stdout, stderr }: CommandContext,
  flags: SettingsFlags,
): Promise<void> {
  const file = flags.config === undefined ? undefined : await readSettingsFile(flags.config);
  const loaded = loadSettings({ ...machine, ...(file && { file }) });
  for (const notice of loaded.notices) await writeLine(stderr, `millrace: ${notice}`);
  const isShown = (key: SettingKey): boolean => flags.changed !== true || loaded.sources[key] !== "default";
  const keys = settingKeys.filter(isShown);
  const text = flags.json === true ? JSON.stringify(asJson(loaded, keys)) : formatSettings(loaded, keys);
  if (text !== "") await writeLine(stdout, text);
}

function asJson({ settings, sources }: LoadedSettings, keys: readonly SettingKey[]): object {
  const entries = keys.map((key) => {
    const { env, unit } = rowOf(key);
    return [
      key,
      { variable: env, value: settings[key] ?? null, source: sources[key], ...(unit && { unit }) },
    ];
  });
  return Object.fromEntries(entries) as object;
}

function formatSettings({ settings, sources }: LoadedSettings, keys: readonly SettingKey[]): string {
  if (keys.length === 0) return "";
  const rows = keys.map((key) => [
    rowOf(key).env,
    textOf(settings[key]),
    rowOf(key).unit ?? "",
    sources[key],
  ]);
  return formatTable(["variable", "value", "unit", "from"], rows);
}

function textOf(value: Settings[SettingKey]): string {
  if (value === undefined) return "none";
  if (typeof value === "object") return value.length === 0 ? "none" : value.join(",");
  return String(value);
}
