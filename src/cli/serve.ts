import { Command } from "commander";
import { describeSettings } from "../config/describe-settings.ts";
import { loadSettings } from "../config/load-settings.ts";
import type { SettingKey, Settings } from "../config/schema.ts";
import { readSettingsFile } from "../config/settings-file.ts";
import { writeLine, type CommandContext } from "./command-context.ts";

/** What the root of src/ starts. */
export interface RunningEngine {
  readonly host: string;
  /** The port that was taken; differs from the setting when that was 0. */
  readonly port: number;
  readonly storeDirectory: string;
  /** Reads again what may change while it runs: tokens, certificate and key. */
  reload(): void;
  /** Stops accepting, answers what is under way, syncs, and releases the store. */
  close(): Promise<void>;
}

export type StartEngine = (settings: Settings) => Promise<RunningEngine>;

/** Over the engine's own deadline for a clean stop, after which the process ends whatever still hangs. */
const STOP_GRACE_MS = 2000;

/** How long a process may take to commit and sync after an error of its own. */
const FAILURE_DEADLINE_MS = 5000;

const stopSignals = ["SIGTERM", "SIGINT"] as const;

interface ServeFlags extends Partial<Record<SettingKey, string>> {
  readonly config?: string;
  readonly json?: boolean;
}

/** `millrace serve`. The engine is loaded only when it is to run, so that `--help` is quick. */
export function serveCommand(context: CommandContext, loadEngine: () => Promise<StartEngine>): Command {
  const command = new Command("serve")
    .description("Run the engine until SIGTERM or SIGINT")
    .option("--config <file>", "TOML file of settings; variables and flags win over it")
    .option("--json", "print the ready line as one JSON object");
  for (const { flag, env, accepts, unit, default: value, doc } of describeSettings()) {
    const placeholder = unit ?? "value";
    command.option(`${flag} <${placeholder}>`, `${doc} [${accepts}; default: ${value}; ${env}]`);
  }
  return command.action(async (flags: ServeFlags) => {
    await serve(context, flags, loadEngine);
  });
}

async function serve(
  { machine, stdout, stderr }: CommandContext,
  { config, json, ...flags }: ServeFlags,
  loadEngine: () => Promise<StartEngine>,
): Promise<void> {
  const file = config === undefined ? undefined : await readSettingsFile(config);
  const { settings, notices } = loadSettings({ ...machine, flags, ...(file && { file }) });
  for (const notice of notices) await writeLine(stderr, `millrace: ${notice}`);
  const startEngine = await loadEngine();
  const stop = watchSignals();
  const running: { engine?: RunningEngine; isReloadDue?: boolean } = {};
  endOnFailure(running);
  process.on("SIGHUP", () => {
    // What changes while the engine starts may have been read before it did.
    if (running.engine === undefined) running.isReloadDue = true;
    else running.engine.reload();
  });
  const engine = await startEngine(settings);
  running.engine = engine;
  if (running.isReloadDue === true) engine.reload();
  await writeLine(stdout, readyLine(engine, { settings, json: json === true }));
  await stop.asked;
  await stopEngine(engine, settings);
}

function readyLine(
  { host, port, storeDirectory }: RunningEngine,
  { settings, json }: { settings: Settings; json: boolean },
): string {
  const { authenticate } = settings;
  if (json) {
    const event = { event: "ready", host, port, store: storeDirectory, authenticate, pid: process.pid };
    return JSON.stringify(event);
  }
  const address = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  const store = /\s/.test(storeDirectory) ? JSON.stringify(storeDirectory) : storeDirectory;
  return `millrace ready on ${address} store=${store} auth=${authenticate ? "on" : "off"} pid=${process.pid}`;
}

/** The first signal, even one that comes while the engine starts, asks for a clean stop; the second ends the process at once. */
function watchSignals(): { readonly asked: Promise<void> } {
  let isAsked = false;
  const asked = new Promise<void>((resolve) => {
    for (const signal of stopSignals) {
      process.on(signal, () => {
        if (isAsked) process.exit(1);
        isAsked = true;
        resolve();
      });
    }
  });
  return { asked };
}

/** An error that nobody caught: what was taken is still committed, and a supervisor starts the next process. */
function endOnFailure(running: { readonly engine?: RunningEngine }): void {
  let isEnding = false;
  // Rejections that nobody handles come here too.
  process.on("uncaughtException", (error) => {
    process.stderr.write(`millrace: ends after an unexpected error: ${error.stack ?? error.message}\n`);
    if (isEnding) return;
    isEnding = true;
    // `exit` waits for threads; one that hangs in a system call must not keep the port.
    setTimeout(() => process.kill(process.pid, "SIGKILL"), FAILURE_DEADLINE_MS);
    const exit = (): void => process.exit(1);
    const closed = running.engine?.close() ?? Promise.resolve();
    closed.then(exit, exit);
  });
}

async function stopEngine(engine: RunningEngine, { shutdownMs }: Settings): Promise<void> {
  // A thread stuck in a system call would keep the process, and the port, for as long as the device hangs.
  const deadline = setTimeout(() => {
    process.stderr.write(`millrace: cannot stop cleanly within ${shutdownMs} ms, ending the process\n`);
    process.exit(1);
  }, shutdownMs + STOP_GRACE_MS);
  // After a stop that failed nothing may be left that is worth waiting for.
  deadline.unref();
  await engine.close();
  clearTimeout(deadline);
  process.exit(0);
}
