import * as v from "valibot";
import { MillraceError } from "../core/errors.ts";
import { parseExportMap } from "../core/export-map.ts";
import { parseThreadCpus } from "../core/thread-cpus.ts";
import { profiles } from "./profiles.ts";
import { fileKeyOf, flagOf, rowOf, settingKeys, type SettingKey, type Settings } from "./schema.ts";
import type { Machine } from "./setting-row.ts";
import type { SettingsFile } from "./settings-file.ts";

export interface SettingSources extends Machine {
  /** Text by key, as the command line gave it. */
  readonly flags?: Readonly<Partial<Record<SettingKey, string>>>;
  readonly file?: SettingsFile;
}

export interface LoadedSettings {
  readonly settings: Settings;
  /** Where each value came from: `default`, `MILLRACE_PROFILE=small`, or what a message names it by. */
  readonly sources: Readonly<Record<SettingKey, string>>;
  /** One line each: what was set without effect. */
  readonly notices: readonly string[];
}

/** A value and where it came from, as a message names it: `STREAM_MANAGER_SERVER_PORT`, `--port`, `port in a.toml`. */
interface Given {
  readonly source: string;
  readonly value: unknown;
}

/**
 * Puts the settings together, the later over the earlier: defaults, profile, file, environment, flags. An empty variable counts as not
 * set.
 * @throws {MillraceError} INVALID_SETTING, one line that names the setting, the value and what it must be
 */
export function loadSettings(sources: SettingSources): LoadedSettings {
  refuseUnknownFileKeys(sources.file);
  const notices = unknownVariables(sources.env);
  const profile = profileOf(sources);
  const found = settingKeys.map((key) => {
    const given = lookUp(key, sources);
    const { automatic, unused, defaultFor } = rowOf(key);
    if (given === undefined && profile.values[key] !== undefined)
      return { key, value: profile.values[key], source: profile.source };
    if (given === undefined) return { key, value: defaultFor(sources), source: "default" };
    if (given.value === automatic) return { key, value: defaultFor(sources), source: given.source };
    if (unused !== undefined) notices.push(`${given.source} has no effect: ${unused}`);
    return { key, value: check(key, given), source: given.source };
  });
  // Each value was checked by the schema of its own row, or is its row's default or a profile's.
  const settings = Object.freeze(
    Object.fromEntries(found.map(({ key, value }) => [key, Object.freeze(value)])),
  ) as Settings;
  checkTogether(settings);
  const origins = Object.fromEntries(found.map(({ key, source }) => [key, source]));
  return { settings, sources: origins as LoadedSettings["sources"], notices };
}

/** What the profile that was chosen says in place of defaults. */
function profileOf(sources: SettingSources): { values: Partial<Settings>; source: string } {
  const given = lookUp("profile", sources);
  if (given === undefined) return { values: {}, source: "default" };
  const name = check("profile", given) as Settings["profile"];
  return { values: profiles[name], source: `${rowOf("profile").env}=${name}` };
}

function lookUp(key: SettingKey, { flags, env, file }: SettingSources): Given | undefined {
  const row = rowOf(key);
  const flag = flags?.[key];
  if (flag !== undefined) return { source: flagOf(key), value: readText(key, flag) };
  const variable = env[row.env];
  if (variable !== undefined && variable !== "") {
    return { source: row.env, value: readText(key, variable) };
  }
  const fileKey = fileKeyOf(key);
  if (file !== undefined && Object.hasOwn(file.values, fileKey)) {
    return { source: `${fileKey} in ${file.path}`, value: file.values[fileKey] };
  }
  return undefined;
}

function readText(key: SettingKey, text: string): unknown {
  const { automatic, kind } = rowOf(key);
  return text === automatic ? automatic : kind.fromText(text);
}

function check(key: SettingKey, { source, value }: Given): unknown {
  const { kind, unit, automatic } = rowOf(key);
  const result = v.safeParse(kind.schema, value);
  if (result.success) return result.output;
  const measure = unit === undefined ? "" : ` (${unit})`;
  const orWord = automatic === undefined ? "" : `, or "${automatic}"`;
  throw invalid(`${source} is ${quote(value)} and must be ${kind.accepts}${measure}${orWord}`);
}

/** Rules between settings. */
function checkTogether(settings: Settings): void {
  checkIotCredentials(settings);
  parseExportMap(settings.exportMap);
  if (settings.threadCpus !== undefined) parseThreadCpus(settings.threadCpus);
  const { host, authenticate, unauthenticatedNetwork, tlsCertificate, tlsKey } = settings;
  if ((tlsCertificate === undefined) !== (tlsKey === undefined)) {
    const [given, missing] =
      tlsKey === undefined
        ? ["MILLRACE_TLS_CERTIFICATE", "MILLRACE_TLS_KEY"]
        : ["MILLRACE_TLS_KEY", "MILLRACE_TLS_CERTIFICATE"];
    throw invalid(`${given} is set, and ${missing} must be too`);
  }
  if (!authenticate && !unauthenticatedNetwork && !isLoopback(host)) {
    throw invalid(
      `MILLRACE_HOST is ${quote(host)}, which other machines can reach, and must be a loopback address while STREAM_MANAGER_AUTHENTICATE_CLIENT is false, unless MILLRACE_UNAUTHENTICATED_NETWORK is true`,
    );
  }
}

function checkIotCredentials(settings: Settings): void {
  const needed = ["iotCredentialsEndpoint", "iotRoleAlias", "iotCertificate", "iotKey"] as const;
  const given = [...needed, "iotAuthorities" as const, "iotThingName" as const].find(
    (key) => settings[key] !== undefined,
  );
  const missing = needed.find((key) => settings[key] === undefined);
  if (given === undefined || missing === undefined) return;
  throw invalid(`${rowOf(given).env} is set, and ${rowOf(missing).env} must be too`);
}

/** Whether only this machine can reach the address. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}

function refuseUnknownFileKeys(file: SettingsFile | undefined): void {
  if (file === undefined) return;
  const known = new Set(settingKeys.map(fileKeyOf));
  const unknown = Object.keys(file.values).find((key) => !known.has(key));
  if (unknown === undefined) return;
  throw invalid(`${quote(unknown)} in ${file.path} is not a setting; there are ${[...known].join(", ")}`);
}

/** Where clients find an engine, and what they present: not for the engine itself, but no mistake beside it. */
const clientVariables = ["MILLRACE_TOKEN", "MILLRACE_URL"];

/** A misspelt variable of ours would otherwise be passed over in silence. */
function unknownVariables(env: Machine["env"]): string[] {
  const known = new Set([...settingKeys.map((key) => rowOf(key).env), ...clientVariables]);
  return Object.keys(env)
    .filter((name) => name.startsWith("MILLRACE_") && !name.startsWith("MILLRACE_TEST_") && !known.has(name))
    .sort()
    .map((name) => `${name} has no effect: there is no such setting`);
}

const QUOTED_LENGTH_MAX = 80;

/** The value on one line, shortened. */
function quote(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length <= QUOTED_LENGTH_MAX ? text : `${text.slice(0, QUOTED_LENGTH_MAX)}…`;
}

function invalid(message: string): MillraceError {
  return new MillraceError("INVALID_SETTING", message);
}
