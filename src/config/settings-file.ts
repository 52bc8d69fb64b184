import { readFileSync } from "node:fs";
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
  const { parse, TomlError } = await import("smol-toml");
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
