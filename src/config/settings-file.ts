import { readFileSync } from "node:fs";
import type * as Toml from "smol-toml";
import { MillraceError } from "../core/errors.ts";

/** A settings file as it stands, unchecked. */
export interface SettingsFile {
  readonly path: string;
  readonly values: Readonly<Record<string, unknown>>;
}

/**
 * Reads a TOML file of settings.
 * @throws {MillraceError} INVALID_SETTING when it cannot be read or is not TOML
 */
export async function readSettingsFile(path: string): Promise<SettingsFile> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new MillraceError("INVALID_SETTING", `Cannot read the settings file ${path}: ${reason}`, {
      cause: error,
    });
  }
  // Imported on use: most engines are configured by their environment.
  return parseSettings(await import("smol-toml"), { path, text });
}

/**
 * What a settings file says, by the module that reads TOML. `path` is for the error.
 * @throws {MillraceError} INVALID_SETTING when it is not TOML
 */
export function parseSettings(
  { parse, TomlError }: typeof Toml,
  { path, text }: { readonly path: string; readonly text: string },
): SettingsFile {
  try {
    return { path, values: parse(text) };
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The message of the parser goes on with the lines around the error.
    const [reason] = error.message.split("\n");
    const message = `Cannot read the settings file ${path}, line ${error.line}: ${reason ?? "not TOML"}`;
    throw new MillraceError("INVALID_SETTING", message, { cause: error });
  }
}
