import type { Command } from "commander";
import { isLoopback, loadSettings } from "../config/load-settings.ts";
import type { Machine, Settings } from "../config/schema.ts";
import { readSettingsFile } from "../config/settings-file.ts";
import { UsageError } from "./command-context.ts";

/** The options of every command that talks to a running engine. */
export interface EngineFlags {
  readonly url?: string;
  readonly config?: string;
  readonly json?: boolean;
}

export interface EngineAddress {
  readonly url: string;
  readonly token: string | undefined;
}

/** Adds `--url`, `--config` and `--json`. */
export function withEngineOptions(command: Command): Command {
  return command
    .option("--url <url>", "engine to talk to, such as ws://127.0.0.1:8088 (default: from the settings)")
    .option("--config <file>", "the engine's settings file, for its port and its store")
    .option("--json", "print JSON");
}

/**
 * Where the engine is and which token it wants: `AWS_CONTAINER_AUTHORIZATION_TOKEN`, else the token file of the store. The
 * file's token is presented to this machine only, since another host has a store of its own.
 * @throws {MillraceError} INVALID_SETTING, STORE_UNUSABLE
 * @throws {UsageError} for a URL that is none
 */
export async function findEngine(
  machine: Machine,
  flags: EngineFlags,
  readToken: (storeDirectory: string) => string | undefined,
): Promise<EngineAddress> {
  const file = flags.config === undefined ? undefined : await readSettingsFile(flags.config);
  const { settings } = loadSettings({ ...machine, ...(file && { file }) });
  const url = flags.url === undefined ? defaultUrl(settings) : parseUrl(flags.url);
  const token = machine.env["AWS_CONTAINER_AUTHORIZATION_TOKEN"];
  if (token !== undefined && token !== "") return { url: url.href, token };
  const isHere = isLoopback(url.hostname.replace(/^\[|\]$/g, ""));
  return { url: url.href, token: isHere ? readToken(settings.storeDirectory) : undefined };
}

function defaultUrl({ host, port }: Settings): URL {
  if (port === 0) {
    throw new UsageError("the settings let the engine take any free port: give its address with --url");
  }
  // An engine that listens on every address is reached by the loopback one.
  const address = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  return new URL(`ws://${address.includes(":") ? `[${address}]` : address}:${port}`);
}

function parseUrl(text: string): URL {
  if (!URL.canParse(text)) throw new UsageError(`--url ${JSON.stringify(text)} is not a URL`);
  const url = new URL(text);
  if (url.protocol !== "ws:" && url.protocol !== "wss:") {
    throw new UsageError(`--url ${JSON.stringify(text)} must begin with ws:// or wss://`);
  }
  // Other processes can read a command line.
  if (url.username !== "" || url.password !== "" || url.search !== "") {
    throw new UsageError("--url takes no user, password or query: present a token by the environment");
  }
  return url;
}
