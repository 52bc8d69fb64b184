import type { Command } from "commander";
import { isLoopback, loadSettings } from "../config/load-settings.ts";
import type { Settings } from "../config/schema.ts";
import type { Machine } from "../config/setting-row.ts";
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
  /** File of the authorities to trust for wss://. */
  readonly authoritiesPath: string | undefined;
}

/** Adds `--url`, `--config` and `--json`. */
export function withEngineOptions(command: Command): Command {
  return command
    .option(
      "--url <url>",
      "engine to talk to, such as ws://127.0.0.1:8088 or ws+unix:///run/millrace.sock (default: from the settings)",
    )
    .option("--config <file>", "the engine's settings file, for its port and its store")
    .option("--json", "print JSON");
}

/**
 * Where the engine is and which token it wants: `MILLRACE_URL`, else by the settings; `MILLRACE_TOKEN` or
 * `AWS_CONTAINER_AUTHORIZATION_TOKEN`, else the token file of the store. The file's token is presented to this machine
 * only, since another host has a store of its own.
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
  const url = givenUrl(machine, flags) ?? defaultUrl(settings);
  const found = { url: url.href, authoritiesPath: settings.tlsAuthorities };
  // An empty variable counts as not set.
  const token = tokenVariables
    .map((name) => machine.env[name])
    .find((text) => text !== undefined && text !== "");
  if (token !== undefined) return { ...found, token };
  const isHere = url.protocol === "ws+unix:" || isLoopback(url.hostname.replace(/^\[|\]$/g, ""));
  return { ...found, token: isHere ? readToken(settings.storeDirectory) : undefined };
}

const tokenVariables = ["MILLRACE_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"];

function givenUrl({ env }: Machine, flags: EngineFlags): URL | undefined {
  if (flags.url !== undefined) return parseUrl("--url", flags.url);
  const text = env["MILLRACE_URL"];
  return text === undefined || text === "" ? undefined : parseUrl("MILLRACE_URL", text);
}

function defaultUrl({ host, port, tlsCertificate, plainFrom }: Settings): URL {
  if (port === 0) {
    throw new UsageError("the settings let the engine take any free port: give its address with --url");
  }
  // An engine that listens on every address is reached by the loopback one.
  const address = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  const isPlain = tlsCertificate === undefined || plainFrom === "anywhere";
  const scheme = isPlain || (plainFrom === "loopback" && isLoopback(address)) ? "ws" : "wss";
  return new URL(`${scheme}://${address.includes(":") ? `[${address}]` : address}:${port}`);
}

const urlSchemes = ["ws:", "wss:", "ws+unix:"];

function parseUrl(source: string, text: string): URL {
  // Said without the text, which may hold what somebody took for the way to present a token.
  if (!URL.canParse(text)) throw new UsageError(`${source} is not a URL`);
  const url = new URL(text);
  if (!urlSchemes.includes(url.protocol)) {
    throw new UsageError(`${source} must begin with ws://, wss:// or ws+unix://`);
  }
  // Other processes can read a command line, and URLs end in logs.
  if (url.username !== "" || url.password !== "" || url.search !== "") {
    throw new UsageError(`${source} takes no user, password or query: present a token by MILLRACE_TOKEN`);
  }
  return url;
}
